"""The subscription to news goes on whatever happens. (Over kinds of Redis: test_topologies.)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest
from redis.exceptions import NoPermissionError

from proxy.redis import news as redis_news
from proxy.redis.link import RedisLink
from proxy.redis.news import News


class Nobody:
    """A Redis that is not there."""

    async def initialize(self) -> None:
        raise ConnectionRefusedError


@pytest.fixture
async def news(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[News]:
    monkeypatch.setattr(redis_news, "random", SimpleNamespace(uniform=lambda *_: 0.0))
    it = News(RedisLink(Nobody(), 1.0))  # type: ignore[arg-type]
    yield it
    await it.aclose()


@pytest.mark.parametrize("where", ["told of the gap", "finding out whether Redis is back"])
async def test_no_fault_ends_the_news_for_good(
    where: str, news: News, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = asyncio.Semaphore(0)

    def fail(*_: object) -> tuple[str, ...]:
        attempts.release()
        raise TypeError("a bug")

    if where == "told of the gap":
        news.on_gap.append(fail)
        monkeypatch.setattr(redis_news, "primaries", lambda _: ())
    else:
        monkeypatch.setattr(redis_news, "primaries", fail)
    news.start()
    async with asyncio.timeout(5):
        for _ in range(3):
            await attempts.acquire()
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


class Denied:
    """The way to a subscription that the user has no right to."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, *_: str) -> None: ...

    async def get_message(self, **_: float) -> dict[str, str]:
        raise NoPermissionError("this user has no permissions to run the 'subscribe' command", status_code="NOPERM")


async def test_a_subscription_that_is_refused_is_said(
    news: News, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing else would say it: Redis answers, and what does is up."""
    attempts = asyncio.Semaphore(0)

    def nobody(_: object) -> tuple[str, ...]:
        attempts.release()
        return ()

    client: Any = news._link.client
    monkeypatch.setattr(client, "initialize", lambda: asyncio.sleep(0))
    monkeypatch.setattr(client, "pubsub", Denied, raising=False)
    monkeypatch.setattr(redis_news, "primaries", nobody)
    news.start()
    async with asyncio.timeout(5):
        for _ in range(3):
            await attempts.acquire()
    assert news._link.faults["subscribe: NoPermissionError"] == 3
    assert news._link.state == "refusing"
    assert caplog.messages.count("Redis refuses subscribe: NOPERM, missing is the right +subscribe") == 1
