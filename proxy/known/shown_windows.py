"""Which places of a listing answers have shown, and when: what was shown later is not to be shown as it was before.

Of listings whose rows are known, they say so themselves. These are for what is not composed of rows, and for what Redis
has older rows of than callers have been shown, as it was away when those came.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from proxy.answer.page import Page
from proxy.answer.record import TIME_PRECISION
from proxy.questions.question import Question

MOST_WINDOWS: Final = 32
"""Places of a listing that are remembered: those that were shown last."""


class _Window(Struct, frozen=True, gc=False):
    """The places from ``start`` on, before ``stop``, as an answer had them that was asked for ``asked_at``."""

    start: int
    stop: int
    asked_at: float


class ShownWindows:
    """Those that this process has shown.

    Args:
        most_listings: that are remembered, those that were shown last.
    """

    def __init__(self, most_listings: int) -> None:
        self._most_listings = most_listings
        self._shown: OrderedDict[str, tuple[_Window, ...]] = OrderedDict()  # of which a full collection sees nothing

    def note(self, question: Question, asked_at: float) -> None:
        """The hub's answer to the question, asked for ``asked_at`` (Unix seconds), is shown."""
        if question.kind != "page":
            return
        start, stop = _places(question)
        before = self._shown.pop(question.listing, ())
        others = [one for one in before if not (start <= one.start and one.stop <= stop and one.asked_at <= asked_at)]
        self._shown[question.listing] = (*others[1 - MOST_WINDOWS :], _Window(start, stop, asked_at))
        if len(self._shown) > self._most_listings:
            self._shown.popitem(last=False)

    def overtake(self, question: Question, page: Page) -> bool:
        """Whether places of this live page have been shown as they were later, and so may be others by now."""
        if page.settled or question.kind != "page":
            return False
        start, stop = _places(question)
        since = page.asked_at + TIME_PRECISION
        return any(
            one.asked_at > since and one.start < stop and start < one.stop
            for one in self._shown.get(question.listing, ())
        )


def _places(question: Question) -> tuple[int, int]:
    return (question.page - 1) * question.page_size, question.page * question.page_size
