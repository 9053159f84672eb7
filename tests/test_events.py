"""The hub's events make pages fresher, in all replicas. Over sockets."""

from __future__ import annotations

import asyncio

from proxy.simulator import Fault
from tests.event_fixture import page, proxies
from tests.listening import EVENTS, listening
from tests.support import RedisServer, until


async def test_a_completion_is_seen_within_a_moment_whatever_the_ttl_is() -> None:
    async with proxies() as it:
        row = it.hub.world.enqueue("ox")
        assert (await page(it.url)).json()["generations"][0]["status"] == "queued"
        await page(it.url, "namespace=ox&status=succeeded&page_size=3")
        assert "hit" in (await page(it.url)).headers["cache-status"]
        await asyncio.sleep(0.1)  # a page is fresh for so long whatever events say
        it.hub.world.end(row)
        await asyncio.sleep(0.1)
        for query in ("namespace=ox&page_size=3", "namespace=ox&status=succeeded&page_size=3"):
            assert (await page(it.url, query)).json()["generations"][0]["generation_id"] == row.id
        assert (await page(it.url)).json()["generations"][0]["status"] == "succeeded"


async def test_all_replicas_know_at_once_and_refresh_once(redis_server: RedisServer) -> None:
    async with proxies(3, redis_server) as it:
        await asyncio.sleep(0.3)  # news flows
        row = it.hub.world.enqueue("ox")
        for url in it.urls:
            await page(url)
        asked = it.hub.journal.count
        await asyncio.sleep(0.1)
        it.hub.world.end(row)
        await asyncio.sleep(0.3)
        for url in it.urls:
            answer = await page(url)
            assert answer.json()["generations"][0]["status"] == "succeeded"
            assert "hit" in answer.headers["cache-status"], "it was in demand"
        assert it.hub.journal.count == asked + 1
        assert it.hub.streams.open.total() == 1


async def test_the_first_connection_makes_nothing_doubtful() -> None:
    async with proxies(1, None, Fault(path=EVENTS, status=500)) as it:
        await page(it.url)
        it.hub.faults.clear()
        async with listening(it.url) as heard:
            await until(lambda: it.hub.streams.open.total() == 1)
            await asyncio.sleep(0.1)
            assert "hit" in (await page(it.url)).headers["cache-status"]
            assert it.hub.journal.count == 1
            done = it.complete()
            await until(lambda: heard.completions == [done])
            assert heard.gaps == 0


async def test_what_was_missed_while_away_is_not_known() -> None:
    async with proxies() as it:
        await page(it.url)
        it.hub.faults.set(Fault(path=EVENTS, status=500))
        it.hub.streams.cut()
        await until(lambda: it.hub.streams.open.total() == 0)
        await asyncio.sleep(0.3)
        done = it.complete()
        it.hub.faults.clear()
        await until(lambda: it.hub.streams.open.total() == 1)
        await asyncio.sleep(0.1)
        assert (await page(it.url)).json()["generations"][0]["generation_id"] == done
