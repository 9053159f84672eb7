"""Those who wait for turns that were granted for later.

Whoever came first has the one that is due first, whoever it was granted to: one whose turn came and went, as there was
no slot, is charged for another at the end of the line, and is not to wait there.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from operator import itemgetter
from typing import Generic, TypeVar

from proxy.tasks.detached import wait_until_done

T = TypeVar("T")


class DelayedTurns(Generic[T]):
    """Hands out turns when they are due."""

    def __init__(self) -> None:
        self._waiters: list[tuple[int, asyncio.Future[T]]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    async def due(self, place: int, turn: T, wait: float, seconds: float) -> T | None:
        """Add a turn that is due after ``wait`` seconds; return the one for who came then, None after ``seconds``."""
        loop = asyncio.get_running_loop()
        waiter: tuple[int, asyncio.Future[T]] = (place, loop.create_future())
        insort(self._waiters, waiter, key=itemgetter(0))
        loop.call_later(wait, self._hand_out, turn)
        try:
            return waiter[1].result() if await wait_until_done(waiter[1], seconds) else None
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _hand_out(self, turn: T) -> None:
        if self._waiters:
            self._waiters.pop(0)[1].set_result(turn)
