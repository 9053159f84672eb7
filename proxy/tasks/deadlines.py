"""What is left of a question's time."""

from __future__ import annotations

import asyncio


def half_left(until: float) -> float:
    """Half of the seconds until a deadline (the loop's time): a question may wait for as long, the hub has the rest."""
    return max(0.0, until - asyncio.get_running_loop().time()) / 2
