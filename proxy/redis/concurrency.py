"""How many calls to Redis may be under way at once: few at first, more as answers come, like TCP's congestion window.

A call beyond as many as before opens a connection. Where a crowd's calls would open all of theirs at the same moment,
none of them would be through in the time that a call may take, on a busy machine: a Redis that is well would count as
down.

What has been begun goes before what is new: where more is asked than this process can do, who asks what nobody knows
waits, and then is told so; news flows, leases are renewed, turns given back and known pages looked up all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

STEP: Final = 4
"""Calls that there may be at once at first, and by how many more after as many answers as there may be calls."""


class ConcurrencyLimit:
    """Lets calls begin in the order in which they came, those that begin something new after all others.

    Args:
        most: calls at once, however well it goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(STEP, most)
        self._width = float(self._least)
        self._under_way = 0
        self._begun: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()

    @property
    def width(self) -> int:
        """How many calls may be under way now."""
        return int(self._width)

    async def enter(self, *, wait: float | None = None) -> bool:
        """Wait for the turn of a call, which is to ``leave`` then; return whether it came.

        ``wait``: seconds that it may wait, as it begins something new.
        """
        if self._under_way < self.width:  # then nobody waits
            self._under_way += 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._begun if wait is None else self._new).append(turn)
        try:
            async with asyncio.timeout(wait):
                await turn
        except TimeoutError:
            self._give_up(turn)
            return False
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        return True

    def leave(self) -> None:
        """A call that had its turn has ended."""
        self._under_way -= 1
        self._admit()

    def widen(self) -> None:
        """A call was answered in time; if there could not have been more, there may be more from here on."""
        if self._under_way >= self.width:
            self._width = min(float(self._most), self._width + STEP / self._width)
            self._admit()

    def narrow(self) -> None:
        """Redis failed a call: half as many. Where it is away, all that were under way fail, and few are left."""
        self._width = max(float(self._least), self._width / 2)

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # it came at the same moment
            self.leave()

    def _admit(self) -> None:
        for line in (self._begun, self._new):
            while line and self._under_way < self.width:
                turn = line.popleft()
                if not turn.done():
                    self._under_way += 1
                    turn.set_result(None)
