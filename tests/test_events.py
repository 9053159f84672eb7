"""The hub's events make pages fresher, in all replicas. Over sockets.

Who has been told of an event may ask: what it makes doubtful is so by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import httpx

from proxy.answer.freshness import DOUBT_GRACE
from proxy.simulator import Fault
from tests.event_fixture import page, proxies
from tests.listening import EVENTS, listening
from tests.support import RedisServer, until


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await look():
            await asyncio.sleep(0.02)


async def hits(url: str, status: str) -> bool:
    """Whether the newest generation is shown so without asking the hub."""
    answer = await page(url)
    return "hit" in answer.headers["cache-status"] and answer.json()["generations"][0]["status"] == status


async def test_a_completion_is_seen_within_a_moment_whatever_the_ttl_is() -> None:
    async with proxies() as it, listening(it.url) as heard:
        row = it.hub.world.enqueue("ox")
        assert (await page(it.url)).json()["generations"][0]["status"] == "queued"
        await page(it.url, "namespace=ox&status=succeeded&page_size=3")
        assert "hit" in (await page(it.url)).headers["cache-status"]
        await asyncio.sleep(DOUBT_GRACE)  # a page is fresh for so long whatever events say
        it.hub.world.end(row)
        await until(lambda: heard.completions == [row.id])
        for query in ("namespace=ox&page_size=3", "namespace=ox&status=succeeded&page_size=3"):
            assert (await page(it.url, query)).json()["generations"][0]["generation_id"] == row.id
        assert (await page(it.url)).json()["generations"][0]["status"] == "succeeded"


async def test_all_replicas_know_at_once_and_refresh_once(redis_server: RedisServer) -> None:
    async with proxies(3, redis_server) as it, AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(listening(url)) for url in it.urls]
        row = it.hub.world.enqueue("ox")

        for url in it.urls:
            assert (await page(url)).json()["generations"][0]["status"] == "queued"
        asked = it.hub.journal.count
        await asyncio.sleep(DOUBT_GRACE)
        it.hub.world.end(row)
        await until(lambda: all(one.completions == [row.id] for one in heard))
        await until(lambda: it.hub.journal.count > asked)  # before anybody asks: it was in demand
        for url in it.urls:
            await eventually(partial(hits, url, "succeeded"))
        assert it.hub.journal.count == asked + 1
        assert it.hub.streams.open.total() == 1


async def test_the_first_connection_makes_nothing_doubtful() -> None:
    async with proxies(1, None, Fault(path=EVENTS, status=500)) as it:
        await page(it.url)
        it.hub.faults.clear()

        async def subscribed() -> bool:
            async with httpx.AsyncClient(trust_env=False) as caller:
                return 'events_subscribed{credential="default"} 1.0' in (await caller.get(f"{it.url}/metrics")).text

        async with listening(it.url) as heard:
            await eventually(subscribed)
            assert "hit" in (await page(it.url)).headers["cache-status"]
            assert it.hub.journal.count == 1
            done = it.complete()
            await until(lambda: heard.completions == [done])
            assert heard.gaps == 0


async def test_what_was_missed_while_away_is_not_known() -> None:
    async with proxies() as it, listening(it.url) as heard:
        await page(it.url)
        it.hub.faults.set(Fault(path=EVENTS, status=500))
        it.hub.streams.cut()
        await until(lambda: it.hub.streams.open.total() == 0)
        await asyncio.sleep(DOUBT_GRACE)
        done = it.complete()
        it.hub.faults.clear()
        await until(lambda: heard.gaps > 0 and it.hub.streams.open.total() == 1)
        assert (await page(it.url)).json()["generations"][0]["generation_id"] == done
