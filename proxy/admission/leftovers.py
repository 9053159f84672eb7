"""Slots that Redis may hold for turns that are over, as it could not be told, or granted them in a lost answer.

Each of them takes the place of a request of all replicas for as long as a slot lasts. So Redis is told as soon as it
can be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.admission.gate import SLOT, Report
from proxy.admission.shared_gate import SharedGate
from proxy.redis.allotment import unallotted
from proxy.redis.client import GIVEN_UP
from proxy.redis.leases import AGAIN
from proxy.tasks.detached import Detached

NO_EPOCH: Final = -1
"""Of no gate: what is said of a turn with it changes nothing but that its slot is free."""
HELD: Final = SLOT + GIVEN_UP
"""Seconds after which no slot is held any more that was not renewed, however late the grant."""


class Leftovers:
    """Frees slots.

    Args:
        freed: called when Redis has been told.
        clock: seconds, monotonic.
    """

    def __init__(self, shared: SharedGate | None, freed: Callable[[], object], *, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._freed = freed
        self._clock = clock
        self._left: dict[str, tuple[str, float]] = {}
        self._telling = self._draining = False
        self._detached = Detached()

    def free(self, gate: str, ticket: str) -> None:
        """Have the slot of a ticket given back, in a task of its own."""
        if self._shared is None:
            return
        self._left[ticket] = (gate, self._clock() + HELD)
        if not self._telling:
            self._telling = True
            self._detached.spawn(self._tell(self._shared))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told, now or never; return how much goes on."""
        self._draining = True
        left = await self._detached.drain(timeout)
        self._draining = False
        return left

    async def _tell(self, shared: SharedGate) -> None:
        unallotted()
        while self._left:
            now = self._clock()
            told = await asyncio.gather(*(self._free(shared, *one) for one in self._left.items() if one[1][1] > now))
            self._left = {ticket: one for ticket, one in self._left.items() if one[1] > now}
            if not all(told):
                if self._draining:
                    break
                await asyncio.sleep(AGAIN)
        self._telling = False  # before anything else can happen

    async def _free(self, shared: SharedGate, ticket: str, left: tuple[str, float]) -> bool:
        if await shared.leave(left[0], ticket, NO_EPOCH, Report("abandoned"), 0.0) is None:
            return False
        self._left.pop(ticket, None)
        self._freed()
        return True
