"""Rows in flight change without the totals: who has seen one as it is now is not shown it as it was, by any page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakeredis
import httpx
import pytest

from proxy.redis.client import connect
from proxy.rows.composing import shows_latest
from proxy.secret import Secret
from proxy.settings import CacheSettings
from proxy.simulator import Fault, Simulator
from proxy.simulator.world import Generation
from tests.rows_fixture import hub_with, pair
from tests.support import KEY, Clock, RedisServer, Rig, rig, still_world

FRESH = {"cache-control": "no-cache"}


def status(answer: httpx.Response, generation_id: str) -> str:
    assert answer.status_code == 200, answer.text
    return next(str(row["status"]) for row in answer.json()["generations"] if row["generation_id"] == generation_id)


async def becomes(replica: Rig, query: str, generation_id: str, expected: str) -> httpx.Response:
    """Ask until news has come; the proxies' own clock stands still."""
    async with asyncio.timeout(20):
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
async def test_another_replica_shows_no_older_one_either(redis_server: RedisServer, query: str) -> None:
    async with pair(redis_server) as it:
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


async def test_what_is_as_it_was_is_looked_up_in_redis_once(redis_server: RedisServer) -> None:
    async with pair(redis_server) as it:
        row = it.hub.world.enqueue("ox")
        for query in ("page_size=5", "page_size=20"):
            await it.one.get(query)
            await it.other.get(query)
        it.clock.advance(0.6)
        await it.one.get("page_size=20", **FRESH)
        asked = it.asked
        async with asyncio.timeout(20):
            while (answer := await it.other.get("page_size=5")).headers["age"] != "0":
                await asyncio.sleep(0.01)
        assert status(answer, row.id) == "queued"
        assert it.asked == asked
        calls = counting(redis_server)
        for _ in range(5):
            await it.other.get("page_size=5")
        assert counting(redis_server) == calls


