"""Admission to the hub: each request has its turn, in the budget and outside of pauses, agreed with all replicas.

Without Redis, or while it cannot be asked, this process keeps a gate of its own, with its share of the budget.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from proxy.admission.gate import SLOT, Allowance, Gate, Pause, Refused, Report, Standing, Turn
from proxy.admission.leftovers import Leftovers
from proxy.admission.queue import Queue
from proxy.admission.refusals import FALLBACK, Rest, refusal, report_of, rest_after
from proxy.admission.shared_gate import SharedGate
from proxy.admission.turns import Early, Granted
from proxy.errors import ProxyError
from proxy.redis.allotment import unallotted
from proxy.tasks.detached import Detached, drained
from proxy.tasks.renewal import Renewing

SOON: Final = 0.002
"""Seconds for which a slot may be held after its request, so that a call to Redis comes after the answer's own."""
_FULL: Final = Refused("concurrency", 0.0)


class Shield:
    """Grants turns at one hub with one credential.

    Args:
        allowance: of all replicas together.
        gate_name: what Redis knows this credential's gate by, at the moment.
        replicas: how many processes share the budget, as far as is known.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        allowance: Allowance,
        shared: SharedGate | None,
        *,
        gate_name: Callable[[], str],
        replicas: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowance = allowance
        self._shared = shared
        self._gate_name = gate_name
        self._replicas = replicas
        self._clock = clock
        self._name = gate_name()
        self._local = Gate()
        self._alone = self._untold = False
        self._rest: Rest | None = None
        self._longest = 0.0
        self._queue: Queue[tuple[Turn | Refused, Granted | None]] = Queue(allowance.concurrency)
        self._leaving = Detached()
        self._leftovers = Leftovers(shared, self._queue.make_room, clock=clock)

    def resting(self) -> Rest | None:
        """What is known of turns being refused; None for who has to look, too."""
        return self._rest if self._rest is not None and self._rest.holds() else None

    def early(self, patience: float) -> Early | None:
        """A turn within ``patience`` seconds that another script may grant; None where nobody but the gate may.

        Those who are in line come first, and what others do not know of this process' gate is to be told first.
        """
        name = self._gate_name()
        late = self._queue or self._alone or self._untold or name != self._name
        if self._shared is None or not self._shared.whole or late:
            return None
        ticket = secrets.token_hex(8)
        told = self._local.told(self._clock(), self.allowance, untold=False)
        wanted = self._shared.wanted(name, ticket, self.allowance, patience=patience, told=told)
        return Early(ticket, wanted, name, self._local)

    def give_back(self, early: Early) -> None:
        """An early turn is of no use, if it was granted."""
        self._unwanted(early.ticket, self._granted(early))
        if early.answer is None:
            self._leftovers.free(early.name, early.ticket)

    @asynccontextmanager
    async def turn(self, patience: float, *, ahead: bool = False, early: Early | None = None) -> AsyncIterator[None]:
        """Wait at most ``patience`` seconds for a turn; what the block raises decides what becomes of the next ones.

        ``ahead``: nobody waits for the answer; callers who do come first. ``early``: has been asked for.

        Raises:
            HubRateLimited, HubUnavailable, HubResting: the hub is left alone; ``retry_after`` says for how long.
            HubBusy: there is no room in time.
        """
        ticket = secrets.token_hex(8) if early is None else early.ticket
        self._longest = max(self._longest, patience)
        granted = await self._admitted(ticket, self._clock() + patience, ahead=ahead, early=early)
        report: Report | None = Report("abandoned")
        try:
            with Renewing(SLOT / 4, lambda: self._stay(ticket, granted)):
                yield
            report = Report("answered")
        except ProxyError as error:
            report = report_of(error)
            if report.outcome not in ("answered", "abandoned"):  # the next ones are to know of it
                pause = await self._leave(ticket, granted, report)
                error.retry_after = max(pause.seconds, error.retry_after or 0.0) or None
                report = None
            raise
        finally:
            if report is not None:
                self._leaving.spawn(self._leave_soon(ticket, granted, report))

    async def standing(self) -> Standing:
        """What is left of the budget: of all replicas', or of this process' share while they cannot be asked."""
        shared = None if self._shared is None else await self._shared.standing(self._gate_name(), self.allowance)
        if shared is not None:
            return shared
        return self._local.standing(self._clock(), self.allowance.share(self._replicas()))

    def make_room(self, gate: bytes = b"") -> None:
        """Somebody has left; whoever is first in the queue looks again. ``gate``: where, if that is known."""
        if not gate or gate.decode() == self._gate_name():
            self._queue.make_room()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until all who have left are gone; return how many are not."""
        return await drained(timeout, self._leaving, self._leftovers)

    async def _admitted(self, ticket: str, latest: float, *, ahead: bool, early: Early | None) -> Granted:
        """Wait for a turn until ``latest``."""
        decision, granted = (_FULL, None) if early is None else self._granted(early)
        if decision == _FULL:
            decision, granted = await self._in_line(ticket, latest, ahead=ahead)
        self._rest = None  # also where the turn is for later: others may have the next ones
        if isinstance(decision, Turn) and decision.wait:
            await asyncio.sleep(decision.wait)
            decision, granted = await self._in_line(ticket, latest + FALLBACK, paid=True)
        if isinstance(decision, Turn) and granted is not None:
            return granted
        error = refusal(decision, ahead=ahead)
        self._rest = rest_after(decision, error, self._clock, patience=self._longest)
        raise error

    async def _in_line(
        self, ticket: str, latest: float, *, ahead: bool = False, paid: bool = False
    ) -> tuple[Turn | Refused, Granted | None]:
        """Ask for a turn, after those who wait for room, and wait if there is none."""
        if ahead:
            return (_FULL, None) if self._queue else await self._ask(ticket, self.allowance.ahead(), 0.0, paid=paid)

        async def ask() -> tuple[Turn | Refused, Granted | None] | None:
            left = max(0.0, latest - self._clock())
            answer = await self._ask(ticket, self.allowance, left, paid=paid)
            return None if answer[0] == _FULL else answer

        answer = None if self._queue else await ask()
        if answer is None:
            answer = await self._queue.wait(ask, partial(self._unwanted, ticket), latest - self._clock())
        return answer or (_FULL, None)

    async def _ask(
        self, ticket: str, allowance: Allowance, patience: float, *, paid: bool
    ) -> tuple[Turn | Refused, Granted | None]:
        """Ask all replicas' gate, or this process' own."""
        name = self._gate_name()
        if name != self._name:  # another token: what was learned of the old one does not count
            self._name, self._local, self._untold = name, Gate(), False
        local = self._local
        if self._shared is not None:
            told = local.told(self._clock(), allowance, untold=self._untold)
            answer = await self._shared.admit(name, ticket, allowance, patience=patience, paid=paid, told=told)
            if answer is not None:
                self._alone = self._untold = False
                return self._taken(name, local, ticket, *answer)
        allowance = allowance.share(self._replicas())
        if self._shared is not None and not self._alone:
            self._alone = True
            local.drain(self._clock(), allowance)
        decision = local.admit(ticket, self._clock(), allowance, patience=patience, paid=paid)
        return decision, Granted(name, local, local.epoch)

    def _granted(self, early: Early) -> tuple[Turn | Refused, Granted | None]:
        """What came of an early turn."""
        if early.answer is None:
            return _FULL, None
        return self._taken(early.name, early.local, early.ticket, *early.answer)

    def _taken(
        self, name: str, local: Gate, ticket: str, decision: Turn | Refused, pause: Pause | None
    ) -> tuple[Turn | Refused, Granted | None]:
        """Let this process' own gate know what all replicas' has decided."""
        if pause is not None:
            local.mirror(pause, self._clock())
        if not isinstance(decision, Turn):
            return decision, None
        if not decision.wait:
            local.renew(ticket, self._clock())
        return decision, Granted(name, local, local.epoch, decision.epoch)

    async def _stay(self, ticket: str, granted: Granted) -> None:
        granted.local.renew(ticket, self._clock())
        if self._shared is not None:
            await self._shared.stay(granted.name, ticket)

    async def _leave_soon(self, ticket: str, granted: Granted, report: Report) -> None:
        """Leave when the answer is on its way to the callers, unless somebody waits for that."""
        unallotted()
        if self._shared is not None and not self._queue and not granted.local.pause(self._clock()).strikes:
            await asyncio.sleep(SOON)
        await self._leave(ticket, granted, report)

    async def _leave(self, ticket: str, granted: Granted, report: Report) -> Pause:
        """Say how a turn went, to whoever granted it."""
        jitter = random.random()  # noqa: S311  not for cryptography
        pause = None
        if granted.shared_epoch is None:
            self._leftovers.free(granted.name, ticket)
        elif self._shared is not None:
            pause = await self._shared.leave(granted.name, ticket, granted.shared_epoch, report, jitter)
            if pause is None:
                self._leftovers.free(granted.name, ticket)
        if pause is not None:
            granted.local.leave(ticket, self._clock(), granted.epoch, Report("abandoned"), 0.0)
            granted.local.mirror(pause, self._clock())
        else:
            pause = granted.local.leave(ticket, self._clock(), granted.epoch, report, jitter)
            self._untold = self._untold or (bool(pause.strikes) and granted.local is self._local)
        self.make_room()
        return pause

    def _unwanted(self, ticket: str, answer: tuple[Turn | Refused, Granted | None]) -> None:
        """Nobody needs this turn, if it is one."""
        if answer[1] is not None:
            self._leaving.spawn(self._leave(ticket, answer[1], Report("abandoned")))
