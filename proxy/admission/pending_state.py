"""What a process' own gate has yet to report to Redis: it was learned while Redis could not be told."""

from __future__ import annotations

from proxy.admission.gate import Allowance, AskerState, Gate


class PendingState:
    """Counts it, as calls to Redis overlap: an answer says only that what went with that call is delivered.

    Attributes:
        turns: how many were had without Redis.
    """

    def __init__(self) -> None:
        self._pauses = self._delivered = 0
        self.turns = 0

    @property
    def has_pause(self) -> bool:
        """Whether that is a pause, among other things."""
        return self._delivered != self._pauses

    def note_pause(self) -> None:
        """One began, or became longer."""
        self._pauses += 1

    def forget(self) -> None:
        """It was of another gate."""
        self._delivered, self.turns = self._pauses, 0

    def report(self, gate: Gate, now: float, allowance: Allowance) -> tuple[AskerState, int]:
        """What to report of the gate, and what ``delivered`` or ``lost`` is given then. Turns are reported once."""
        turns, self.turns = self.turns, 0
        return gate.asker_state(now, allowance, unreported=self.has_pause, spent=turns), self._pauses

    def delivered(self, pauses: int) -> None:
        """Redis has answered."""
        self._delivered = max(self._delivered, pauses)

    def lost(self, reported: AskerState) -> None:
        """Redis has not answered."""
        self.turns += reported.spent
