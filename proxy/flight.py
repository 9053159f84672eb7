"""Single flight: callers who ask the same thing at the same time share one piece of work.

The work belongs to none of them. It runs in a detached task, and everybody, the first caller included,
waits through a shield: awaiting a task directly would cancel it for all when one of them hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from proxy.detached import Detached

T = TypeVar("T")


class Flights(Generic[T]):
    """The work under way, by key."""

    def __init__(self) -> None:
        self._detached = Detached()
        self._under_way: dict[str, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def share(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return the result of the work under way for ``key``, starting it if there is none.

        The second value says whether the work was already under way. What the work raises, all who
        wait for it are given.
        """
        task = self._under_way.get(key)
        joined = task is not None
        if task is None:
            task = self._under_way[key] = self._detached.spawn(work())
            # Forgotten the moment it ends, before any waiter wakes: a waiter who asks again starts anew.
            task.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(task), joined

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the work under way; return how much of it has not ended."""
        return await self._detached.drain(timeout)
