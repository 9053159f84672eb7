"""What Redis refuses though it is there: it is full or read-only, say, or its user lacks a right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proxy.log_throttle import LogThrottle

REFUSAL_SECONDS: Final = 60.0
"""Seconds for which a call counts as refused that is not made again."""
_log: Final = logging.getLogger("proxy.redis")


class Refusals:
    """Which kinds of call were refused when last made; true while there are any.

    Args:
        throttle: what the log has been told.
        clock: seconds, monotonic.
    """

    def __init__(self, throttle: LogThrottle, clock: Callable[[], float]) -> None:
        self._throttle = throttle
        self._clock = clock
        self._refused: dict[str, float] = {}
        self._logged: set[str] = set()

    def __bool__(self) -> bool:
        now = self._clock()
        return any(now < at + REFUSAL_SECONDS for at in self._refused.values())

    def refused(self, command: str, why: str) -> None:
        """A call of this kind was refused."""
        self._refused[command] = self._clock()
        line = f"{command}: {why}"
        if self._throttle.due(line):
            self._logged.add(command)
            _log.warning("Redis refuses %s", line)

    def taken(self, command: str) -> None:
        """A call of this kind was not refused."""
        if self._refused.pop(command, None) is not None and command in self._logged:
            self._logged.remove(command)  # one that comes and goes is told of as seldom as of the refusal
            _log.info("Redis takes %s again", command)
