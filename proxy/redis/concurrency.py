"""How many calls to Redis may be under way at once: few at first, more as answers come, like TCP's congestion window.

A call beyond as many as before opens a connection. Where a crowd's calls would open all of theirs at the same moment,
none of them would be through in the time that a call may take, on a busy machine: a Redis that is well would count as
down.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

STEP: Final = 4
"""Calls that there may be at once at first, and by how many more after as many answers as there may be calls."""


class ConcurrencyLimit:
    """Lets calls begin in the order in which they came.

    Args:
        most: calls at once, however well it goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(STEP, most)
        self._width = float(self._least)
        self._free = asyncio.Semaphore(self._least)
        self._excess = 0

    @property
    def width(self) -> int:
        """How many calls may be under way now."""
        return int(self._width)

    async def __aenter__(self) -> None:
        await self._free.acquire()
        while self._excess:  # there is to be one less
            self._excess -= 1
            await self._free.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def widen(self) -> None:
        """A call was answered in time; if there could have been more, there may be more from here on."""
        if self._free.locked():
            before = self.width
            self._width = min(float(self._most), self._width + STEP / self._width)
            for _ in range(self.width - before):
                self._release()

    def narrow(self) -> None:
        """Redis failed a call: half as many. Where it is away, all that were under way fail, and few are left."""
        before = self.width
        self._width = max(float(self._least), self._width / 2)
        self._excess += before - self.width

    def _release(self) -> None:
        if self._excess:
            self._excess -= 1
        else:
            self._free.release()
