"""Slots that Redis may hold for turns that are over, as it could not be told, or granted them in a lost answer.

Each of them takes the place of a request of all replicas for as long as a slot lasts. So Redis is told as soon as it
can be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import compress
from typing import Final

from proxy.admission.gate import SLOT_SECONDS
from proxy.redis.client import SOCKET_TIMEOUT
from proxy.redis.retry_loop import RetryLoop

MAX_HOLD: Final = SLOT_SECONDS + SOCKET_TIMEOUT
"""Seconds after which no slot is held any more that was not renewed, however late the grant."""


class PendingReleases:
    """Frees slots.

    Args:
        report: tells Redis that a gate's ticket is of no use, and returns whether it took that.
        clock: seconds, monotonic.
    """

    def __init__(self, report: Callable[[str, str], Awaitable[bool]], *, clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._pending: dict[str, tuple[str, float]] = {}
        self._retries = RetryLoop(self._report_all)

    def __len__(self) -> int:
        """How many Redis may hold."""
        return len(self._pending)

    def free(self, gate: str, ticket: str) -> None:
        """Have the slot of a ticket given back, in a task of its own."""
        self._pending[ticket] = (gate, self._clock() + MAX_HOLD)
        self._retries.start()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told, now or never; return how much goes on."""
        return await self._retries.drain(timeout)

    async def _report_all(self) -> bool:
        while self._pending:
            now = self._clock()
            self._pending = {ticket: one for ticket, one in self._pending.items() if one[1] > now}
            # One of each gate finds out whether it is taken: a Redis that refuses is not asked for all each time.
            first = {gate: ticket for ticket, (gate, _) in self._pending.items()}
            reported = await asyncio.gather(*(self._free(ticket, gate) for gate, ticket in first.items()))
            takes = set(compress(first, reported))
            others = [(ticket, gate) for ticket, (gate, _) in self._pending.items() if gate in takes]
            if not all((*reported, *await asyncio.gather(*(self._free(*one) for one in others)))):
                return False
        return True

    async def _free(self, ticket: str, gate: str) -> bool:
        reported = await self._report(gate, ticket)
        if reported:
            self._pending.pop(ticket, None)
        return reported
