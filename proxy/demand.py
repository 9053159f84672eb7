"""Which questions callers have asked in the last few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from proxy.question import Question

LATELY: Final = 3.0
"""Seconds after which a question that nobody asks again is in demand no more."""
QUESTIONS: Final = 1000
"""Questions that are remembered: those asked last."""


class Demand:
    """The questions in demand, in the order in which they were asked last.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, tuple[Question, float]] = {}

    def note(self, question: Question) -> None:
        """A caller asks."""
        self._asked.pop(question.key, None)
        self._asked[question.key] = question, self._clock()
        if len(self._asked) > QUESTIONS:
            del self._asked[next(iter(self._asked))]

    def lately(self) -> Iterator[Question]:
        """The questions in demand, the last one first."""
        oldest = self._clock() - LATELY
        for question, at in list(reversed(self._asked.values())):
            if at < oldest:
                return
            yield question

    def has(self, question: Question) -> bool:
        """Whether the question is in demand."""
        found = self._asked.get(question.key)
        return found is not None and found[1] >= self._clock() - LATELY
