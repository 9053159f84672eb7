"""Whether Redis evicts all replicas' gate again and again, as one does that has no room for what it is given.

A gate that was evicted begins anew, with a turn for now, whoever asks. Evicted at each call, it grants one at each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

MIN_GATE_SECONDS: Final = 2.0
"""Seconds for which a gate has to be there, once it was evicted twice within as many."""


class GateEvictions:
    """Notes when gates begin.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._born = 0.0
        self._evicted_at = self._until = -math.inf

    @property
    def frequent(self) -> bool:
        """Whether there were so many that all replicas' gate is not to be gone by."""
        return self._clock() < self._until

    def note(self, born: float) -> None:
        """Take in when the gate began that has answered, by Redis' clock. One that began before others answers late."""
        if 0.0 < self._born < born:
            now = self._clock()
            if now < self._evicted_at + MIN_GATE_SECONDS:
                self._until = now + MIN_GATE_SECONDS
            self._evicted_at = now
        self._born = max(self._born, born)
