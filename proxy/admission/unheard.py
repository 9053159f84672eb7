"""What a process' own gate knows and Redis has yet to hear of: it was learned while Redis could not be told."""

from __future__ import annotations

from proxy.admission.gate import Allowance, Gate, Told


class Unheard:
    """Counts it, as calls to Redis overlap: an answer says only that what it was told of has been heard.

    Attributes:
        turns: how many were had without Redis.
    """

    def __init__(self) -> None:
        self._pauses = self._heard = 0
        self.turns = 0

    @property
    def of_pause(self) -> bool:
        """Whether that is a pause, among other things."""
        return self._heard != self._pauses

    def note_pause(self) -> None:
        """One began, or became longer."""
        self._pauses += 1

    def forget(self) -> None:
        """It was of another gate."""
        self._heard, self.turns = self._pauses, 0

    def tell(self, gate: Gate, now: float, allowance: Allowance) -> tuple[Told, int]:
        """What to tell of the gate, and what ``heard`` or ``lost`` is to know then. Turns are told once."""
        turns, self.turns = self.turns, 0
        return gate.told(now, allowance, untold=self.of_pause, spent=turns), self._pauses

    def heard(self, pauses: int) -> None:
        """Redis has answered."""
        self._heard = max(self._heard, pauses)

    def lost(self, told: Told) -> None:
        """Redis has not answered."""
        self.turns += told.spent
