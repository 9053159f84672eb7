"""A turn at the hub that was granted."""

from __future__ import annotations

from msgspec import Struct

from proxy.admission.gate import Gate


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
