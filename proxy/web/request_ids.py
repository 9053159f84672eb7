"""Ids of requests: random, and so cheap that a hit does not notice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

LENGTH: Final = 24
"""Hex digits of an id: 96 random bits."""
_AT_ONCE: Final = 256


def request_ids() -> Iterator[str]:
    """Ids for ever. They are drawn many at a time: to ask the system for each would take longer than a look-up."""
    while True:
        digits = secrets.token_hex(LENGTH // 2 * _AT_ONCE)
        yield from (digits[start : start + LENGTH] for start in range(0, len(digits), LENGTH))
