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
from proxy.redis.news import FOLLOW_INTERVAL, HEARTBEAT, SILENCE, TRUST_SECONDS, News
from proxy.redis_keys import NOBODYS
from tests.support import Clock, until


class Nobody:
    """A Redis that is not there."""

    async def initialize(self) -> None:
        raise ConnectionRefusedError

    async def execute_command(self, *_: str) -> None:
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


async def test_a_redis_that_is_away_is_no_fault_of_the_proxy(news: News, caplog: pytest.LogCaptureFixture) -> None:
    attempts = asyncio.Semaphore(0)
    news.on_gap.append(attempts.release)
    news.start()
    async with asyncio.timeout(5):
        for _ in range(3):
            await attempts.acquire()
    assert not any(record.exc_info for record in caplog.records)


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


class Line:
    """A Redis of two servers that take writes, and a subscription to it, over which comes what a test says.

    Attributes:
        made: subscriptions.
        sent: what the process has sent to itself, by server.
        waiting: set while the process waits for a message.
        timeout: seconds for which it waits.
        follows: how often was asked who the primary is.
    """

    def __init__(self) -> None:
        self.made = self.follows = 0
        self.timeout = 0.0
        self.sent: list[tuple[str, str]] = []
        self.loses_cancellations = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.sentinels = asyncio.Event()
        self.sentinels.set()
        self.waiting = asyncio.Event()
        self.own = ""
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def initialize(self) -> None: ...

    def pubsub(self) -> Self:
        self.made += 1
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, *channels: str) -> None:
        self.own = channels[1]
        self._messages = asyncio.Queue()
        for _ in channels:
            self._messages.put_nowait({"type": "subscribe"})

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        self.timeout = timeout
        self.waiting.set()
        try:
            return await self._messages.get()
        except asyncio.CancelledError:
            if self.loses_cancellations:
                return None
            raise

    async def publish(self, _: object, server: str, channel: str, text: str) -> None:
        assert channel == self.own
        self.sent.append((server, text))
        await self.answers.wait()

    async def follow(self, _: object) -> None:
        self.follows += 1
        await self.sentinels.wait()

    async def passes(self, *messages: dict[str, Any]) -> None:
        """Hand over messages, or the time that a wait for one may take, and let the process act on them."""
        for one in messages or (None,):
            self.waiting.clear()
            self._messages.put_nowait(one)
            await self.waiting.wait()
        for _ in range(9):
            await asyncio.sleep(0)  # what is sent to oneself is sent in a task of its own

    async def told(self, data: bytes) -> None:
        await self.passes({"type": "message", "channel": NOBODYS.news.encode(), "data": data})

    async def comes_back(self, text: str) -> None:
        data = text.encode()
        await self.passes({"type": "message", "channel": self.own.encode(), "data": data})


class Subscribed:
    """News over a line."""

    def __init__(self, line: Line) -> None:
        self.line, self.clock = line, Clock(1000.0)
        self.news = News(RedisLink(line, 5.0), clock=self.clock)  # type: ignore[arg-type]
        self.gaps: list[bool] = []
        self.news.on_gap.append(lambda: self.gaps.append(self.news.flowing))
        self.waits: list[tuple[float, float]] = []

    def wait(self, least: float, most: float) -> float:
        self.waits.append((least, most))
        return 0.0

    async def begins_again(self) -> None:
        """The subscription breaks, and is made anew; redis-py would do the latter by itself."""
        made = self.line.made
        await self.line.passes({"type": "subscribe"})
        await until(lambda: self.line.made > made)

    async def beat(self) -> None:
        """What is sent to oneself comes back, through both servers."""
        self.line.sent.clear()
        self.clock.advance(HEARTBEAT)
        await self.line.passes()
        for _, text in [*self.line.sent]:
            await self.line.comes_back(text)


@pytest.fixture
async def it(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subscribed]:
    line = Line()
    it = Subscribed(line)
    monkeypatch.setattr(redis_news, "random", SimpleNamespace(uniform=it.wait))
    monkeypatch.setattr(redis_news, "primaries", lambda _: ("one", "other"))
    monkeypatch.setattr(redis_news, "publish", line.publish)
    monkeypatch.setattr(redis_news, "follow_primary", line.follow)
    it.news.start()
    async with asyncio.timeout(5):
        while not line.follows:
            await asyncio.sleep(0)
    yield it
    line.answers.set()
    line.sentinels.set()
    await it.news.aclose()


