"""A listing's record: what its latest answer said of the whole, and how it moves forward. Pure.

Every answer for any page of a listing carries the totals of its whole filter set, the *stamp*. The record
keeps the stamp that is true as far as is known, and when it was confirmed. It only moves forward, whichever
replica's answer comes in whatever order; ``redis/lua`` has the same rules in Lua, and a test holds the two
against each other.

The order of two answers is known only if one request was sent after the other's answer had come. Where two
answers that differ overlap, the later one to come is *behind*: it is not served, and the hub is
asked again, after both.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct

Learned: TypeAlias = Literal["confirmed", "moved", "behind"]
TIME_PRECISION: Final = 1e-5
"""Seconds by which times that have been in Redis may differ from what they were."""
MAX_AHEAD: Final = 60.0
"""Seconds by which what is in Redis may be ahead of this process' time, until that has been told of another's clock
(``clock``): by far more than clocks that are kept in step differ."""


class Stamp(Struct, frozen=True, array_like=True, gc=False):
    """The totals of a whole listing at one moment; every answer for any of its pages carries them.

    An answer without totals (a queue, a single generation) has the number of its rows, and a digest in the place of
    their cost: it is a listing of one page.
    """

    total_entries: int
    total_cost: str | None


class Record(Struct, frozen=True, gc=False):
    """What is known of a listing. Times in Unix seconds.

    Attributes:
        stamp: its totals.
        since: answers asked for before this may be of an older moment, even with the same stamp.
        confirmed_at: when the latest answer with this stamp was asked for.
        received_at: when the latest answer came.
        version: how often the record has changed; with ``received_at`` before it, orders the records of a listing
            (alone it would not: it begins anew when Redis loses the record).
    """

    stamp: Stamp
    since: float
    confirmed_at: float
    received_at: float
    version: int = 1

    def is_after(self, other: Record) -> bool:
        """Whether this record was made later than ``other``, or is the same."""
        return (self.received_at, self.version) >= (other.received_at, other.version)


def advance_record(
    record: Record | None, stamp: Stamp, asked_at: float, received_at: float, *, contradicts: bool = False
) -> tuple[Record, Learned]:
    """The record after an answer with ``stamp``, asked for at ``asked_at``, has come at ``received_at``.

    ``moved`` retires every page of before. ``behind`` says that the answer may be of an older moment than what has
    been shown, and leaves the record as it was. ``contradicts``: what the answer shows is not what was known of the
    listing, even where the totals are the same (two rows have changed places), so that it confirms nothing that was
    asked for before it.
    """
    if record is None:
        return Record(stamp, 0.0, asked_at, received_at), "moved"
    received_at, version = max(received_at, record.received_at), record.version + 1
    if stamp == record.stamp and asked_at >= record.since and not contradicts:
        return Record(stamp, record.since, max(asked_at, record.confirmed_at), received_at, version), "confirmed"
    if asked_at >= record.received_at:
        return Record(stamp, asked_at if contradicts else record.received_at, asked_at, received_at, version), "moved"
    return record, "behind"
