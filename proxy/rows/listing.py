"""A listing kept as its rows: how an answer confirms, moves and extends it, and its pages at one moment. Pure.

Terminal rows do not change; only their place does, as new rows come above them. So an answer that shows the head
of a listing can speak for all of it, if it *explains* what has changed since: the rows known before stand in it in
their order, with new ones only between or above them; the total of entries has grown by just the new ones that it
shows, and the total cost by just their costs and the changes of cost that it shows. Then every known row below
stands where it stood, further down. What is not explained (a deletion, another order, a late charge further down,
more new rows than the answer holds) ends the *chain* of moments, and only what the answer shows is known.

This rests on three things that the hub does as far as is known (hub facts: order; hub facts: totals). They
are checked at each answer.

Within a chain rows are only added. So the order at an earlier moment is the order now without the rows that came
later, and the number of entries names a moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from proxy.answer.record import Stamp
from proxy.rows.envelope import Envelope
from proxy.rows.reading import MAX_DECIMALS, MAX_INTEGER_DIGITS, Row, Window, amount

WALK_SECONDS: Final = 150.0
"""Seconds for which a moment can be returned to after it has passed; 120 are promised."""
MAX_BYTES: Final = 4 * 2**20
"""Bytes of a listing's rows that are kept, from the top."""
MAX_ENDED_CHAINS: Final = 4
"""Chains that can be returned to after they have ended."""

Unexplained: TypeAlias = Literal["overflow", "order", "entries", "cost"]
"""Why an answer does not explain what has changed: all rows that it shows are new; a row known before is not where
it should be; more or fewer entries came than it shows; some cost changed elsewhere."""


class Moment(Struct, frozen=True, array_like=True, gc=False):
    """A moment of a chain: the totals, and until when (Unix seconds) it can be returned to."""

    stamp: Stamp
    until: float


class Chain(Struct, frozen=True, array_like=True, gc=False):
    """Rows from the top, to which rows were only added.

    Attributes:
        name: tells it from other chains of the listing.
        rows: in their order at the latest moment.
        born: for each row, how many entries there were when it had come; 0 if it was there before.
        moments: the latest last.
        size: bytes of the rows' texts.
    """

    name: str
    rows: tuple[Row, ...]
    born: tuple[int, ...]
    moments: tuple[Moment, ...]
    size: int

    def at(self, entries: int) -> list[Row]:
        """The known rows, from the top, at a moment with so many entries."""
        return [row for row, born in zip(self.rows, self.born, strict=True) if born <= entries]


