"""Slots that Redis may hold for turns that are over, as it could not be told, or granted them in a lost answer.

Each of them takes the place of a request of all replicas for as long as a slot lasts. So Redis is told as soon as it
can be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import compress
from typing import Final

from proxy.admission.gate import SLOT
from proxy.redis.client import GIVEN_UP
from proxy.redis.telling import Telling

HELD: Final = SLOT + GIVEN_UP
"""Seconds after which no slot is held any more that was not renewed, however late the grant."""


class Leftovers:
    """Frees slots.

    Args:
        tell: tells Redis that a gate's ticket is of no use, and says whether it has heard.
        clock: seconds, monotonic.
    """

    def __init__(self, tell: Callable[[str, str], Awaitable[bool]], *, clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._left: dict[str, tuple[str, float]] = {}
        self._telling = Telling(self._tell_all)

    def free(self, gate: str, ticket: str) -> None:
        """Have the slot of a ticket given back, in a task of its own."""
        self._left[ticket] = (gate, self._clock() + HELD)
        self._telling.begin()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told, now or never; return how much goes on."""
        return await self._telling.drain(timeout)

    async def _tell_all(self) -> bool:
        while self._left:
            now = self._clock()
            self._left = {ticket: one for ticket, one in self._left.items() if one[1] > now}
            # One of each gate finds out whether it is taken: a Redis that refuses is not asked for all each time.
            first = {gate: ticket for ticket, (gate, _) in self._left.items()}
            told = await asyncio.gather(*(self._free(ticket, gate) for gate, ticket in first.items()))
            takes = set(compress(first, told))
            rest = [(ticket, gate) for ticket, (gate, _) in self._left.items() if gate in takes]
            if not all((*told, *await asyncio.gather(*(self._free(*one) for one in rest)))):
                return False
        return True

    async def _free(self, ticket: str, gate: str) -> bool:
        heard = await self._tell(gate, ticket)
        if heard:
            self._left.pop(ticket, None)
        return heard
