"""The gate of one credential for all replicas together, in Redis and by its clock. The rules are those of ``gate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, get_args

from proxy.admission.breaker import FAILURES, WINDOW
from proxy.admission.gate import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBING,
    SLOT,
    Allowance,
    Cause,
    Pause,
    Refused,
    Report,
    Standing,
    Told,
    Turn,
)
from proxy.hub.retry_after import LONGEST
from proxy.redis.claims import WantedTurn
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis_keys import gate_keys

KEPT: Final = int(2 * LONGEST * 1000)
"""Milliseconds for which Redis keeps a gate that nobody asks: longer than any pause."""
NOTHING: Final = Told()
Answer: TypeAlias = tuple[Turn | Refused, Pause | None, float]
"""What a script says of a turn, and of the pause, if it does; and when the gate began, by Redis' clock."""
LOOK: Final = -1.0
"""Seconds, the patience of who wants no turn: none begins so soon."""
_ADMIT: Final = Script("gate_admit", "numbers", "gate_load", "gate")
_STAY: Final = Script("gate_renew", "numbers")
_LEAVE: Final = Script("gate_release", "numbers", "gate_load")
_STANDING: Final = Script("gate_read", "numbers")


class SharedGate:
    """Asks Redis; None in place of a result: Redis could not be asked.

    Args:
        now: seconds in place of Redis' own clock, for tests.
    """

    def __init__(self, link: RedisLink, *, now: float | None = None) -> None:
        self._link = link
        self.now = now

    async def admit(
        self,
        gate: str,
        ticket: str,
        allowance: Allowance,
        *,
        patience: float,
        paid: int | None,
        told: Told,
    ) -> Answer | None:
        """Ask for a turn.

        ``told``: what this process knows.
        """
        wanted = self.wanted(gate, ticket, allowance, patience=patience, paid=paid, told=told)
        return await self._link.run(_ADMIT, "gate_admit", wanted.keys, wanted.arguments, read_answer)

    def wanted(
        self,
        gate: str,
        ticket: str,
        allowance: Allowance,
        *,
        patience: float,
        paid: int | None = None,
        told: Told = NOTHING,
    ) -> WantedTurn:
        """The same for a script that grants turns beside other things, on a server that is ``whole``."""
        arguments = self._asker(ticket, allowance, told)
        arguments += [allowance.concurrency, repr(patience), "" if paid is None else paid, repr(PROBING)]
        return WantedTurn(ticket, gate, gate_keys(gate), arguments, read_answer)

    @property
    def whole(self) -> bool:
        """Whether one script can see the gate and all pages: they are in different slots of a cluster."""
        return self._link.whole

    @property
    def resting(self) -> bool:
        """Whether it is known that Redis cannot be asked just now: nothing is sent."""
        return self._link.resting

    async def stay(self, gate: str, ticket: str) -> None:
        """Keep the slot for another while."""
        await self._link.run(_STAY, "gate_renew", gate_keys(gate)[1:], [ticket, repr(SLOT), KEPT])

    async def leave(
        self,
        gate: str,
        ticket: str,
        epoch: int,
        report: Report,
        jitter: float,
        allowance: Allowance,
        *,
        told: Told = NOTHING,
    ) -> Pause | None:
        """Say how a turn went; return the pause that this leads to."""
        arguments = self._asker(ticket, allowance, told)
        arguments += [epoch, report.outcome, "" if report.retry_after is None else repr(report.retry_after)]
        arguments += [repr(jitter), repr(FIRST_PAUSE), repr(LONGEST_PAUSE), repr(WINDOW), FAILURES]
        arguments += [self._link.names.news, f"room {gate}"]
        return await self._link.run(_LEAVE, "gate_release", gate_keys(gate), arguments, _read_pause)

    async def standing(self, gate: str, allowance: Allowance) -> Standing | None:
        """What is left of the allowance; nothing changes by looking."""
        arguments = [repr(allowance.rate), repr(allowance.burst), self._now, repr(LONGEST), repr(allowance.reach)]
        return await self._link.run(_STANDING, "gate_read", gate_keys(gate), arguments, _read_standing)

    def _asker(self, ticket: str, allowance: Allowance, told: Told) -> list[str | int]:
        """Who asks, and what it tells (gate_load.lua)."""
        asker: list[str | int] = [ticket, repr(allowance.rate), repr(allowance.burst), repr(SLOT), KEPT, self._now]
        asker += [repr(LONGEST), repr(allowance.reach)]
        asker += [repr(told.pause.seconds), told.pause.cause, told.pause.strikes, int(told.untold), int(told.busy)]
        return [*asker, told.spent, " ".join(told.held)]

    @property
    def _now(self) -> str:
        return "" if self.now is None else repr(self.now)


def read_answer(answer: Sequence[Any]) -> Answer:
    """Read what a script says of a turn.

    Raises:
        TypeError, ValueError, LookupError, AttributeError: nothing that it says.
    """
    what, wait, epoch, strikes = answer[0].decode(), float(answer[1]), int(answer[2]), int(answer[3])
    if not 0 <= wait < math.inf:
        raise ValueError("no time")
    born = float(answer[5])
    if what == "turn":
        return Turn(wait, epoch), Pause(0.0, "failing", strikes), born
    if what in ("rate", "concurrency"):
        return Refused(what, wait), None, born
    pause = _read_pause([answer[4], answer[0], strikes])
    return Refused(pause.cause, wait), pause, born  # the wait for a probe that is under way is no pause


def _read_pause(answer: Sequence[Any]) -> Pause:
    cause = answer[1].decode()
    if cause not in get_args(Cause):
        raise ValueError("no cause")
    return Pause(float(answer[0]), cause, int(answer[2]))


def _read_standing(answer: Sequence[Any]) -> Standing:
    return Standing(float(answer[0]), int(answer[1]), _read_pause(answer[2:]))
