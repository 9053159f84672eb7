"""How much a caller may still ask: a bucket of units that fills again. Pure; ``lua/quota_take.lua`` has the same."""

from __future__ import annotations

from msgspec import Struct


class Terms(Struct, frozen=True):
    """``rate`` units a second on average, ``burst`` at once."""

    rate: float
    burst: float

    def share(self, replicas: int) -> Terms:
        """What one of so many processes may grant, when they cannot agree."""
        part = max(1, replicas)
        return Terms(self.rate / part, max(1.0, self.burst / part))


class Taken(Struct, frozen=True):
    """Units ``granted`` (0: none), units ``left``, seconds to ``wait`` for as many as were needed."""

    granted: float
    left: float
    wait: float = 0.0


def take_units(full_at: float, now: float, terms: Terms, wanted: float, least: float) -> tuple[float, Taken]:
    """Take ``wanted`` units, fewer if there are not as many, none if there are not ``least``.

    ``full_at``: the time at which the bucket is full again; the new one comes with what was taken.
    """
    full_at = min(max(full_at, now), now + terms.burst / terms.rate)
    left = terms.burst - (full_at - now) * terms.rate
    if left < least:
        return full_at, Taken(0.0, left, (least - left) / terms.rate)
    granted = min(wanted, left)
    return full_at + granted / terms.rate, Taken(granted, left - granted)
