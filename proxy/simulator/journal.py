"""What the simulator was asked, and what it allows to be asked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

KEPT: Final = 20_000
"""Requests that are listed; all are counted."""


class Request(Struct, frozen=True):
    """A request to the hub's API, with the names and values of its headers but for the token."""

    at: float
    method: str
    path: str
    query: str
    headers: dict[str, str]
    authorized: bool


class Journal:
    """Counts and lists the requests to the API."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, request: Request) -> None:
        """Note a request."""
        self.requests.append(request)
        self.count += 1

    def clear(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self.count = 0


class Budget:
    """A real rate limit: a token bucket of ``burst``, filled at ``rate`` a second. None: no limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.set(None, 1)

    def set(self, rate: float | None, burst: float) -> None:
        """Begin anew with a full bucket."""
        self._rate, self._burst = rate, burst
        self._tokens, self._filled_at = burst, self._clock()

    def take(self) -> bool:
        """Whether one more request is within the limit."""
        if self._rate is None:
            return True
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
