"""Who may ask the hub now: rate, burst, concurrency, cooldown and breaker of one credential. Pure.

A gate is asked for a *turn* before each hub request and told afterwards how it went. ``redis/lua`` has the same rules
for all replicas together, and a test holds the two against each other.

- Rate and burst are the generic cell rate algorithm: a turn may be granted for a later time, which the asker waits
  for; so turns come in the order in which they were asked for, and the waiting time is known. It is paid for when it
  is granted, so it is void where that has been forgotten: after a pause, or at another gate than it was granted by.
  Nor may it be used long after its time (``grant``).
- A slot is held while a request is under way, and expires unless it is renewed: its holder may have died.
- A *pause* follows a 429 or 503 of the hub (a cooldown), a refused token, or too many failures (the breaker). When it
  is over, one probe is let through. An answer ends the pause; anything else makes the next one longer.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, cast

from msgspec import Struct

from proxy.admission.breaker import Breaker
from proxy.hub.retry_after import MAX_WAIT

SLOT_SECONDS: Final = 2.0
"""Seconds for which a slot is held without being renewed."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds of a pause where the hub names no time, or too short a one again and again: doubled from the first on."""
PROBE_RETRY: Final = 1.0
"""Seconds after which those make sense again who are turned away while a probe is under way."""

Cause: TypeAlias = Literal["limited", "unavailable", "refused", "failing"]
"""Why there is a pause: a 429, a 503 with Retry-After, a 401, or failures."""


