"""A gate that is asked as a shield asks it, and the same steps at a gate in Redis."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from proxy.admission.gate import Allowance, AskerState, Gate, Pause, Refused, Report, Turn
from proxy.admission.shared_gate import SharedGate

ALLOWANCE = Allowance(rate=10.0, burst=4, concurrency=3)
AMPLE = Allowance(1000.0, 1000, 1000)
ANSWERED, FAILING, ABANDONED = Report("answered"), Report("failing"), Report("abandoned")
T0 = 1_000_000.0


class Asking:
    """Asks a gate as a shield does."""

    def __init__(self, allowance: Allowance = ALLOWANCE) -> None:
        self.gate, self.allowance, self.now = Gate(T0), allowance, T0
        self.tickets = (f"t{number}" for number in itertools.count())

    def ask(self, patience: float = 0.0, **named: Any) -> tuple[str, Turn | Refused]:
        ticket = next(self.tickets)
        return ticket, self.gate.admit(ticket, self.now, self.allowance, patience=patience, **named)

    def go(self, report: Report = ANSWERED, jitter: float = 1.0) -> Pause:
        """A turn from its beginning to its end, which takes no time."""
        ticket, turn = self.ask()
        assert isinstance(turn, Turn), turn
        return self.gate.release(ticket, self.now, turn.epoch, report, jitter, self.allowance)

    def refusal(self, patience: float = 0.0) -> Refused:
        _, refused = self.ask(patience)
        assert isinstance(refused, Refused)
        return refused


async def both_ways(shared: SharedGate, name: str, allowance: Allowance, todo: list[tuple[str, Any]]) -> None:
    """Both do and say the same at each step: what happens, with seconds or what is reported."""
    gate, now, under_way = Gate(T0), T0, list[tuple[str, int]]()
    # In Redis a gate begins with the first who asks.
    begun = itertools.dropwhile(lambda step: step[0] in ("pass", "leave"), todo)
    for number, (what, value) in enumerate(begun):
        shared.now = now
        match what:
            case "pass":
                now += value
            case "ask" | "ahead" | "again":
                ticket = under_way[-1][0] if what == "again" and under_way else f"t{number}"
                asked = allowance.ahead() if what == "ahead" else allowance
                here = gate.admit(ticket, now, asked, patience=value)
                answer = await shared.admit(name, ticket, asked, patience=value, paid=None, reported=AskerState())
                assert answer is not None
                assert answer[0] == here
                if isinstance(here, Turn):
                    under_way.append((ticket, here.epoch))
            case "leave" if under_way:
                ticket, epoch = under_way.pop(0)
                jitter = (number % 10) / 10
                here_pause = gate.release(ticket, now, epoch, value, jitter, allowance)
                assert await shared.release(name, ticket, epoch, value, jitter, allowance) == here_pause
        shared.now = now
        standing = await shared.standing(name, allowance)
        assert standing is not None
        here_standing = gate.standing(now, allowance)
        assert (standing.held, standing.pause) == (here_standing.held, here_standing.pause)
        assert standing.turns == pytest.approx(here_standing.turns)
