"""Rows in flight change without the totals: who has seen one as it is now is not shown it as it was, by any page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from proxy.simulator import Simulator
from tests.support import KEY, Clock, RedisServer, Rig, rig, still_world
from tests.test_known_rows import pair

FRESH = {"cache-control": "no-cache"}


def status(answer: httpx.Response, generation_id: str) -> str:
    assert answer.status_code == 200, answer.text
    return next(str(row["status"]) for row in answer.json()["generations"] if row["generation_id"] == generation_id)


async def becomes(replica: Rig, query: str, generation_id: str, expected: str) -> httpx.Response:
    """Ask until news has come; the proxies' own clock stands still."""
    async with asyncio.timeout(2):
        while status(answer := await replica.get(query), generation_id) != expected:
            await asyncio.sleep(0.01)
    return answer


async def test_another_page_of_the_same_rows_is_no_older_than_the_one_that_was_shown() -> None:
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    async with rig(simulator=hub, clock=clock) as it:
        row = hub.world.enqueue("ox")
        assert status(await it.get("page_size=5"), row.id) == "queued"
        clock.advance(0.3)
        hub.world.start(row)
        assert status(await it.get("page_size=20"), row.id) == "processing"
        for _ in range(2):
            assert status(await it.get("page_size=5"), row.id) == "processing"
        assert hub.journal.count == 2


@pytest.mark.parametrize("query", ["page_size=20", "page_size=5"])
async def test_another_replica_shows_no_older_one_either(own_redis: RedisServer, query: str) -> None:
    async with pair(own_redis) as it:
        row = it.hub.world.enqueue("ox")
        for replica in (it.one, it.other):
            assert status(await replica.get(query), row.id) == "queued"
            await replica.get("page_size=20")
        it.clock.advance(0.6)
        it.hub.world.start(row)
        assert status(await it.one.get("page_size=20", **FRESH), row.id) == "processing"
        asked = it.asked
        await becomes(it.other, query, row.id, "processing")
        again = await it.other.get(query)
        assert again.headers["cache-status"].endswith(("detail=memory", "detail=composed"))
        assert status(again, row.id) == "processing"
        assert it.asked == asked


async def test_what_is_as_it_was_is_looked_up_in_redis_once(own_redis: RedisServer) -> None:
    async with pair(own_redis) as it:
        row = it.hub.world.enqueue("ox")
        for query in ("page_size=5", "page_size=20"):
            await it.one.get(query)
            await it.other.get(query)
        it.clock.advance(0.6)
        await it.one.get("page_size=20", **FRESH)
        asked = it.asked
        async with asyncio.timeout(2):
            while (answer := await it.other.get("page_size=5")).headers["age"] != "0":
                await asyncio.sleep(0.01)
        assert status(answer, row.id) == "queued"
        assert it.asked == asked
        calls = counting(own_redis)
        for _ in range(5):
            await it.other.get("page_size=5")
        assert counting(own_redis) == calls


def counting(redis: RedisServer) -> int:
    """Scripts that Redis was asked to run."""
    return int(redis.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"])


async def test_no_page_has_newer_totals_above_a_row_as_it_was_before(own_redis: RedisServer) -> None:
    """There may never have been such a moment at the hub."""
    async with pair(own_redis) as it:
        row, *_ = [it.hub.world.enqueue("ox") for _ in range(4)]
        before = await it.one.get("page_size=10")
        it.clock.advance(0.6)
        it.hub.world.end(row, "failed")
        it.hub.world.enqueue("ox")
        await it.other.get("page_size=2", **FRESH)
        for replica in (it.one, it.other):
            async with asyncio.timeout(2):
                entries = before.json()["total_entries"]
                while (answer := await replica.get("page_size=10")).json()["total_entries"] == entries:
                    await asyncio.sleep(0.01)
            assert status(answer, row.id) == "failed"


class Held(httpx.AsyncBaseTransport):
    """A hub whose answers to some questions are made at once, but come late."""

    def __init__(self, hub: Simulator, late: Callable[[httpx.Request], bool]) -> None:
        self._transport = httpx.ASGITransport(hub)
        self._late = late
        self.made, self.come = asyncio.Event(), asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        if self._late(request):
            self.made.set()
            await self.come.wait()
        return answer


@pytest.mark.parametrize(("late", "other", "asked"), [("5", "20", 2), ("20", "5", 3)])
async def test_an_answer_that_comes_late_takes_nothing_back(late: str, other: str, asked: int) -> None:
    """It is what later ones have made of it; where that is not known, the hub is asked again."""
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    hold = Held(hub, lambda request: f"page_size={late}" in str(request.url) and not hold.come.is_set())
    async with rig(simulator=hub, clock=clock, transport=hold) as it:
        low: Any = None
        row = hub.world.enqueue("ox")
        if late == "20":
            low = row
            for _ in range(7):
                row = hub.world.enqueue("ox")
        waiting = asyncio.create_task(it.get(f"page_size={late}"))
        await hold.made.wait()
        clock.advance(0.2)
        hub.world.start(row)
        if low is not None:
            hub.world.start(low)
        clock.advance(0.01)
        assert status(await it.get(f"page_size={other}"), row.id) == "processing"
        clock.advance(0.01)
        hold.come.set()
        answer = await waiting
        assert status(answer, row.id) == "processing"
        if low is not None:
            assert status(answer, low.id) == "processing"
        assert hub.journal.count == asked


async def test_an_answer_that_is_behind_gives_way_to_what_others_have_shown_meanwhile() -> None:
    """Which of two answers that overlap is newer cannot be known; the one that was shown first is."""
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    hold = Held(hub, lambda request: "page_size=7" in str(request.url) and not hold.come.is_set())
    async with rig(simulator=hub, clock=clock, transport=hold) as it:
        waiting = asyncio.create_task(it.get("page_size=7&page=2"))
        await hold.made.wait()
        clock.advance(0.2)
        hub.world.end(hub.world.enqueue("ox"))
        shown = (await it.get("page_size=20")).json()
        clock.advance(0.2)
        hold.come.set()
        answer = (await waiting).json()
        assert answer["total_entries"] == shown["total_entries"]
        assert answer["generations"] == shown["generations"][7:14]
        assert hub.journal.count == 2