class Allowance(Struct, frozen=True):
    """What the hub may be asked: ``rate`` a second on average, ``burst`` at once, ``concurrency`` under way.

    ``reach``: seconds ahead for which anybody has turns granted, at the most.
    """

    rate: float
    burst: float
    concurrency: int
    reach: float = MAX_WAIT

    def share(self, replicas: int, agreeing: int = 1) -> Allowance:
        """What one of so many processes may that cannot agree, or what those may together that can."""
        part, of = min(agreeing, replicas), max(1, replicas)
        rate, burst, concurrency = self.rate * part / of, self.burst * part / of, self.concurrency * part // of
        # Others may have been charged at the rate of one alone, which is not to look like a clock that is wrong.
        return Allowance(rate, max(1.0, burst), max(1, concurrency), self.reach + of / self.rate)

    def ahead(self) -> Allowance:
        """What those may who ask though nobody waits: half is left to callers."""
        return Allowance(self.rate, max(1.0, self.burst / 2), max(1, self.concurrency // 2), self.reach)


class Turn(Struct, frozen=True):
    """The hub may be asked, after ``wait`` seconds. Only a turn without waiting holds a slot.

    ``epoch``: in which it was granted, so that what ends late is not counted twice, and nothing that is void is used.
    """

    wait: float
    epoch: int


class Refused(Struct, frozen=True):
    """The hub may not be asked. ``wait``: seconds after which it might be; 0 if that is not known."""

    reason: Cause | Literal["rate", "concurrency"]
    wait: float


class Pause(Struct, frozen=True):
    """The hub is left alone for ``seconds`` more; 0: there is no pause, or it is time for a probe."""

    seconds: float = 0.0
    cause: Cause = "failing"
    strikes: int = 0


class AskerState(Struct, frozen=True):
    """What an asker reports of a gate, as others may not know it, or have forgotten.

    ``unreported``: they may not know of the pause. ``busy``: turns were had of late, so that the burst may be used up.
    ``spent``: turns that were had without them. ``held``: the tickets of those that are under way.
    """

    pause: Pause = Pause()
    unreported: bool = False
    busy: bool = False
    spent: int = 0
    held: tuple[str, ...] = ()


class Standing(Struct, frozen=True):
    """What is left of an allowance: turns that may begin at once, slots that are held, and the pause."""

    turns: float
    held: int
    pause: Pause


class Report(Struct, frozen=True):
    """How a turn went. ``abandoned``: it was not used, or nobody knows.

    ``retry_after`` belongs to ``limited`` and ``unavailable``: seconds, None if the hub named none.
    """

    outcome: Cause | Literal["answered", "abandoned"]
    retry_after: float | None = None


class Gate:
    """The state of one credential's requests, from ``now`` on. Times in seconds of any one clock.

    Attributes:
        epoch: another after each pause, and at each gate.
    """

    def __init__(self, now: float) -> None:
        self._next_at = 0.0
        self._renewed_at = -math.inf
        self._slots: dict[str, float] = {}
        self._until = 0.0
        self._cause: Cause = "failing"
        self._strikes = 0
        self.epoch = 1 + math.floor(now * 1000) % 2**30
        self._probe = ""
        self._breaker = Breaker()

    def admit(
        self, ticket: str, now: float, allowance: Allowance, *, patience: float, paid: int | None = None
    ) -> Turn | Refused:
        """Grant a turn that begins within ``patience`` seconds, or say why not.

        ``paid``: the epoch in which this ticket was granted a turn for now. What holds a slot has paid too: it asks
        once more as the answer was lost.
        """
        self._until, self._next_at = self._pause_ends(now), self._next_turn(now, allowance)
        if now < self._until:
            return Refused(self._cause, self._until - now)
        self._slots = {holder: min(end, now + SLOT_SECONDS) for holder, end in self._slots.items() if end > now}
        if self._strikes and self._probe != ticket and self._probe in self._slots:
            return Refused(self._cause, PROBE_RETRY)
        held = ticket in self._slots
        if not held and len(self._slots) >= allowance.concurrency:
            return Refused("concurrency", 0.0)
        has_paid = held or paid == self.epoch
        wait = 0.0 if has_paid else max(0.0, self._next_at - (allowance.burst - 1) / allowance.rate - now)
        if wait > patience:
            return Refused("rate", wait)
        if not has_paid:
            self._next_at = max(self._next_at, now) + 1 / allowance.rate
        if wait == 0:
            self._slots[ticket] = now + SLOT_SECONDS
            if self._strikes:
                self._probe = ticket
        return Turn(wait, self.epoch)

    def renew(self, ticket: str, now: float) -> None:
        """The request is still under way."""
        self._slots[ticket] = now + SLOT_SECONDS
        self._renewed_at = now

    def free(self, ticket: str) -> None:
        """The request is over."""
        self._slots.pop(ticket, None)

    def release(
        self, ticket: str, now: float, epoch: int, report: Report, jitter: float, allowance: Allowance
    ) -> Pause:
        """Take in how a turn went; return the pause that this leads to. ``jitter``: random, from 0 to 1."""
        self._until, self._next_at = self._pause_ends(now), self._next_turn(now, allowance)
        self.free(ticket)
        refused_by_hub = report.outcome in ("limited", "unavailable", "refused")
        named = report.retry_after if refused_by_hub else None
        # It was under way when a pause began, and is no further strike; where that has ended, a named time begins one.
        if epoch != self.epoch and (self._strikes or named is None):
            if named is not None:
                self._until = max(self._until, now + named)
        elif refused_by_hub or report.outcome == "failing":
            if report.outcome == "failing" and not self._strikes:
                self._breaker.count(now, failed=True)
            if refused_by_hub or self._strikes or self._breaker.opens:
                self._begin_pause(now, report, jitter, allowance)
        elif report.outcome == "answered":
            self._breaker.count(now, failed=False)
            self._strikes = 0
        return self.pause(now)

    def pause(self, now: float) -> Pause:
        """What is left of the pause."""
        return Pause(max(0.0, self._pause_ends(now) - now), self._cause, self._strikes)

    def asker_state(self, now: float, allowance: Allowance, *, unreported: bool, spent: int = 0) -> AskerState:
        """What to report of it. A pause that is over may have been ended by others since."""
        pause = self.pause(now)
        busy = now - self._renewed_at < allowance.burst / allowance.rate
        held = tuple(ticket for ticket, end in self._slots.items() if end > now)
        return AskerState(pause if unreported or pause.seconds else Pause(), unreported, busy, spent, held)

    def standing(self, now: float, allowance: Allowance) -> Standing:
        """What is left; nothing changes by looking."""
        turns = max(0.0, allowance.burst - max(0.0, self._next_turn(now, allowance) - now) * allowance.rate)
        return Standing(turns, sum(end > now for end in self._slots.values()), self.pause(now))

    def mirror(self, pause: Pause, now: float) -> None:
        """Take over what others know of a pause: it has ended, there is another, or it has become longer."""
        until, another = now + min(MAX_WAIT, pause.seconds), self._strikes != pause.strikes
        if pause.strikes == 0:
            self._until, self._strikes = 0.0, 0
        elif another or until > max(now, self._until):
            self._until, self._cause, self._strikes = until, pause.cause, pause.strikes
            self.epoch += another  # of the same one a probe may be under way: if it fails, that is a strike

    def spend_burst(self, now: float, allowance: Allowance) -> None:
        """Begin with one turn and without a burst: it may just have been used elsewhere."""
        self._next_at = max(self._next_at, now + (allowance.burst - 1) / allowance.rate)

    def _pause_ends(self, now: float) -> float:
        return self._until if self._until <= now + MAX_WAIT else 0.0

    def _next_turn(self, now: float, allowance: Allowance) -> float:
        """When the next turn would be, of a burst of one; those who leave half of the burst to others may ask."""
        rate, burst = allowance.rate, allowance.burst
        possible = self._next_at <= now + 2 * burst / rate + allowance.reach
        return self._next_at if possible else now + (burst - 1) / rate

    def _begin_pause(self, now: float, report: Report, jitter: float, allowance: Allowance) -> None:
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._strikes, 10)) * (0.5 + jitter / 2)
        if report.retry_after is None:
            wait = backoff
        else:
            wait = max(report.retry_after, backoff) if self._strikes else report.retry_after
        self._until = now + wait
        self._cause = cast("Cause", report.outcome)
        self._strikes += 1
        self.epoch += 1
        self._probe = ""
        self._next_at = min(self._next_at, now + allowance.burst / allowance.rate)  # turns for later are void now
        self._breaker.clear()
