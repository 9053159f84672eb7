"""Who asks for a turn at the hub, and a turn that was granted."""

from __future__ import annotations

from msgspec import Struct

from proxy.admission.gate import Gate


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
