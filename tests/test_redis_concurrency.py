"""How many calls to Redis may be under way at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.redis.concurrency import STEP, ConcurrencyLimit
from proxy.redis.link import RedisLink


class Crowd:
    """Calls that end when told to."""

    in_time = True

    def __init__(self, limit: ConcurrencyLimit, calls: int) -> None:
        self.under_way: list[asyncio.Event] = []
        self._limit = limit
        self.tasks = [asyncio.create_task(self._call()) for _ in range(calls)]

    async def _call(self) -> None:
        async with self._limit:
            answered = asyncio.Event()
            self.under_way.append(answered)
            try:
                await answered.wait()
            finally:
                with contextlib.suppress(ValueError):
                    self.under_way.remove(answered)
            if self.in_time:
                self._limit.widen()

    async def answer(self, calls: int) -> int:
        """Answer those that began first; return how many are under way then."""
        for event in self.under_way[:calls]:
            event.set()
        del self.under_way[:calls]
        for _ in range(5):
            await asyncio.sleep(0)
        return len(self.under_way)

    async def end(self) -> None:
        while any(not task.done() for task in self.tasks):
            await self.answer(len(self.under_way))


async def test_a_crowd_begins_with_few_and_each_round_of_answers_lets_as_many_more() -> None:
    limit = ConcurrencyLimit(19)
    crowd = Crowd(limit, 200)
    assert await crowd.answer(0) == STEP
    for _ in range(8):
        before = limit.width
        assert await crowd.answer(before) == limit.width
        assert min(19, before + STEP // 2) <= limit.width <= before + STEP
    assert limit.width == 19
    await crowd.end()


async def test_calls_that_do_not_wait_for_one_another_leave_it_as_it_is() -> None:
    limit = ConcurrencyLimit(64)
    for _ in range(100):
        async with limit:
            limit.widen()
    assert limit.width == STEP


async def test_each_fault_halves_it_until_it_is_as_narrow_as_at_first() -> None:
    limit = ConcurrencyLimit(64)
    crowd = Crowd(limit, 100)
    await crowd.answer(0)
    while limit.width < 4 * STEP:
        await crowd.answer(len(crowd.under_way))
    crowd.in_time = False
    for width in (2 * STEP, STEP, STEP):
        limit.narrow()
        assert limit.width == width
        under_way = len(crowd.under_way)
        assert await crowd.answer(under_way - width) == width, "those under way have ended, and none has begun"
    await crowd.end()
    crowd = Crowd(limit, 100)
    limit.narrow()
    assert await crowd.answer(0) == STEP, "nor has any where there was room when it was made less"
    await crowd.end()


@pytest.mark.parametrize("most", [1, STEP, 64])
@given(steps=st.lists(st.sampled_from(["come", "answer", "fail", "give up"]), max_size=60))
def test_there_are_never_more_than_may_be_and_nobody_is_left_waiting(most: int, steps: list[str]) -> None:
    async def scenario() -> None:
        limit = ConcurrencyLimit(most)
        crowd = Crowd(limit, 0)
        for step in steps:
            began = len(crowd.under_way)
            match step:
                case "come":
                    crowd.tasks += [asyncio.create_task(crowd._call()) for _ in range(7)]
                case "answer":
                    await crowd.answer(1 + began // 2)
                case "fail":
                    limit.narrow()
                case _:
                    if crowd.tasks:
                        crowd.tasks.pop().cancel()
            now = await crowd.answer(0)
            assert now <= max(limit.width, began)
            assert limit.width <= most
        async with asyncio.timeout(5):
            await crowd.end()
        assert await Crowd(limit, 0).answer(0) == 0
        after = Crowd(limit, 200)
        assert await after.answer(0) == limit.width, "nothing is lost, and nothing made"
        await after.end()

    asyncio.run(scenario())


async def test_a_redis_that_is_away_is_not_stormed_when_it_is_back() -> None:
    link, under_way, most, up = RedisLink(None, 0.05, 64), 0, [0], [True]  # type: ignore[arg-type]

    async def call() -> None:
        nonlocal under_way
        under_way += 1
        most[0] = max(most[0], under_way)
        try:
            await asyncio.sleep(0)
            if not up[0]:
                raise OSError
        finally:
            under_way -= 1

    async def crowd(calls: int) -> int:
        most[0] = 0
        await asyncio.gather(*(link.call("get", call) for _ in range(calls)))
        return most[0]

    assert await crowd(STEP + 4) < 2 * STEP
    assert await crowd(1000) > 4 * STEP
    up[0] = False
    assert await crowd(1000) > 4 * STEP, "all that may be under way when it goes"
    up[0] = True
    link._backoff_until = 0.0
    await link.call("get", call)
    assert await crowd(STEP + 4) < 2 * STEP
