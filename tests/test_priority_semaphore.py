"""Who comes first at a semaphore, and what becomes of a place that nobody waits for any more."""

from __future__ import annotations

import asyncio

from proxy.tasks.priority_semaphore import PrioritySemaphore


class Line:
    """Those who wait, by their keys; ``came``: who had a place, in order."""

    def __init__(self, room: PrioritySemaphore) -> None:
        self.room = room
        self.came: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def wait(self, *keys: str) -> None:
        for key in keys:
            self.tasks[key] = asyncio.create_task(self._acquire(key))
        await asyncio.sleep(0)

    async def _acquire(self, key: str) -> None:
        await self.room.acquire(key)
        self.came.append(key)

    async def release(self, times: int = 1) -> None:
        for _ in range(times):
            self.room.release()
        for _ in range(3):
            await asyncio.sleep(0)


async def test_all_come_in_order_but_those_who_are_preferred_come_first() -> None:
    line = Line(PrioritySemaphore(1))
    assert not line.room.locked()
    await line.wait("one", "two", "three", "four", "five")
    assert line.came == ["one"]
    assert line.room.locked()
    line.room.prefer(["four", "nobody"])
    line.room.prefer(["three", "four"])
    for _ in range(4):
        await line.release()
    assert line.came == ["one", "four", "three", "two", "five"]
    await line.release()
    assert not line.room.locked()


async def test_who_gives_up_takes_no_place() -> None:
    line = Line(PrioritySemaphore(1))
    await line.wait("one", "two", "three", "four")
    line.room.prefer(["two"])
    for key in ("two", "three"):
        line.tasks[key].cancel()
    await line.release()  # before they know it
    assert line.came == ["one", "four"]
    await line.wait("two")
    line.tasks["two"].cancel()
    await asyncio.sleep(0)
    await line.wait("two")
    await line.release()
    assert line.came == ["one", "four", "two"]


async def test_a_place_that_comes_as_its_taker_gives_up_is_the_next_ones() -> None:
    line = Line(PrioritySemaphore(1))
    await line.wait("one", "two", "three")
    line.room.release()
    line.tasks["two"].cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert line.came == ["one", "three"]
    await line.release()
    assert not line.room.locked()
