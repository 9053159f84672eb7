"""The gate of all replicas, in Redis, and this process' own, with its share of the budget, for when that is away.

What Redis says is taken over by the process' own gate; what Redis could not be told is told as soon as it can be.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Callable
from typing import Final

from proxy.admission.gate import Allowance, Gate, Pause, Refused, Report, Standing
from proxy.admission.gate_evictions import GateEvictions
from proxy.admission.grant import Asker, Grant
from proxy.admission.pending_releases import PendingReleases
from proxy.admission.pending_state import PendingState
from proxy.admission.shared_gate import NO_PATIENCE, NOTHING_REPORTED, GateAnswer, SharedGate
from proxy.redis.claims import WantedTurn

NO_EPOCH: Final = -1
"""Of no gate: what is said of a turn with it changes nothing but that its slot is free."""
NO_SLOT: Final = Refused("concurrency", 0.0)
"""There is no slot."""
CROWDED_SECONDS: Final = 0.5
"""Seconds for which there is none in this process' share either, once Redis has said that all slots are held."""


class Gates:
    """Asks for turns.

    Args:
        allowance: of all replicas together.
        gate_name: what Redis knows this credential's gate by, at the moment.
        replicas: how many processes share the budget, as far as is known.
        agreeing: how many of these do so over Redis. The others' shares are left to them, as they go on without.
        clock: seconds, monotonic.

    Attributes:
        on_free: called when a slot may be free of which Redis had yet to be told.
    """

    def __init__(
        self,
        allowance: Allowance,
        shared: SharedGate | None,
        *,
        gate_name: Callable[[], str],
        replicas: Callable[[], int] = lambda: 1,
        agreeing: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowance = allowance
        self._shared = shared
        self._gate_name = gate_name
        self._replicas = replicas
        self._agreeing = agreeing
        self.on_free: Callable[[], object] | None = None
        self._clock = clock
        self._name = gate_name()
        self._local = Gate(clock())
        self._alone = False
        self._crowded_until = -math.inf
        self._pending_state = PendingState()
        self._evictions = GateEvictions(clock)
        self._pending_releases = PendingReleases(self._report_free, clock=clock)

    def is_of(self, gate: bytes) -> bool:
        """Whether news is of this credential's gate."""
        return gate.decode() == self._gate_name()

    def paused(self, grant: Grant) -> bool:
        """Whether there is a pause, or one of which nobody knows whether it is over."""
        return grant.local.pause(self._clock()).strikes > 0

    def wanted(self, patience: float) -> WantedTurn | None:
        """A turn within ``patience`` seconds that another script may grant; None where nobody but the gate may.

        What others do not know of this process' gate is to be told first.
        """
        name = self._gate_name()
        apart = self._alone or self._evictions.frequent or self._pending_state.has_pause or name != self._name
        if self._shared is None or not self._shared.whole or apart:
            return None
        ticket = secrets.token_hex(8)
        reported = self._local.asker_state(self._clock(), self.allowance, unreported=False)
        allowance = self._of_agreeing(self.allowance)
        return self._shared.wanted(name, ticket, allowance, patience=patience, reported=reported)

    def granted(self, wanted: WantedTurn) -> Grant | Refused:
        """What another script has made of it."""
        answer: GateAnswer | None = wanted.answer
        local = self._local_of(wanted.gate)
        return NO_SLOT if answer is None else self._taken(wanted.gate, local, wanted.ticket, self.allowance, answer)

    def free(self, asker: Asker) -> None:
        """Nobody asks by this ticket any more: have the slot given back of a turn of which nothing was heard."""
        if asker.lost:
            self._pending_releases.free(asker.lost, asker.ticket)

    async def ask(self, asker: Asker, allowance: Allowance, patience: float, *, paid: Grant | None) -> Grant | Refused:
        """Ask for a turn within ``patience`` seconds.

        ``paid``: the turn for now that one of the gates has granted this process.
        """
        if paid is not None and not paid.is_valid(self._clock(), allowance):
            paid = None
        if (name := self._gate_name()) != self._name:  # another token: what was learned of the old one does not count
            self._name, self._local = name, Gate(self._clock())
            self._pending_state.forget()
            self._evictions = GateEvictions(self._clock)
        local = self._local
        answer = await self._ask_shared(name, local, asker, allowance, patience, paid)
        share = allowance.share(self._replicas())
        return answer or self._ask_local(name, local, asker.ticket, share, patience, paid)

    async def renew(self, grant: Grant) -> None:
        """The request is still under way."""
        grant.local.renew(grant.ticket, self._clock())
        if self._shared is not None:
            await self._shared.renew(grant.name, grant.ticket)

    async def release(self, grant: Grant, report: Report) -> Pause:
        """Say how a turn went, to whoever granted it; return the pause that this leads to."""
        jitter = random.random()  # noqa: S311  not for cryptography
        ticket, local, now, pause = grant.ticket, grant.local, self._clock(), None
        local.free(ticket)  # before Redis is told: what is asked at the same time is not to tell of it as held
        if grant.shared_epoch is not None:
            pause = await self._report_release(grant.name, local, ticket, grant.shared_epoch, report, jitter)
        if pause is None:
            known, pause = local.pause(now), local.release(ticket, now, grant.epoch, report, jitter, self.allowance)
            # Only what this turn has led to is news: a pause that was known before may have been ended by others since.
            if pause.strikes and pause != known and local is self._local:
                self._pending_state.note_pause()
            if self._shared is not None:
                self._pending_releases.free(grant.name, ticket)
        return pause

    async def standing(self) -> Standing:
        """What is left of the budget: of all replicas', or of this process' share while they cannot be asked."""
        if self._shared is not None:
            shared = await self._shared.standing(self._gate_name(), self.allowance)
            if shared is not None:
                return shared
        return self._local.standing(self._clock(), self.allowance.share(self._replicas()))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told of what is free; return how much is not."""
        return await self._pending_releases.drain(timeout)

    async def _ask_shared(
        self, name: str, local: Gate, asker: Asker, allowance: Allowance, patience: float, paid: Grant | None
    ) -> Grant | Refused | None:
        """Ask the gate of all replicas; None: this process' own is to decide."""
        if self._shared is None:
            return None
        reported, pauses = self._pending_state.report(local, self._clock(), allowance)
        only_reports = self._evictions.frequent  # what is known here, and takes nothing that would be granted
        epoch = None if only_reports or paid is None or paid.name != name else paid.shared_epoch
        wait, share = NO_PATIENCE if only_reports else patience, self._of_agreeing(allowance)
        sent, answer = not self._shared.backing_off, None
        try:
            answer = await self._shared.admit(name, asker.ticket, share, patience=wait, paid=epoch, reported=reported)
        finally:
            if answer is None:  # also where it is not waited for to the end: it may be granted all the same
                self._pending_state.lost(reported)
                asker.lost = name if sent else asker.lost
        if answer is None:
            # Redis may but be late: while others hold all slots it is asked again, unless a turn here has left one.
            crowded = self._replicas() > 1 and self._clock() < self._crowded_until and not self._pending_releases
            return NO_SLOT if crowded else None
        self._pending_state.delivered(pauses)
        if only_reports:
            _, pause, born = answer
            self._evictions.note(born)
            self._mirror(local, pause)
            return None
        self._alone = False
        return self._taken(name, local, asker.ticket, allowance, answer)

    def _ask_local(
        self, name: str, local: Gate, ticket: str, share: Allowance, patience: float, paid: Grant | None
    ) -> Grant | Refused:
        """Ask this process' own gate, for its share of the budget."""
        now = self._clock()
        if self._shared is not None and not self._alone:
            self._alone = True
            local.spend_burst(now, share)
        epoch = None if paid is None or paid.local is not local or paid.shared_epoch is not None else paid.epoch
        decision = local.admit(ticket, now, share, patience=patience, paid=epoch)
        if isinstance(decision, Refused):
            return decision
        self._pending_state.turns += not decision.wait
        return Grant(ticket, decision.wait, now + decision.wait, name, local, decision.epoch)

    def _of_agreeing(self, allowance: Allowance) -> Allowance:
        """What is left for those who agree over Redis."""
        return allowance.share(self._replicas(), self._agreeing())

    def _local_of(self, name: str) -> Gate:
        """This process' own gate; a new one for a token of before, of which nothing counts any more."""
        return self._local if name == self._name else Gate(self._clock())

    def _taken(self, name: str, local: Gate, ticket: str, allowance: Allowance, answer: GateAnswer) -> Grant | Refused:
        """Let this process' own gate know what all replicas' has decided."""
        decision, pause, born = answer
        self._evictions.note(born)
        self._mirror(local, pause)
        if isinstance(decision, Refused):
            if decision == NO_SLOT and allowance.concurrency == self.allowance.concurrency:
                self._crowded_until = self._clock() + CROWDED_SECONDS
            return decision
        if not decision.wait:
            local.renew(ticket, self._clock())
        due = self._clock() + decision.wait
        return Grant(ticket, decision.wait, due, name, local, local.epoch, decision.epoch)

    async def _report_free(self, name: str, ticket: str) -> bool:
        """Tell Redis that a ticket is of no use, and what else is pending; return whether it took that."""
        local = self._local_of(name)
        reported = await self._report_release(name, local, ticket, NO_EPOCH, Report("abandoned"), 0.0)
        if self.on_free is not None:
            self.on_free()
        return reported is not None

    async def _report_release(
        self, name: str, local: Gate, ticket: str, epoch: int, report: Report, jitter: float
    ) -> Pause | None:
        """Tell Redis that a turn is over; return the pause that there is then, None if it could not be told."""
        if self._shared is None:
            return None
        reported, pauses = NOTHING_REPORTED, 0  # of a token of before, nothing counts
        if local is self._local:
            reported, pauses = self._pending_state.report(local, self._clock(), self.allowance)
        allowance = self._of_agreeing(self.allowance)
        pause = await self._shared.release(name, ticket, epoch, report, jitter, allowance, reported=reported)
        if pause is None:
            self._pending_state.lost(reported)
        else:
            self._pending_state.delivered(pauses)
            self._mirror(local, pause)
        return pause

    def _mirror(self, local: Gate, pause: Pause | None) -> None:
        """Take over what Redis says of it, unless a pause that it has yet to be told of began while it was asked."""
        if pause is not None and not self._pending_state.has_pause:
            local.mirror(pause, self._clock())
