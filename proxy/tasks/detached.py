"""Tasks that no caller owns: they go on when whoever started them has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Detached:
    """Holds tasks until they end (the event loop itself keeps only weak references)."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` in a task of its own."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the tasks to end; return how many have not."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: with every waiter gone, nobody else looks at it


async def ended(work: asyncio.Future[Any], timeout: float | None = None) -> bool:
    """Wait at most ``timeout`` seconds for work, which that leaves alone; return whether it has ended.

    As asyncio.wait does it for many, in less than two thirds of its time. Work that has ended already is waited for as
    well: whatever else was to be done at its end has been then.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = None if timeout is None else loop.call_later(timeout, wake)
    work.add_done_callback(wake)
    try:
        await woken
    finally:
        work.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()
    return work.done()
