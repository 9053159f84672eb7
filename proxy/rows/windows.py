"""Which pages of a listing are in demand, and so which one question to the hub serves the most of it."""

from __future__ import annotations

import math
from typing import Final

from proxy.questions.demand import PageAndSize
from proxy.questions.question import Question, top_of
from proxy.rows.listing import Listing

STEP: Final = 50
"""Rows: windows are multiples of the hub's usual page size, so that replicas choose the same."""
CHEAP_ROWS: Final = 100
"""Rows up to which a window is made larger so that it shows a page itself, instead of only confirming it."""
WIDE_ROWS: Final = 300
"""Rows of a window that is to show several pages at once whose rows are not known."""

MAX_WINDOW_BYTES: Final = 2 * 2**20
"""Bytes that a window is to have at the most, by the size of the rows that are known."""


def to_ask(question: Question, listing: Listing | None, wanted: list[PageAndSize]) -> Question:
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
    room = fitting(listing, MAX_WINDOW_BYTES)
    if end > known:
        unknown = [one for one in ends if known < one <= min(WIDE_ROWS, room)]
        return _top(question, max(unknown)) if len(unknown) > 1 and end <= max(unknown) else question
    in_flight = [place for place, row in enumerate(listing.rows, 1) if not row.settled]
    rows = max(
        [STEP, *(one for one in ends if one <= CHEAP_ROWS), *(place for place in in_flight if place <= WIDE_ROWS)]
    )
    if rows > room or any(start < place <= end and place > rows for place in in_flight):
        return question
    return _top(question, rows)


def fitting(listing: Listing, size: int) -> int:
    """How many rows of a listing so many bytes hold, by those that are known."""
    known = listing.chain.size
    return size * len(listing.rows) // known if known else size


def _top(question: Question, rows: int) -> Question:
    size = math.ceil(rows / STEP) * STEP
    if question.page == 1 and question.page_size >= size:
        return question
    return top_of(question, size)
