"""The gate of one credential for all replicas together, in Redis and by its clock. The rules are those of ``gate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, get_args

from proxy.admission.breaker import FAILURES, WINDOW
from proxy.admission.gate import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_RETRY,
    SLOT_SECONDS,
    Allowance,
    AskerState,
    Cause,
    Pause,
    Refused,
    Report,
    Standing,
    Turn,
)
from proxy.hub.retry_after import MAX_WAIT
from proxy.redis.claims import WantedTurn
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis_keys import gate_keys

GATE_MILLISECONDS: Final = int(2 * MAX_WAIT * 1000)
"""Milliseconds for which Redis keeps a gate that nobody asks: longer than any pause."""
NOTHING_REPORTED: Final = AskerState()
GateAnswer: TypeAlias = tuple[Turn | Refused, Pause | None, float]
"""What a script says of a turn, and of the pause, if it does; and when the gate began, by Redis' clock."""
NO_PATIENCE: Final = -1.0
"""Seconds, the patience of who wants no turn: none begins so soon."""
_GATE_ADMIT: Final = Script("gate_admit", "numbers", "gate_load", "gate")
_GATE_RENEW: Final = Script("gate_renew", "numbers")
_GATE_RELEASE: Final = Script("gate_release", "numbers", "gate_load")
_GATE_READ: Final = Script("gate_read", "numbers")


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
        reported: AskerState,
    ) -> GateAnswer | None:
        """Ask for a turn.

        ``reported``: what this process knows.
        """
        wanted = self.wanted(gate, ticket, allowance, patience=patience, paid=paid, reported=reported)
        return await self._link.run(_GATE_ADMIT, "gate_admit", wanted.keys, wanted.arguments, read_answer)

    def wanted(
        self,
        gate: str,
        ticket: str,
        allowance: Allowance,
        *,
        patience: float,
        paid: int | None = None,
        reported: AskerState = NOTHING_REPORTED,
    ) -> WantedTurn:
        """The same for a script that grants turns beside other things, on a server that is ``whole``."""
        arguments = self._asker(ticket, allowance, reported)
        arguments += [allowance.concurrency, repr(patience), "" if paid is None else paid, repr(PROBE_RETRY)]
        return WantedTurn(ticket, gate, gate_keys(gate), arguments, read_answer)

    @property
    def whole(self) -> bool:
        """Whether one script can see the gate and all pages: they are in different slots of a cluster."""
        return self._link.whole

    @property
    def backing_off(self) -> bool:
        """Whether it is known that Redis cannot be asked just now: nothing is sent."""
        return self._link.backing_off

    async def renew(self, gate: str, ticket: str) -> None:
        """Keep the slot for another while."""
        await self._link.run(
            _GATE_RENEW, "gate_renew", gate_keys(gate)[1:], [ticket, repr(SLOT_SECONDS), GATE_MILLISECONDS]
        )

    async def release(
        self,
        gate: str,
        ticket: str,
        epoch: int,
        report: Report,
        jitter: float,
        allowance: Allowance,
        *,
        reported: AskerState = NOTHING_REPORTED,
    ) -> Pause | None:
        """Say how a turn went; return the pause that this leads to."""
        arguments = self._asker(ticket, allowance, reported)
        arguments += [epoch, report.outcome, "" if report.retry_after is None else repr(report.retry_after)]
        arguments += [repr(jitter), repr(FIRST_PAUSE), repr(LONGEST_PAUSE), repr(WINDOW), FAILURES]
        arguments += [self._link.names.news, f"room {gate}"]
        return await self._link.run(_GATE_RELEASE, "gate_release", gate_keys(gate), arguments, _read_pause)

    async def standing(self, gate: str, allowance: Allowance) -> Standing | None:
        """What is left of the allowance; nothing changes by looking."""
        arguments = [repr(allowance.rate), repr(allowance.burst), self._now, repr(MAX_WAIT), repr(allowance.reach)]
        return await self._link.run(_GATE_READ, "gate_read", gate_keys(gate), arguments, _read_standing)

    def _asker(self, ticket: str, allowance: Allowance, reported: AskerState) -> list[str | int]:
        """Who asks, and what it tells (gate_load.lua)."""
        asker: list[str | int] = [
            ticket,
            repr(allowance.rate),
            repr(allowance.burst),
            repr(SLOT_SECONDS),
            GATE_MILLISECONDS,
            self._now,
        ]
        asker += [repr(MAX_WAIT), repr(allowance.reach)]
        asker += [
            repr(reported.pause.seconds),
            reported.pause.cause,
            reported.pause.strikes,
            int(reported.unreported),
            int(reported.busy),
        ]
        return [*asker, reported.spent, " ".join(reported.held)]

    @property
    def _now(self) -> str:
        return "" if self.now is None else repr(self.now)


def read_answer(answer: Sequence[Any]) -> GateAnswer:
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
