"""A log that is not told the same again and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

INTERVAL: Final = 60.0
"""Seconds in which the log is told the same once."""


class LogThrottle:
    """Finds out what has not been said for a while, so that a fault of each call is not a line for each call.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def due(self, line: str) -> bool:
        """Whether this is to be said now."""
        now = self._clock()
        if now < self._said.get(line, -math.inf) + INTERVAL:
            return False
        self._said = {one: at for one, at in self._said.items() if now < at + INTERVAL}
        self._said[line] = now
        return True
