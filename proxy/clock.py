"""The time by which is judged what is kept: Unix time that never steps back, the same in all replicas.

When the hub was asked is compared with now, with other answers, and with purges. If that time stepped back, as a
machine's clock does when it is put right, what is kept would be of the future: fresh for as long as the step was, newer
than all that is asked for now, and out of reach of any purge. So this time goes on from the latest that it has been, in
any replica: it is a hybrid logical clock. Only differences of such times mean anything. ``lead`` says what to add to a
time from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MIN_STEP: Final = 1.0
"""Seconds by which the machine's clock has to step to be noticed where nobody had read it for longer than that, so that
it does not seem to have gone back."""
CHECK_INTERVAL: Final = 1.0
"""Seconds after which it is held against the monotonic one again."""
MAX_TIME: Final = 9e9
"""Unix seconds, in 2255, from which a time is none: up to there, Lua's numbers hold microseconds exactly."""


class HybridClock:
    """Time of one process, which others can have go on from theirs.

    Args:
        wall: Unix seconds; may step.
        monotonic: seconds that do not, for the time in which nobody asks.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lead = 0.0
        self._latest = 0.0
        self._go_on(wall(), 0.0)

    def now(self) -> float:
        """Unix seconds, never fewer than before. Asked for each hit: mostly, numbers are compared."""
        now = self._wall() + self._lead
        if not self._latest <= now < self._due:
            return self._settle(now - self._lead)
        self._latest = now
        return now

    def lead(self) -> float:
        """Seconds by which this is ahead of the machine's clock."""
        return self._lead

    def advance_to(self, at: float) -> None:
        """Go on from the time of another process, if that is later."""
        if self.now() < at < MAX_TIME:
            self._go_on(at, at - self._latest + self._lead)

    def _settle(self, wall: float) -> float:
        """The time where the machine's clock may have stepped."""
        expected = self._settled + self._monotonic() - self._settled_at
        now = wall + self._lead
        if now < self._latest or abs(now - expected) >= MIN_STEP:
            now = max(wall, self._latest, expected)
        return self._go_on(now, now - wall)

    def _go_on(self, now: float, lead: float) -> float:
        self._lead = lead
        self._latest = self._settled = now
        self._settled_at = self._monotonic()
        self._due = now + CHECK_INTERVAL
        return now


def no_lead() -> float:
    """That of the machine's clock itself."""
    return 0.0
