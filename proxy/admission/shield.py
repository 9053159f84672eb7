"""Admission to the hub: each request has its turn, in the budget and outside of pauses, agreed with all replicas.

Without Redis, or while it cannot be asked, this process keeps a gate of its own, with its share of the budget.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from proxy.admission.delayed_turns import DelayedTurns
from proxy.admission.gate import SLOT_SECONDS, Pause, Refused, Report, Standing
from proxy.admission.gates import NO_SLOT, Gates
from proxy.admission.grant import Asker, Grant
from proxy.admission.queue import Queue
from proxy.admission.refusals import Backoff, backoff_after, refusal_error, report_of
from proxy.errors import RETRY_AFTER, ProxyError
from proxy.redis.allotment import unallotted
from proxy.redis.claims import WantedTurn
from proxy.tasks.detached import Detached, drain_all
from proxy.tasks.renewal import Renewal

SLACK: Final = 1.0
"""Seconds past its time for which a turn that was granted for later is waited for, as clocks and loops are late."""
RELEASE_DELAY: Final = 0.002
"""Seconds for which a slot may be held after its request, so that a call to Redis comes after the answer's own."""


class Shield:
    """Grants turns at one hub with one credential.

    Args:
        patience: seconds that a caller waits for a turn, at the most; few others wait for longer.
        clock: seconds, monotonic.

    Attributes:
        allowance: of all replicas together.
    """

    def __init__(
        self, gates: Gates, *, patience: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.allowance = gates.allowance
        self._gates = gates
        self._patience = patience
        self._clock = clock
        self._backoff: Backoff | None = None
        self._longest = 0.0
        self._queue: Queue[Grant | Refused] = Queue(self.allowance.concurrency)
        self._delayed_turns: DelayedTurns[Grant] = DelayedTurns()
        self._places = itertools.count()
        gates.on_free = self._queue.make_room
        self._releases = Detached()

    def hold_off(self) -> Backoff | None:
        """Hold a caller off while turns are known to be refused. None: it passes, maybe as the one that checks."""
        return None if self._backoff is None or self._backoff.let_one_check() else self._backoff

    def wanted(self, patience: float) -> WantedTurn | None:
        """A turn within ``patience`` seconds that another script may grant; None where nobody but the gate may.

        Those who are in line come first.
        """
        return None if self._queue else self._gates.wanted(patience)

    def give_back(self, wanted: WantedTurn) -> None:
        """A turn that was wanted is of no use, if it was granted and not used."""
        if wanted.over:
            return
        wanted.over = True
        self._unwanted(self._gates.granted(wanted))
        self._gates.free(_asker(wanted))

    @asynccontextmanager
    async def turn(
        self, patience: float, *, ahead: bool = False, wanted: WantedTurn | None = None
    ) -> AsyncIterator[None]:
        """Wait at most ``patience`` seconds for a turn; what the block raises decides what becomes of the next ones.

        ``ahead``: nobody waits for the answer; callers who do come first. ``wanted``: another script was asked
        for it.

        Raises:
            HubRateLimited, HubUnavailable, HubResting, HubRefusedCredential: the hub is left alone, for
                ``retry_after`` seconds.
            HubBusy: there is no room in time.
        """
        asker = _asker(wanted)
        if wanted is not None:
            wanted.over = True
        self._longest = max(self._longest, min(patience, self._patience))
        try:
            grant = await self._admitted(asker, self._clock() + patience, ahead=ahead, wanted=wanted)
        except BaseException:  # cancelled, too
            self._gates.free(asker)
            raise
        report: Report | None = Report("abandoned")
        try:
            with Renewal(SLOT_SECONDS / 4, lambda: self._gates.renew(grant)):
                yield
            report = Report("answered")
        except ProxyError as error:
            report = report_of(error)
            if report.outcome not in ("answered", "abandoned"):  # the next ones are to know of it
                pause = await self._release(grant, report)
                if pause.seconds or error.retry_after is not None:
                    error.retry_after = max(pause.seconds, error.retry_after or 0.0)
                report = None
            raise
        finally:
            if report is not None:
                self._releases.spawn(self._release_soon(grant, report))

    async def standing(self) -> Standing:
        """What is left of the budget: of all replicas', or of this process' share while they cannot be asked."""
        return await self._gates.standing()

    def make_room(self, gate: bytes = b"") -> None:
        """Somebody has left; whoever is first in the queue looks again. ``gate``: where, if that is known."""
        if not gate or self._gates.is_of(gate):
            self._queue.make_room()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until all who have left are gone; return how many are not."""
        return await drain_all(timeout, self._releases, self._gates)

    async def _admitted(self, asker: Asker, latest: float, *, ahead: bool, wanted: WantedTurn | None) -> Grant:
        """Wait for a turn until ``latest``."""
        came_at, place = self._clock(), next(self._places)
        answer = NO_SLOT if wanted is None else self._gates.granted(wanted)
        if answer == NO_SLOT:
            answer = await self._in_line(asker, place, latest, ahead=ahead)
        self._backoff = None  # also where the turn is for later: others may have the next ones
        latest += SLACK
        while isinstance(answer, Grant) and answer.wait:
            due = await self._delayed_turns.due(place, answer, answer.wait, latest - self._clock())
            answer = NO_SLOT if due is None else await self._in_line(asker, place, latest, paid=due)
        if isinstance(answer, Grant):
            return answer
        if answer == NO_SLOT:  # nobody knows when there is a slot; as long once more is what it looks like
            answer = Refused("concurrency", max(RETRY_AFTER, self._clock() - came_at))
        error = refusal_error(answer, ahead=ahead)
        self._backoff = backoff_after(answer, error, self._clock, patience=self._longest)
        raise error

    async def _in_line(
        self, asker: Asker, place: int, latest: float, *, ahead: bool = False, paid: Grant | None = None
    ) -> Grant | Refused:
        """Ask for a turn, after those who came before and wait for room, and wait if there is none."""
        if ahead:
            return NO_SLOT if self._queue else await self._gates.ask(asker, self.allowance.ahead(), 0.0, paid=paid)

        async def ask() -> Grant | Refused | None:
            # A turn in place of one that is void is for whoever came last.
            left = self._longest if paid is not None and self._delayed_turns else max(0.0, latest - self._clock())
            answer = await self._gates.ask(asker, self.allowance, left, paid=paid)
            return None if answer == NO_SLOT else answer

        def unwanted(answer: Grant | Refused | None) -> None:
            self._unwanted(answer)
            self._gates.free(asker)

        answer = None if self._queue else await ask()
        if answer is None:
            answer = await self._queue.wait(ask, unwanted, latest - self._clock(), place=place)
        return answer or NO_SLOT

    async def _release_soon(self, grant: Grant, report: Report) -> None:
        """Leave when the answer is on its way to the callers, unless somebody waits for that."""
        unallotted()
        if grant.shared_epoch is not None and not self._queue and not self._gates.paused(grant):
            await asyncio.sleep(RELEASE_DELAY)
        await self._release(grant, report)

    async def _release(self, grant: Grant, report: Report) -> Pause:
        pause = await self._gates.release(grant, report)
        self.make_room()
        return pause

    def _unwanted(self, answer: Grant | Refused | None) -> None:
        """Nobody needs this turn, if it is one."""
        if isinstance(answer, Grant):
            self._releases.spawn(self._release(answer, Report("abandoned")))


def _asker(wanted: WantedTurn | None) -> Asker:
    """Who asks, once more if a turn was wanted before; of that one nothing may have been heard."""
    if wanted is None:
        return Asker(secrets.token_hex(8))
    return Asker(wanted.ticket, wanted.gate if wanted.answer is None else "")
