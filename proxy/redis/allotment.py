"""What Redis may cost one question, however many calls that makes.

A miss calls Redis two or three times, one after the other. An intermittently slow Redis could cost it nearly the
timeout of each of them, without any being a fault. So a slow call shortens the time of those that come after it; a
quick one does not, as most of what it takes may be this process' own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

MIN_SHARE: Final = 0.25
"""The part of its time that a call has at the least: what a Redis that is well answers in, also on a busy machine."""


class Allotment:
    """The seconds that slow calls have taken of a question's time."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._over = False

    def left(self, timeout: float) -> float:
        """What a call may take that may take ``timeout`` seconds by itself."""
        return timeout if self._over else max(MIN_SHARE * timeout, timeout - self._spent)

    def charge(self, seconds: float) -> None:
        """A call was slow."""
        self._spent += seconds

    def end(self) -> None:
        """Nobody waits any more: what goes on has its full time."""
        self._over = True


_current: ContextVar[Allotment | None] = ContextVar("allotment", default=None)


@contextlib.contextmanager
def allotted() -> Iterator[None]:
    """Let all calls of the block share the time of one, those of tasks too that are begun in it, until it ends."""
    allotment = Allotment()
    token = _current.set(allotment)
    try:
        yield
    finally:
        _current.reset(token)
        allotment.end()


def unallotted() -> None:
    """Let a task that a question began have nothing to do with it: it works for others too."""
    _current.set(None)


def current_allotment() -> Allotment:
    """That of the question that is being answered; a new one, where it is none."""
    return _current.get() or Allotment()
