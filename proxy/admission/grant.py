"""Who asks for a turn at the hub, and a turn that was granted."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from proxy.admission.gate import Allowance, Gate

MIN_GRACE: Final = 0.1
"""Seconds after its time for which a turn is good at the least: so late it may be for want of processor alone."""


class Asker(Struct):
    """Who asks for a turn, by the same ticket until there is one, so that what was granted before is not paid twice.

    Attributes:
        lost: the gate in Redis that may have granted it one in an answer that was lost; "": there is none.
    """

    ticket: str
    lost: str = ""


class Grant(Struct, frozen=True):
    """A turn that was granted, after ``wait`` seconds, and by which gate.

    Attributes:
        due: when that is, in seconds of this process' clock.
        name: of the gate.
        local, epoch: this process' own gate, and that one's epoch.
        shared_epoch: that of all replicas' gate, if it granted the turn.
    """

    ticket: str
    wait: float
    due: float
    name: str
    local: Gate
    epoch: int
    shared_epoch: int | None = None

    def is_valid(self, now: float, allowance: Allowance) -> bool:
        """Whether it may still begin. What was not used in its time is kept for a burst, and no more than that.

        Else turns would pile up while the hub is so slow that there are no slots, or while this process is stopped, and
        all of them would begin at once thereafter.
        """
        return now <= self.due + max(allowance.burst / allowance.rate, MIN_GRACE)