class Listing(Struct, frozen=True, weakref=True):
    """What is known of a listing's rows, from the top down without a gap.

    Attributes:
        stamp: its totals, when the hub was asked at ``asked_at`` (Unix seconds).
        envelope: of the latest answer. Where it is not known what stands between rows, there is no more than one.
        chain: the rows, and the moments that led here.
        ended: chains that ended a short while ago.
    """

    stamp: Stamp
    asked_at: float
    envelope: Envelope
    chain: Chain
    ended: tuple[Chain, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The known rows as of now."""
        return self.chain.rows

    def is_of(self, stamp: Stamp, since: float) -> bool:
        """Whether this is the moment with these totals; before ``since`` there were others, even with the same."""
        return self.stamp == stamp and self.asked_at >= since


def advance_listing(
    listing: Listing | None, window: Window, now: float, *, since: float, name: str, depth: int
) -> tuple[Listing, Unexplained | None]:
    """The listing after an answer that is not behind what is known (``advance_record``), and what it left unexplained.

    ``since``: of its record; before, there were other moments, even with the same stamp. ``name``: of a new chain,
    should one begin. ``depth``: rows that are kept.
    """
    if listing is None:
        return _begin(None, window, now, name, depth), None
    same = listing.is_of(window.stamp, since)
    if window.start > 0 and not same:
        if _keeps_order(listing, window):
            return listing, None  # what came above it is not shown; the next answer from the top may explain it
        return _begin(listing, window, now, name, depth), "order"
    if window.start > len(listing.rows):
        return listing, None  # there is a gap between what is known and what is shown
    with localcontext(prec=2 * (MAX_INTEGER_DIGITS + MAX_DECIMALS)):  # so that sums are exact
        unexplained, added, seen = _explain(listing, window)
    if unexplained is not None:
        return _begin(listing, window, now, name, depth), unexplained
    return _continue(listing, window, now, added, seen, depth), None


def _explain(listing: Listing, window: Window) -> tuple[Unexplained | None, frozenset[str], int]:
    """Why the answer does not explain what changed, if it does not; rows added between known ones; known rows shown."""
    known = listing.rows[window.start :]
    later = {row.id for row in known}
    added: list[Row] = []
    fresh: list[Row] = []
    seen, costs = 0, Decimal(0)
    for row in window.rows:
        if seen < len(known) and row.id == known[seen].id:
            costs += row.cost - known[seen].cost
            added += fresh
            fresh.clear()
            seen += 1
        elif row.id in later:
            return "order", frozenset(), 0
        else:
            fresh.append(row)
    if seen < len(known):  # known rows go on below: what came before them has been added above them
        added += fresh
    if not seen and known and not window.ends:
        return "overflow", frozenset(), 0
    if seen < len(known) and window.ends:
        return "order", frozenset(), 0  # fewer rows than were known
    if window.stamp.total_entries - listing.stamp.total_entries != len(added):
        return "entries", frozenset(), 0
    costs += sum((row.cost for row in added), Decimal(0))
    if amount(window.stamp.total_cost) - amount(listing.stamp.total_cost) != costs:
        return "cost", frozenset(), 0
    return None, frozenset(row.id for row in added), seen


def _keeps_order(listing: Listing, window: Window) -> bool:
    """Whether the known rows that an answer shows, wherever they are now, follow one another as they did."""
    places = {row.id: place for place, row in enumerate(listing.rows)}
    shown = [places[row.id] for row in window.rows if row.id in places]
    return shown == list(range(shown[0], shown[0] + len(shown))) if shown else True


def _continue(listing: Listing, window: Window, now: float, added: frozenset[str], seen: int, depth: int) -> Listing:
    """The same chain, with the rows of the answer in their places."""
    envelope, depth = _around(listing, window, depth)
    chain, start = listing.chain, window.start
    below = start + seen
    old = {row.id: (row, born) for row, born in zip(chain.rows[start:below], chain.born[start:below], strict=True)}
    entries = window.stamp.total_entries
    shown = [_latest(row, *old.get(row.id, (None, entries if row.id in added else 0))) for row in window.rows]
    rows = (*chain.rows[:start], *(row for row, _ in shown), *chain.rows[below:])
    born = (*chain.born[:start], *(born for _, born in shown), *chain.born[below:])
    grown = size_of(row for row, _ in shown) - size_of(chain.rows[start:below])
    kept, size = _fitting(rows, chain.size + grown, depth)
    moments = [moment for moment in chain.moments[:-1] if moment.until > now]
    if chain.moments[-1].stamp != window.stamp:
        moments.append(Moment(chain.moments[-1].stamp, now + WALK_SECONDS))
    return Listing(
        stamp=window.stamp,
        asked_at=max(listing.asked_at, window.asked_at),
        envelope=envelope,
        chain=Chain(chain.name, rows[:kept], born[:kept], (*moments, Moment(window.stamp, math.inf)), size),
        ended=_walkable(listing.ended, now) if envelope.between is not None else (),
    )


def _begin(listing: Listing | None, window: Window, now: float, name: str, depth: int) -> Listing:
    """A new chain, of what the answer shows, if that is the top."""
    envelope, depth = _around(listing, window, depth)
    kept, size = _fitting(window.rows, size_of(window.rows), depth) if window.start == 0 else (0, 0)
    chain = Chain(name, window.rows[:kept], (0,) * kept, (Moment(window.stamp, math.inf),), size)
    ended: tuple[Chain, ...] = ()
    if listing is not None and envelope.between is not None:
        last = listing.chain.moments[-1]
        moments = (*listing.chain.moments[:-1], Moment(last.stamp, now + WALK_SECONDS))
        ended = (*listing.ended, replace(listing.chain, moments=moments))
    return Listing(window.stamp, window.asked_at, envelope, chain, _walkable(ended, now))


def _around(listing: Listing | None, window: Window, depth: int) -> tuple[Envelope, int]:
    """The envelope after an answer, and how many rows are kept.

    One row does not show what stands between rows: that is as it was if all else is, or no two rows go together.
    """
    envelope = window.envelope
    if envelope.between is None and listing is not None and replace(listing.envelope, between=None) == envelope:
        envelope = listing.envelope
    return envelope, depth if envelope.between is not None else 1


def size_of(rows: Iterable[Row]) -> int:
    """Bytes of the rows' texts."""
    return sum(len(row.text) for row in rows)


def _fitting(rows: Sequence[Row], size: int, depth: int) -> tuple[int, int]:
    """How many are kept of rows of this size, and the size of those."""
    kept = min(depth, len(rows))
    size -= size_of(rows[kept:])
    while size > MAX_BYTES:
        kept -= 1
        size -= len(rows[kept].text)
    return kept, size


def _latest(row: Row, before: Row | None, born: int) -> tuple[Row, int]:
    """The row as it was asked for last: answers may come in another order."""
    return (row if before is None or row.asked_at >= before.asked_at else before), born


def _walkable(chains: Sequence[Chain], now: float) -> tuple[Chain, ...]:
    """The chains that can still be returned to."""
    kept = []
    for chain in chains:
        moments = tuple(moment for moment in chain.moments if moment.until > now)
        if moments:
            kept.append(replace(chain, moments=moments))
    return tuple(kept[-MAX_ENDED_CHAINS:])