def counting(redis: RedisServer) -> int:
    """Scripts that Redis was asked to run."""
    return int(redis.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"])


async def test_no_page_has_newer_totals_above_a_row_as_it_was_before(redis_server: RedisServer) -> None:
    """There may never have been such a moment at the hub."""
    async with pair(redis_server) as it:
        row, *_ = [it.hub.world.enqueue("ox") for _ in range(4)]
        before = await it.one.get("page_size=10")
        it.clock.advance(0.6)
        it.hub.world.end(row, "failed")
        it.hub.world.enqueue("ox")
        await it.other.get("page_size=2", **FRESH)
        for replica in (it.one, it.other):
            async with asyncio.timeout(20):
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


def two_in_flight(hub: Simulator) -> Generation:
    """The newest generation of the hub's, and one too far down for a small page to confirm it, are in flight."""
    for place in range(41):
        row = hub.world.enqueue("ox")
        if 0 < place < 40:
            hub.world.end(row, "failed")
    return row


async def shown_by_a_small_page(it: Rig, change: str, *, large: Rig | None = None) -> Generation:
    """A caller has seen a change of a row that changes no total; the large page that is kept shows it as before."""
    row = two_in_flight(it.hub)
    assert status(await (large or it).get("page_size=50"), row.id) == "queued"
    it.clock.advance(12)
    if change == "processing":
        it.hub.world.start(row)
    else:
        it.hub.world.end(row, change)
    assert status(await it.get("page_size=20"), row.id) == change
    it.clock.advance(1.1)
    return row


@pytest.mark.parametrize("change", ["processing", "cancelled"])
@pytest.mark.parametrize("failing", [429, 500, 503])
async def test_what_stands_in_is_no_older_than_what_was_shown(failing: int, change: str) -> None:
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    async with rig(simulator=hub, clock=clock) as it:
        row = await shown_by_a_small_page(it, change)
        hub.faults.set(Fault(status=failing))
        for _ in range(8):  # more than the hub needs to be left alone
            answer = await it.get("page_size=50")
            assert "detail=stale-" in answer.headers["cache-status"]
            assert status(answer, row.id) == change
        clock.advance(60)
        assert (await it.get("page_size=50")).status_code == 503, "a row was last seen long ago"


@pytest.mark.parametrize("kind", ["none", "of the hub"])
@pytest.mark.parametrize("failing", [429, 500])
async def test_what_stands_in_in_another_replica_is_no_older_either(
    redis_server: RedisServer, failing: int, kind: str
) -> None:
    async with pair(redis_server) as it:
        it.hub.writer.page = hub_with(kind, it.clock).writer.page  # type: ignore[method-assign]
        row = await shown_by_a_small_page(it.one, "processing", large=it.other)
        it.hub.faults.set(Fault(status=failing))
        for replica in (it.other, it.one):
            answer = await replica.get("page_size=50")
            assert "detail=stale-" in answer.headers["cache-status"]
            assert status(answer, row.id) == "processing"


async def test_where_no_page_can_be_composed_what_is_older_than_what_was_shown_does_not_stand_in() -> None:
    """As after a move: an error is no older moment."""
    clock = Clock()
    hub = hub_with("limit", clock)
    async with rig(simulator=hub, clock=clock) as it:
        row = await shown_by_a_small_page(it, "processing")
        hub.faults.set(Fault(status=500))
        assert (await it.get("page_size=50")).status_code == 502
        assert status(await it.get("page_size=20"), row.id) == "processing"


@pytest.mark.parametrize("compose", [True, False])
async def test_a_page_that_is_fresh_is_no_older_than_what_was_shown_since_also_where_none_is_composed(
    *, compose: bool
) -> None:
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    async with rig(simulator=hub, clock=clock, cache=CacheSettings(compose=compose)) as it:
        row = hub.world.enqueue("ox")
        assert status(await it.get("page_size=5"), row.id) == "queued"
        clock.advance(0.3)
        hub.world.start(row)
        assert status(await it.get("page_size=20"), row.id) == "processing"
        assert status(await it.get("page_size=5"), row.id) == "processing"


async def test_where_none_is_composed_what_is_older_than_what_was_shown_does_not_stand_in() -> None:
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    async with rig(simulator=hub, clock=clock, cache=CacheSettings(compose=False)) as it:
        row = await shown_by_a_small_page(it, "processing")
        hub.faults.set(Fault(status=500))
        assert (await it.get("page_size=50")).status_code == 502
        assert status(await it.get("page_size=20"), row.id) == "processing"


async def test_where_none_is_composed_what_lies_elsewhere_in_the_listing_takes_no_page_away() -> None:
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    async with rig(simulator=hub, clock=clock, cache=CacheSettings(compose=False)) as it:
        row = hub.world.enqueue("ox")
        await it.get("page_size=20")
        clock.advance(0.6)
        for query in ("page_size=20&page=2", "page_size=5&page=5"):
            await it.get(query)
        assert (await it.get("page_size=20")).headers["cache-status"].endswith("detail=memory")
        clock.advance(1.1)
        hub.faults.set(Fault(status=500))
        answer = await it.get("page_size=20")
        assert "detail=stale-" in answer.headers["cache-status"]
        assert status(answer, row.id) == "queued"


async def test_a_redis_that_was_away_as_rows_were_shown_takes_nobody_back() -> None:
    """It has older rows when it is back; where nothing can be composed, the page of that time is in memory, too."""
    clock, server = Clock(), fakeredis.FakeServer()
    hub = hub_with("limit", clock)
    async with rig(simulator=hub, clock=clock, redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        row, before = two_in_flight(hub), await it.get("page_size=50")
        assert status(before, row.id) == "queued"
        clock.advance(12)
        server.connected = False
        hub.world.start(row)
        assert status(await it.get("page_size=20"), row.id) == "processing"
        hub.faults.set(Fault(status=500))
        assert (await it.get("page_size=50")).status_code == 502
        server.connected = True
        for _ in range(10):
            await asyncio.sleep(0.05)  # as real as how long a Redis is left alone
            answer = await it.get("page_size=50")
            assert answer.status_code in (502, 503), status(answer, row.id)


async def overlapping(it: Rig, large: Rig) -> bytes:
    """A live page that is kept, of which later answers have shown some rows as they were, with links signed afresh."""
    it.hub.world.enqueue("ox")
    kept = await large.get("page_size=50")
    it.clock.advance(12)
    shown = await it.get("page_size=20")
    assert kept.json()["generations"][:20] != shown.json()["generations"], "links are signed afresh"
    it.clock.advance(1.1)
    return kept.content


@pytest.mark.parametrize("failing", [429, 500, 503])
async def test_where_no_page_can_be_composed_one_whose_rows_were_shown_the_same_stands_in(failing: int) -> None:
    clock = Clock()
    hub = hub_with("limit", clock)
    async with rig(simulator=hub, clock=clock) as it:
        kept = await overlapping(it, it)
        hub.faults.set(Fault(status=failing))
        for _ in range(8):  # more than the hub needs to be left alone
            answer = await it.get("page_size=50")
            assert "detail=stale-" in answer.headers["cache-status"]
            assert (answer.content, answer.headers["age"]) == (kept, "13")
        clock.advance(60)
        assert (await it.get("page_size=50")).status_code in (502, 503), "the rest of its rows was seen long ago"


async def test_until_they_are_shown_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd costs one comparison for each answer that has come since."""
    compared: list[bool] = []

    def counted(*given: Any) -> bool:
        compared.append(shows_latest(*given))
        return compared[-1]

    monkeypatch.setattr("proxy.known.cached_page.shows_latest", counted)
    clock = Clock()
    hub = hub_with("limit", clock)
    async with rig(simulator=hub, clock=clock) as it:
        await overlapping(it, it)
        hub.faults.set(Fault(status=500))
        assert [(await it.get("page_size=50")).status_code for _ in range(2)] == [200, 200]
        assert compared == [True]
        hub.faults.clear()
        hub.world.start(next(iter(hub.world.newest_first("ox"))))
        await it.get("page_size=20")
        clock.advance(1.1)
        hub.faults.set(Fault(status=500))
        assert [(await it.get("page_size=50")).status_code for _ in range(2)] == [502, 502]
        assert compared == [True, False]


async def test_so_it_does_in_another_replica(redis_server: RedisServer) -> None:
    async with pair(redis_server) as it:
        it.hub.writer.page = hub_with("limit", it.clock).writer.page  # type: ignore[method-assign]
        kept = await overlapping(it.one, it.other)
        it.hub.faults.set(Fault(status=500))
        answer = await it.other.get("page_size=50")
        assert "detail=stale-hub_failed" in answer.headers["cache-status"]
        assert answer.content == kept


async def test_what_another_replica_has_shown_while_the_hub_was_asked_is_not_taken_back(own_redis: RedisServer) -> None:
    """Redis is looked into before the hub is asked; where the hub fails much later, once more."""
    own_redis.command("FLUSHALL")
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    hold = Held(hub, lambda request: "page_size=50" in str(request.url) and len(seen) > 0)
    seen: list[str] = []

    def client() -> Any:
        return connect(Secret(own_redis.url))

    async with (
        rig(simulator=hub, clock=clock, redis=client()) as one,
        rig(simulator=hub, clock=clock, redis=client(), transport=hold) as other,
    ):
        row = two_in_flight(hub)
        seen.append(status(await other.get("page_size=50"), row.id))
        clock.advance(12)
        hub.faults.set(Fault(status=500))
        waiting = asyncio.create_task(other.get("page_size=50"))
        await hold.made.wait()
        hub.faults.clear()
        clock.advance(1.1)
        hub.world.start(row)
        assert status(await one.get("page_size=20"), row.id) == "processing"
        hold.come.set()
        answer = await waiting
        assert "detail=stale-hub_failed" in answer.headers["cache-status"]
        assert status(answer, row.id) == "processing"


async def test_no_page_is_composed_in_place_of_one_that_has_a_row_as_it_was_later() -> None:
    """An answer too far down for what is known is a page only; its rows came to be known as they had been before it."""
    clock = Clock()
    hub = Simulator(still_world(clock, history=40), api_key=KEY, clock=clock)
    hold = Held(hub, lambda request: "page_size=50" in str(request.url) and not hold.come.is_set())
    async with rig(simulator=hub, clock=clock, transport=hold) as it:
        two_in_flight(hub)
        low = [row for row in hub.world.newest_first("ox") if row.status == "queued"][1]
        top = asyncio.create_task(it.get("page_size=50"))
        await hold.made.wait()
        clock.advance(0.3)
        hub.world.start(low)
        kept = await it.get("page=5&page_size=10")
        assert status(kept, low.id) == "processing"
        hold.come.set()
        assert status(await top, low.id) == "processing", "the hub was asked again"
        clock.advance(12)
        await it.get("page=10&page_size=5")
        clock.advance(1.1)
        hub.faults.set(Fault(status=500))
        answer = await it.get("page=5&page_size=10")
        assert "detail=stale-hub_failed" in answer.headers["cache-status"]
        assert status(answer, low.id) == "processing"
