"""When the breaker opens: failures of late, against all that was asked. Pure."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 10.0
"""Seconds over which failures are counted, in two halves of which the older is forgotten at once."""
FAILURES: Final = 5
"""Failures in the window from which on the breaker opens, if they are at least half of all requests."""


class Breaker:
    """Counts answers and failures. Times in seconds of any one clock."""

    def __init__(self) -> None:
        self._began_at = 0.0
        self._counts = self._before = (0, 0)

    def count(self, now: float, *, failed: bool) -> None:
        """A request has ended."""
        passed = now - self._began_at
        if not 0 <= passed < WINDOW / 2:
            self._before = self._counts if 0 <= passed < WINDOW else (0, 0)
            self._counts, self._began_at = (0, 0), now
        self._counts = (self._counts[0] + (not failed), self._counts[1] + failed)

    @property
    def opens(self) -> bool:
        """Whether there are too many failures."""
        answered, failed = (now + before for now, before in zip(self._counts, self._before, strict=True))
        return failed >= FAILURES and failed >= answered

    def clear(self) -> None:
        """It has opened: what was counted has had its effect."""
        self._counts = self._before = (0, 0)
