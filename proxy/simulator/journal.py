"""What the simulator was asked, and what it allows to be asked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """Counts and lists the requests to the API.

    Attributes:
        under_way: requests that have come and have not ended.
        most_at_once: the most that were under way at one time.
    """

    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=KEPT)
        self.count = 0
        self.under_way = 0
        self.most_at_once = 0

    @contextmanager
    def noting(self, request: Request) -> Iterator[None]:
        """Note a request while it is under way."""
        self.requests.append(request)
        self.count += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            yield
        finally:
            self.under_way -= 1

    def clear(self) -> None:
        """Begin anew; what is under way still is."""
        self.requests.clear()
        self.count = 0
        self.most_at_once = self.under_way


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