async def test_news_flows_for_so_long_after_it_was_sent_through_all_servers(
    it: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    servers, [one, other] = zip(*it.line.sent, strict=True)
    assert servers == ("one", "other")
    it.clock.advance(0.2)
    await it.line.comes_back(one)
    assert not it.news.flowing
    assert it.gaps == []
    await it.line.comes_back(other)
    assert it.news.flowing
    assert it.gaps == [True]
    it.clock.advance(TRUST_SECONDS - 0.2 - 0.01)
    assert it.news.flowing
    it.clock.advance(0.01)
    assert not it.news.flowing, "from when it was sent, not from when it came"
    assert caplog.messages == []


async def test_what_came_back_late_takes_nothing_from_what_was_sent_after_it(it: Subscribed) -> None:
    before = [text for _, text in it.line.sent]
    await it.beat()
    for text in before:
        await it.line.comes_back(text)
    it.clock.advance(TRUST_SECONDS - 0.01)
    assert it.news.flowing
    assert it.gaps == [True], "it has flowed all the time"


async def test_news_of_one_server_only_does_not_flow_for_longer(it: Subscribed) -> None:
    await it.beat()
    for _ in range(3):
        it.line.sent.clear()
        it.clock.advance(0.1)
        await it.line.passes()
        await it.line.comes_back(it.line.sent[0][1])
    assert not it.news.flowing
    await it.beat()
    assert it.gaps == [True, True], "some may have been missed"


async def test_it_is_sent_at_its_pace_and_not_while_it_is_being_sent(it: Subscribed) -> None:
    it.line.sent.clear()
    for passed in range(5):
        assert it.line.timeout == pytest.approx(HEARTBEAT - passed / 100), "no longer, nor is it looked all the time"
        it.clock.advance(0.01)
        if passed < 4:
            await it.line.passes()
    assert it.line.sent == []
    it.line.answers.clear()
    for _ in range(5):
        it.clock.advance(HEARTBEAT)
        await it.line.passes()
    assert [server for server, _ in it.line.sent] == ["one"]


async def test_whether_the_primary_is_another_is_asked_now_and_then(it: Subscribed) -> None:
    assert it.line.follows == 1
    for _ in range(30):
        await it.beat()
    assert it.line.follows == 1 + int(30 * HEARTBEAT / FOLLOW_INTERVAL)


async def test_sentinels_that_hang_are_asked_once(it: Subscribed) -> None:
    it.line.sentinels.clear()
    for _ in range(60):
        await it.beat()
    assert it.line.follows == 2


async def test_a_subscription_over_which_nothing_comes_is_made_anew(it: Subscribed) -> None:
    await it.beat()
    it.clock.advance(SILENCE)
    await it.line.passes()
    assert it.line.made == 1
    it.clock.advance(0.01)
    await it.line.passes()
    await until(lambda: it.line.made == 2)
    assert it.news._link.faults == {"news: TimeoutError": 1}
    assert it.gaps == [True, False]
    assert not it.news.flowing
    await it.beat()
    assert it.news.flowing


async def test_what_others_say_breaks_the_silence(it: Subscribed) -> None:
    it.news.topics[b"topic"] = lambda _: None
    for _ in range(3):
        it.clock.advance(SILENCE)
        await it.line.told(b"topic x")
        await it.line.passes()
    assert it.line.made == 1


async def test_a_subscription_that_has_begun_again_is_made_anew(it: Subscribed) -> None:
    """Something may have been missed."""
    await it.beat()
    await it.begins_again()
    assert it.news._link.faults == {"news: ConnectionError": 1}
    assert not it.news.flowing
    await it.line.passes()
    await it.line.comes_back(it.line.sent[-2][1])
    assert not it.news.flowing, "what came of the other server was before"


async def test_subscriptions_in_vain_are_made_less_and_less_often(it: Subscribed) -> None:
    for _ in range(5):
        await it.begins_again()
    assert it.waits == [(0.1, 0.2), (0.2, 0.4), (0.4, 0.8), (0.5, 1.0), (0.5, 1.0)]
    assert not it.news._link.faults, "what has not begun is not interrupted"
    await it.beat()
    await it.begins_again()
    assert it.waits[5:] == [(0.1, 0.2)], "news has flowed"


async def test_a_subscription_is_refused_no_more_once_it_is_made(it: Subscribed) -> None:
    it.news._link.refused("subscribe", NoPermissionError("", status_code="NOPERM"))
    states = [it.news._link.state]
    await it.begins_again()
    assert [*states, it.news._link.state] == ["refusing", "up"]


@pytest.mark.parametrize("loses", [False, True], ids=["a Redis that says nothing", "a cancellation that gets lost"])
async def test_it_ends_whatever_redis_py_does(it: Subscribed, *, loses: bool) -> None:
    it.line.loses_cancellations = loses
    await it.news.aclose()
    assert it.news._task is not None
    assert it.news._task.done()


async def test_each_hears_of_its_topic_and_what_cannot_be_read_is_passed_over(
    it: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def read(news: bytes) -> None:
        heard.append(news)
        if news == b"nonsense":
            raise ValueError

    it.news.topics[b"record"] = read
    for data in (b"record of several words", b"record nonsense", b"fashion x", b"", b"record"):
        await it.line.told(data)
    assert heard == [b"of several words", b"nonsense", b""]
    assert caplog.messages == ["news that cannot be read: another release's, or not ours"] * 3
    assert it.line.made == 1
