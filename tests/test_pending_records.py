"""What Redis could not be told, or may have lost, is told when it is back, however much and often that is."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.answer.record import Record, Stamp
from proxy.known.memory import Memory
from proxy.known.pending_records import LOSS_WINDOW, MAX_TAKEN, PendingRecords
from proxy.redis import retry_loop
from proxy.redis.allotment import allotted, current_allotment
from proxy.redis.shared import Shared
from tests.support import Clock


def record(entries: int) -> Record:
    return Record(Stamp(entries, None), 0.0, 1.0 * entries, 1.0 * entries, 7)


class Redis:
    """One that hears ``most`` records before it has to be left alone again."""

    def __init__(self, most: int = 10**6) -> None:
        self.most = most
        self.heard: dict[str, tuple[Record, bool]] = {}
        self.all: list[tuple[str, Record, bool]] = []
        self.refuses = False
        self.refused: set[str] = set()

    @property
    def backing_off(self) -> bool:
        return len(self.heard) >= self.most

    async def report(self, listing: str, told: Record, *, moved: bool, keep_record: float) -> Record | None:
        assert keep_record == 60.0
        if self.refuses or listing in self.refused:
            return None
        self.heard[listing] = (told, moved)
        self.all.append((listing, told, moved))
        return told


def pending_records(redis: Redis, clock: Clock | None = None) -> PendingRecords:
    return PendingRecords(cast("Shared", redis), Memory(2**21), keep_record=60.0, clock=clock or Clock())


def move(one: PendingRecords, listing: str, entries: int) -> None:
    """It is known here, and Redis has it."""
    one._memory.learn(listing, record(entries - 1))
    one._memory.learn(listing, record(entries))


async def tell(one: PendingRecords) -> None:
    one.report()
    assert await one.drain(1) == 0


async def test_all_is_told_once() -> None:
    """But what has moved also when Redis goes again: it may have lost that."""
    redis = Redis()
    one = pending_records(redis)
    for number in range(300):
        one.note(f"l{number}", record(number), moved=number % 2 == 0)
    await tell(one)
    assert redis.heard == {f"l{number}": (record(number), number % 2 == 0) for number in range(300)}
    redis.heard = {}
    await tell(one)
    assert redis.heard == {f"l{number}": (record(number), True) for number in range(0, 300, 2)}


async def test_what_redis_took_last_is_told_again_when_it_is_back() -> None:
    """It may have lost that; not what it took long before, nor what nothing has moved."""
    redis, clock = Redis(), Clock()
    one = pending_records(redis, clock)
    move(one, "long ago", 5)
    clock.advance(LOSS_WINDOW + 1)
    move(one, "l", 5)
    one._memory.learn("l", record(5))
    one._memory.learn("new", record(5))
    clock.advance(60)  # for which nothing moves, or Redis is away
    await tell(one)
    assert redis.heard == {"l": (record(5), True)}


async def test_how_a_listing_moved_is_told_again_not_what_confirmed_it_since() -> None:
    """Else a Redis that has lost nothing would take the listing for one that has moved once more."""
    redis = Redis()
    one = pending_records(redis)
    move(one, "l", 5)
    one._memory.learn("l", Record(Stamp(5, None), 0.0, 6.0, 6.0, 8))
    await tell(one)
    assert redis.heard == {"l": (record(5), True)}


async def test_how_a_listing_moved_is_told_before_what_is_known_of_it_since() -> None:
    """As a move, what has but confirmed it since would retire what Redis and others have lost nothing of."""
    redis = Redis()
    one = pending_records(redis)
    move(one, "l", 5)
    one.note("l", record(6), moved=False)
    one._memory.learn("l", record(6))
    await tell(one)
    assert redis.all == [("l", record(5), True), ("l", record(6), False)]


async def test_no_more_than_so_much_is_told_again() -> None:
    redis = Redis()
    one = pending_records(redis)
    for number in range(MAX_TAKEN + 9):
        move(one, f"l{number}", 5)
    for _ in range(2):
        redis.heard = {}
        await tell(one)
        assert sorted(redis.heard) == sorted(f"l{number}" for number in range(9, MAX_TAKEN + 9))


async def test_what_was_not_taken_is_reported_the_next_time() -> None:
    redis = Redis(most=100)
    one = pending_records(redis)
    for number in range(300):
        one.note(f"l{number}", record(number), moved=False)
    for expected in (100, 200, 300):
        redis.most = expected
        await tell(one)
        assert len(redis.heard) == expected
    redis.most = 400
    await tell(one)
    assert len(redis.heard) == 300


async def test_what_was_not_heard_is_told_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Redis was slow for a moment only, so that nothing else says that it is back."""
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    redis = Redis()
    one = pending_records(redis)
    for number in range(5):
        one.note(f"l{number}", record(number), moved=False)
    redis.refused = {"l1", "l3"}
    one.report()
    async with asyncio.timeout(5):
        while len(redis.heard) < 3:
            await asyncio.sleep(0)
        redis.refused = set()
        while len(redis.heard) < 5:
            await asyncio.sleep(0)
    assert await one.drain(1) == 0
    assert sorted(redis.heard) == [f"l{number}" for number in range(5)]


async def test_what_redis_did_not_take_is_told_though_nothing_says_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been away for a moment only, in which no news was missed, and nothing be asked here for a while."""
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    redis = Redis()
    one = pending_records(redis)
    for number in range(2):  # another time, too
        redis.refused = {"l"}
        one.note("l", record(number), moved=True)
        for _ in range(5):
            await asyncio.sleep(0)
        redis.refused = set()
        async with asyncio.timeout(5):
            while redis.heard.get("l") != (record(number), True):
                await asyncio.sleep(0)
    assert await one.drain(1) == 0


async def test_a_refused_record_is_kept_as_it_is_by_then_and_as_moved() -> None:
    redis = Redis()
    redis.refuses = True
    one = pending_records(redis)
    one.note("l", record(1), moved=True)
    one.report()
    one.note("l", record(2), moved=False)
    assert await one.drain(1) == 0
    redis.refuses = False
    await tell(one)
    assert redis.heard == {"l": (record(2), True)}


async def test_no_more_is_kept_than_memory_knows() -> None:
    """However often Redis comes and goes at once; and a Redis that is gone again costs no look at each of them."""
    redis = Redis(most=0)
    one = pending_records(redis)
    for times in range(2):
        for number in range(one._memory.most_listings + 9):
            one.note(f"l{times} {number}", record(number), moved=False)
        one.report()
    assert await one.drain(1) == 0
    redis.most = 10**6
    await tell(one)
    assert len(redis.heard) == one._memory.most_listings


async def test_one_tells_at_a_time_and_in_a_time_of_its_own() -> None:
    """Not in what the question that it comes from has left: it is for others too."""
    heard, left = asyncio.Event(), list[float]()

    async def tell() -> bool:
        left.append(current_allotment().left(1.0))
        await heard.wait()
        return True

    it = retry_loop.RetryLoop(tell)
    with allotted():
        current_allotment().charge(10.0)
        for _ in range(3):
            it.start()
            await asyncio.sleep(0)
        heard.set()
        assert await it.drain(1) == 0
    assert left == [1.0]


async def test_what_comes_after_the_end_is_told_now_or_never() -> None:
    """Else a task would go on for as long as the event loop does, and ask a Redis that is closed."""
    told = list[None]()

    async def tell_in_vain() -> bool:
        told.append(None)
        return False

    it = retry_loop.RetryLoop(tell_in_vain)
    assert await it.drain(1) == 0
    it.start()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (told, it._runs) == ([None], False)
