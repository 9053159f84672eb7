"""A semaphore at which all wait in order, but for those of whom it is learned meanwhile that they come first."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable


class PrioritySemaphore:
    """Lets so many in at once.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._first: deque[asyncio.Future[None]] = deque()
        self._others: dict[str, asyncio.Future[None]] = {}

    def locked(self) -> bool:
        """Whether who comes now has to wait."""
        return self._free == 0

    async def acquire(self, key: str) -> None:
        """Wait until there is room; by each key, one waits at a time."""
        if self._free:  # then nobody waits
            self._free -= 1
            return
        turn = self._others[key] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self.release()
            self._others.pop(key, None)
            with contextlib.suppress(ValueError):
                self._first.remove(turn)
            raise

    def prefer(self, keys: Iterable[str]) -> None:
        """Let those of these who wait come before all others, in this order."""
        self._first.extend(self._others.pop(key) for key in keys if key in self._others)

    def release(self) -> None:
        """Somebody leaves: who is next has the place."""
        while self._first or self._others:
            turn = self._first.popleft() if self._first else self._others.pop(next(iter(self._others)))
            if not turn.done():  # else it was cancelled, and is about to go
                turn.set_result(None)
                return
        self._free += 1
