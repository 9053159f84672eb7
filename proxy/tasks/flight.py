"""Single flight: callers who ask the same thing at the same time share one piece of work.

The work belongs to none of them: it runs in a detached task. Callers wait with :func:`detached.wait_until_done`, which
leaves the task alone; to await a task directly would cancel it for all when one of them hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from proxy.tasks.detached import Detached, wait_until_done

T = TypeVar("T")


class Flights(Generic[T]):
    """The work under way, by key."""

    def __init__(self) -> None:
        self._detached = Detached(awaited=True)
        self._under_way: dict[str, tuple[asyncio.Task[T], float]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: str) -> bool:
        return key in self._under_way

    def join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[asyncio.Task[T], bool]:
        """Return the work under way for ``key``, started if there was none, and whether there was."""
        if key in self._under_way:
            return self._under_way[key][0], True
        task = self._detached.spawn(work())
        self._under_way[key] = task, asyncio.get_running_loop().time()
        # Forgotten the moment it ends, before any waiter wakes: a waiter who asks again starts anew.
        task.add_done_callback(lambda _: self._under_way.pop(key))
        return task, False

    def began(self, key: str) -> float:
        """The loop's time at which the work under way for ``key`` began; now, if there is none."""
        return self._under_way[key][1] if key in self._under_way else asyncio.get_running_loop().time()

    async def share(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Join the work for ``key`` and wait for its result; what it raises, all who wait are given."""
        task, joined = self.join(key, work)
        await wait_until_done(task)
        return task.result(), joined

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the work under way; return how much of it has not ended."""
        return await self._detached.drain(timeout)
