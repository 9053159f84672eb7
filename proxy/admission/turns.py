"""Turns at the hub: one that is asked for with something else, and one that was granted."""

from __future__ import annotations

from msgspec import Struct

from proxy.admission.gate import Gate, Pause, Refused, Turn
from proxy.redis.bids import WantedTurn


class Early(Struct):
    """A turn that is asked for together with something else.

    Attributes:
        wanted: as scripts are asked for it.
        name: of the gate.
        local: this process' own gate.
        answer: what the script says, when it has been asked.
    """

    ticket: str
    wanted: WantedTurn
    name: str
    local: Gate
    answer: tuple[Turn | Refused, Pause | None] | None = None


class Grant(Struct, frozen=True):
    """A turn that was granted, after ``wait`` seconds, and by which gate.

    Attributes:
        name: of the gate.
        local, epoch: this process' own gate, and that one's epoch.
        shared_epoch: that of all replicas' gate, if it granted the turn.
    """

    ticket: str
    wait: float
    name: str
    local: Gate
    epoch: int
    shared_epoch: int | None = None
