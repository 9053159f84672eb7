"""The gate of one credential for all replicas together, in Redis and by its clock. The rules are those of ``gate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, get_args

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
_ADMIT: Final = Script("admit", "suspicion", "recall", "gate")
_STAY: Final = Script("stay", "suspicion")
_LEAVE: Final = Script("leave", "suspicion", "recall")
_STANDING: Final = Script("standing", "suspicion")


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
    ) -> tuple[Turn | Refused, Pause | None] | None:
        """Ask for a turn; what it says of the pause, if it does, comes with it.

        ``told``: what this process knows.
        """
        wanted = self.wanted(gate, ticket, allowance, patience=patience, paid=paid, told=told)
        return await self._link.run(_ADMIT, "admit", wanted.keys, wanted.arguments, read_answer)

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
        return WantedTurn(
            ticket,
            gate,
            gate_keys(gate),
            [
                *self._asker(ticket, allowance, told),
                *(allowance.concurrency, repr(patience), "" if paid is None else paid, repr(PROBING)),
            ],
            read_answer,
        )

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
        await self._link.run(_STAY, "stay", gate_keys(gate)[1:], [ticket, repr(SLOT), KEPT])

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
        arguments: list[Any] = [
            *self._asker(ticket, allowance, told),
            *(epoch, report.outcome, "" if report.retry_after is None else repr(report.retry_after)),
            *(repr(jitter), repr(FIRST_PAUSE), repr(LONGEST_PAUSE), repr(WINDOW), FAILURES),
            *(self._link.names.news, f"room {gate}"),
        ]
        return await self._link.run(_LEAVE, "leave", gate_keys(gate), arguments, _read_pause)

    async def standing(self, gate: str, allowance: Allowance) -> Standing | None:
        """What is left of the allowance; nothing changes by looking."""
        arguments: list[Any] = [
            *(repr(allowance.rate), repr(allowance.burst), self._now, repr(LONGEST), repr(allowance.reach)),
        ]
        return await self._link.run(_STANDING, "standing", gate_keys(gate), arguments, _read_standing)

    def _asker(self, ticket: str, allowance: Allowance, told: Told) -> list[str | int]:
        """Who asks, and what it tells (recall.lua)."""
        return [
            *(ticket, repr(allowance.rate), repr(allowance.burst), repr(SLOT), KEPT, self._now),
            *(repr(LONGEST), repr(allowance.reach)),
            *(repr(told.pause.seconds), told.pause.cause, told.pause.strikes, int(told.untold), int(told.busy)),
            *(told.spent, " ".join(told.held)),
        ]

    @property
    def _now(self) -> str:
        return "" if self.now is None else repr(self.now)


def read_answer(answer: Sequence[Any]) -> tuple[Turn | Refused, Pause | None]:
    """What a script says of a turn, and of the pause.

    Raises:
        TypeError, ValueError, LookupError, AttributeError: nothing that it says.
    """
    what, wait, epoch, strikes = answer[0].decode(), float(answer[1]), int(answer[2]), int(answer[3])
    if not 0 <= wait < math.inf:
        raise ValueError("no time")
    if what == "turn":
        return Turn(wait, epoch), Pause(0.0, "failing", strikes)
    if what in ("rate", "concurrency"):
        return Refused(what, wait), None
    pause = _read_pause([answer[4], answer[0], strikes])
    return Refused(pause.cause, wait), pause  # the wait for a probe that is under way is no pause


def _read_pause(answer: Sequence[Any]) -> Pause:
    cause = answer[1].decode()
    if cause not in get_args(Cause):
        raise ValueError("no cause")
    return Pause(float(answer[0]), cause, int(answer[2]))


def _read_standing(answer: Sequence[Any]) -> Standing:
    return Standing(float(answer[0]), int(answer[1]), _read_pause(answer[2:]))
