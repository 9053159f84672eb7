"""How many processes share what all of them together may do: as many as subscribe to news. Pure.

One that does not subscribe any more may have ended, or be cut off from Redis, and then goes on with its share alone. So
its share is left to it, unless it said that it ends.
"""

from __future__ import annotations

from typing import Final

ABSENCE: Final = 60.0
"""Seconds after which one that is missing, and did not say that it ends, is taken to have ended all the same."""


class Census:
    """Counts processes.

    Attributes:
        all: of which it is not known that they have ended; 0 before the first count.
        present: that subscribe.
    """

    def __init__(self) -> None:
        self.all = self.present = 0
        self._missing_since: float | None = None

    def count(self, present: int, now: float) -> None:
        """So many subscribe at ``now`` (seconds, monotonic), this one among them."""
        self.present = present
        if present >= self.all:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        if self._missing_since is None or now - self._missing_since > ABSENCE:
            self.all, self._missing_since = present, None

    def interrupt(self) -> None:
        """This one is cut off: nobody knows who else is. Its own absence says nothing of how long the others' lasts."""
        self.present, self._missing_since = min(1, self.present), None

    def leave(self) -> None:
        """One that subscribed has said that it ends."""
        self.all = max(1, self.all - 1)
