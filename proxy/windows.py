"""Which pages of a listing are in demand, and so which one question to the hub serves the most of it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.listing import Listing
from proxy.question import Question, top_of

LATELY: Final = 10.0
"""Seconds for which a page counts as in demand after it was asked for."""
LISTINGS: Final = 4096
PLACES: Final = 32
"""Listings, and pages of each, whose demand is known."""
STEP: Final = 50
"""Rows: windows are multiples of the hub's usual page size, so that replicas choose the same."""
CHEAP: Final = 100
"""Rows up to which a window is made larger so that it shows a page itself, instead of only confirming it."""
WIDE: Final = 300
"""Rows of a window that is to show several pages at once whose rows are not known."""

LARGE: Final = 2 * 2**20
"""Bytes that a window is to have at the most, by the size of the rows that are known."""

Place = tuple[int, int]
"""Page number and page size."""


class Wanted:
    """Notes which pages of which listings are asked for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: OrderedDict[str, OrderedDict[Place, float]] = OrderedDict()

    def note(self, question: Question) -> None:
        """The page has been asked for."""
        asked = self._asked.get(question.listing)
        if asked is None:
            asked = self._asked[question.listing] = OrderedDict()
            if len(self._asked) > LISTINGS:
                self._asked.popitem(last=False)
        place = (question.page, question.page_size)
        asked[place] = self._clock()
        asked.move_to_end(place)
        if len(asked) > PLACES:
            asked.popitem(last=False)
        self._asked.move_to_end(question.listing)

    def of(self, listing: str) -> list[Place]:
        """The pages of a listing that are in demand."""
        since = self._clock() - LATELY
        return [place for place, at in self._asked.get(listing, {}).items() if at > since]


def to_ask(question: Question, listing: Listing | None, wanted: list[Place]) -> Question:
    """The question to ask the hub, so that the answer to ``question`` is known, and as much else as is wanted. Pure.

    One answer from the top confirms every known row below it. It has to show all rows in flight, as no other row
    vouches for those, and shows what else is near. A page that nothing else of the listing is wanted beside, or
    whose rows would not be known even then, is asked for itself.
    """
    if listing is None or not listing.rows:
        return question
    entries, known = listing.stamp.total_entries, len(listing.rows)
    start = (question.page - 1) * question.page_size
    end = min(start + question.page_size, entries)
    if start >= entries or set(wanted) <= {(question.page, question.page_size)}:
        return question
    ends = [min(page * size, entries) for page, size in wanted]
    room = fitting(listing, LARGE)
    if end > known:
        unknown = [one for one in ends if known < one <= min(WIDE, room)]
        return _top(question, max(unknown)) if len(unknown) > 1 and end <= max(unknown) else question
    in_flight = [place for place, row in enumerate(listing.rows, 1) if not row.settled]
    rows = max([STEP, *(one for one in ends if one <= CHEAP), *(place for place in in_flight if place <= WIDE)])
    if rows > room or any(start < place <= end and place > rows for place in in_flight):
        return question
    return _top(question, rows)


def fitting(listing: Listing, size: int) -> int:
    """How many rows of a listing so many bytes hold, by those that are known."""
    known = sum(len(row.text) for row in listing.rows)
    return size * len(listing.rows) // known if known else size


def _top(question: Question, rows: int) -> Question:
    size = math.ceil(rows / STEP) * STEP
    if question.page == 1 and question.page_size >= size:
        return question
    return top_of(question, size)
