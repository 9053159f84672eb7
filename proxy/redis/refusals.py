"""What Redis refuses though it is there: it is full or read-only, say, or its user lacks a right."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

REMEMBERED: Final = 60.0
"""Seconds for which a call counts as refused that is not made again, and in which the log is told the same once."""
_log: Final = logging.getLogger("proxy.redis")


class Seldom:
    """Finds out what has not been said for a while, so that a fault of each call is not a line for each call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def due(self, line: str) -> bool:
        """Whether this is to be said now."""
        now = self._clock()
        if now < self._said.get(line, -math.inf) + REMEMBERED:
            return False
        self._said = {one: at for one, at in self._said.items() if now < at + REMEMBERED}
        self._said[line] = now
        return True


class Refusals:
    """Which kinds of call were refused when last made; true while there are any.

    Args:
        seldom: what the log has been told.
        clock: seconds, monotonic.
    """

    def __init__(self, seldom: Seldom, clock: Callable[[], float]) -> None:
        self._seldom = seldom
        self._clock = clock
        self._refused: dict[str, float] = {}
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        now = self._clock()
        return any(now < at + REMEMBERED for at in self._refused.values())

    def refused(self, command: str, why: str) -> None:
        """A call of this kind was refused."""
        self._refused[command] = self._clock()
        line = f"{command}: {why}"
        if self._seldom.due(line):
            self._told.add(command)
            _log.warning("Redis refuses %s", line)

    def taken(self, command: str) -> None:
        """A call of this kind was not refused."""
        if self._refused.pop(command, None) is not None and command in self._told:
            self._told.remove(command)  # one that comes and goes is told of as seldom as of the refusal
            _log.info("Redis takes %s again", command)
