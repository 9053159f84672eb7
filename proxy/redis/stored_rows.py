"""How a listing's rows are written in Redis, and read back with suspicion.

The *head* says which rows a listing has, in which order, by their digests, and when they were seen; the text of each is
kept for itself, under its digest. So a row that is missing, or not the one that is meant, is noticed. ``<version>
<head>``: a version is ``<number>.<lineage>``, counted up with each change; rows say by which number they were written,
so that whoever knows an earlier one of the same lineage need not read all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, is_
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from proxy.answer.record import Stamp
from proxy.redis.formats import check_format
from proxy.rows.envelope import Envelope, Unfit
from proxy.rows.listing import Chain, Listing, Moment, size_of
from proxy.rows.reading import DIGEST_BYTES, Row, digest, read_row

FORMAT: Final = 3


class _Look(Struct, frozen=True, array_like=True):
    """So many consecutive rows were last shown by an answer asked for at ``asked_at``; links die at ``dead_at``."""

    asked_at: float
    dead_at: float | None
    rows: Annotated[int, Meta(ge=1)]


class _Chain(Struct, frozen=True, array_like=True):
    """A chain without its rows, by columns. ``rows``: their digests, one after the other."""

    name: str
    rows: bytes
    born: tuple[int, ...]
    looks: tuple[_Look, ...]
    moments: Annotated[tuple[Moment, ...], Meta(min_length=1)]


class _Head(Struct, frozen=True, array_like=True):
    format: int
    key: str
    stamp: Stamp
    asked_at: float
    envelope: Envelope
    chain: _Chain
    ended: tuple[_Chain, ...]


class ListingUpdate(Struct, frozen=True):
    """A listing as it goes to Redis.

    Attributes:
        expected: the version that is replaced, ``""`` for none.
        whole: all that is kept of it goes; else what has changed is written.
        head: with its version.
        rows: texts by digest.
        gone: digests of rows that nothing needs any more.
    """

    expected: str
    whole: bool
    head: bytes
    rows: dict[bytes, bytes]
    gone: list[bytes]

    @property
    def version(self) -> str:
        """The new version."""
        return self.head.partition(b" ")[0].decode()

    @property
    def arguments(self) -> list[str | int | bytes]:
        """As scripts take it."""
        pairs = [part for pair in self.rows.items() for part in pair]
        return [self.expected, int(self.whole), self.head, len(self.rows), *pairs, *self.gone]


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode


def write_listing(key: str, listing: Listing, before: Listing | None, expected: str, lineage: str) -> ListingUpdate:
    """What changes in Redis, where ``before`` is kept under the version ``expected``; all, without any.

    ``lineage``: of the versions to come, if what is kept goes as a whole.
    """
    known, rows = ({}, _rows(listing)) if before is None else _differing(before, listing)
    whole = before is None or not any(chain.rows for chain in (before.chain, *before.ended))
    changed = {name: row.text for name, row in rows.items() if name not in known}
    number, _, line = expected.partition(".")
    version = f"1.{lineage}" if whole else f"{int(number) + 1}.{line}"
    head = _encode(
        _Head(
            FORMAT,
            key,
            listing.stamp,
            listing.asked_at,
            listing.envelope,
            _outline(listing.chain),
            tuple(_outline(chain) for chain in listing.ended),
        )
    )
    gone = [name for name in known if name not in rows]
    return ListingUpdate(expected, whole, version.encode() + b" " + head, changed, gone)


def version_of(head: bytes) -> str:
    """The version of a head."""
    return head.partition(b" ")[0].decode("ascii", "replace")


def read_listing(key: str, head: bytes, rows: Iterable[bytes], before: Listing | None) -> Listing:
    """The listing that a head makes, with the rows that were read with it and those of ``before``.

    Raises:
        ValueError: it is none, another's, of another format (OtherRelease), or a row is missing.
    """
    packed = head.partition(b" ")[2]
    try:
        check_format(packed, FORMAT)
        found = _decode_head(packed)
    except msgspec.MsgspecError as error:
        raise ValueError("no listing") from error
    if found.key != key:
        raise ValueError("another listing's value")
    known = {} if before is None else _rows(before)
    texts = {digest(text): text for text in rows}
    try:
        chain = _fill(found.chain, known, texts)
        ended = tuple(_fill(one, known, texts) for one in found.ended)
    except LookupError as error:
        raise ValueError("a row is missing") from error
    except Unfit as error:
        raise ValueError("no row") from error
    if found.envelope.between is None and any(len(one.rows) > 1 for one in (chain, *ended)):
        raise ValueError("rows with nothing known between them")
    return Listing(found.stamp, found.asked_at, found.envelope, chain, ended)


def _differing(before: Listing, listing: Listing) -> tuple[dict[bytes, Row], dict[bytes, Row]]:
    """The rows of both, as far as it is not plain that they are the same: above and below what an answer shows."""
    if before.ended or listing.ended:
        return _rows(before), _rows(listing)
    above = _in_common(before.rows, listing.rows)
    old, new = before.rows[above:], listing.rows[above:]
    below = _in_common(old[::-1], new[::-1])
    return _by_digest(old[: len(old) - below]), _by_digest(new[: len(new) - below])


def _in_common(ones: Sequence[Row], others: Sequence[Row]) -> int:
    """How many of the first are the same objects."""
    return [*map(is_, ones, others), False].index(False)


def _rows(listing: Listing) -> dict[bytes, Row]:
    """All rows that are kept."""
    return _by_digest(row for chain in (*listing.ended, listing.chain) for row in chain.rows)


def _by_digest(rows: Iterable[Row]) -> dict[bytes, Row]:
    return {row.digest: row for row in rows}


def _outline(chain: Chain) -> _Chain:
    rows = chain.rows
    looks = [_Look(*look, len(list(shown))) for look, shown in groupby(rows, attrgetter("asked_at", "dead_at"))]
    return _Chain(chain.name, b"".join([row.digest for row in rows]), chain.born, tuple(looks), chain.moments)


def _fill(chain: _Chain, known: Mapping[bytes, Row], texts: Mapping[bytes, bytes]) -> Chain:
    """The chain with its rows.

    Raises:
        LookupError: one is missing.
        Unfit: one is none.
        ValueError: the columns do not fit together.
    """
    if not sum(look.rows for look in chain.looks) * DIGEST_BYTES == len(chain.rows) == len(chain.born) * DIGEST_BYTES:
        raise ValueError("columns of different lengths")
    names = [chain.rows[start : start + DIGEST_BYTES] for start in range(0, len(chain.rows), DIGEST_BYTES)]
    rows: list[Row] = []
    for look in chain.looks:
        asked_at, dead_at = look.asked_at, look.dead_at
        for name in names[len(rows) : len(rows) + look.rows]:
            row = known.get(name)
            if row is None:
                row = read_row(texts[name], asked_at, dead_at, name)
            elif row.asked_at != asked_at or row.dead_at != dead_at:
                row = replace(row, asked_at=asked_at, dead_at=dead_at)
            rows.append(row)
    return Chain(chain.name, tuple(rows), chain.born, chain.moments, size_of(rows))
