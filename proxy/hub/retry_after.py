"""Retry-After (RFC 9110 §10.2.3): a number of seconds or an HTTP date."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from typing import Final

from proxy.hub.dates import date

MAX_WAIT: Final = 3600.0
"""Seconds; a hub that asks for more is asked again after this."""
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?", re.ASCII)


def parse(lines: Sequence[str], now: float) -> float | None:
    """Return the seconds to wait, at most MAX_WAIT, from ``now`` (Unix seconds, by the hub's clock); None: not said.

    More is read than may be sent: fractions of seconds, and the longest of several times, in one line or more.
    """
    waits = [wait for line in lines if (wait := _wait(line.strip(), now)) is not None]
    return max(waits, default=None)


def _wait(line: str, now: float) -> float | None:
    numbers = [number.strip() for number in line.split(",")]
    if all(map(_SECONDS.fullmatch, numbers)):
        return min(max(map(float, numbers)), MAX_WAIT)
    until = date(line)
    return None if until is None else min(max(0.0, until - now), MAX_WAIT)


def jittered() -> float:
    """Seconds to wait where the hub names none: random, so that callers do not return together."""
    return random.uniform(1.0, 3.0)  # noqa: S311  not for cryptography


def header(seconds: float) -> str:
    """The header's value: whole seconds, rounded up, at least 1, at most MAX_WAIT."""
    return str(max(1, math.ceil(min(MAX_WAIT, seconds))))
