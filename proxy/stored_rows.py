"""How a listing's rows are written in Redis, and read back with suspicion.

The *head* says which rows a listing has, in which order, and by which digests; each row is kept for itself, under its
id. What does not fit together, by digest, is no listing. ``<version> <head>``: a version is ``<number>.<lineage>``,
counted up with each change; rows say by which number they were written, so that whoever knows an earlier one of the
same lineage need not read all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proxy.envelope import Envelope
from proxy.listing import Chain, Listing, Moment
from proxy.record import Stamp
from proxy.rows import Row, digest

FORMAT: Final = 1


class _Seen(Struct, frozen=True, array_like=True):
    """When the hub was asked with an answer that showed a row, and until when its links are good then."""

    asked_at: float
    dead_at: float | None


class _Place(Struct, frozen=True, array_like=True):
    """A row's place in a chain. ``seen``: the number of the look that showed it last."""

    id: str
    digest: bytes
    born: int
    seen: int


class _Chain(Struct, frozen=True, array_like=True):
    name: str
    places: tuple[_Place, ...]
    looks: tuple[_Seen, ...]
    moments: tuple[Moment, ...]


class _Head(Struct, frozen=True, array_like=True):
    format: int
    key: str
    stamp: Stamp
    asked_at: float
    envelope: Envelope
    chain: _Chain
    ended: tuple[_Chain, ...]


class Written(Struct, frozen=True):
    """A listing as it goes to Redis.

    Attributes:
        expected: the version that is replaced, ``""`` for none.
        whole: all that is kept of it goes; else what has changed is written.
        head: with its version.
        rows: by id.
        gone: ids of rows that nothing needs any more.
    """

    expected: str
    whole: bool
    head: bytes
    rows: dict[str, bytes]
    gone: list[str]

    @property
    def version(self) -> str:
        """The new version."""
        return self.head.partition(b" ")[0].decode()

    @property
    def arguments(self) -> list[str | int | bytes]:
        """As scripts take it."""
        pairs = [part for pair in self.rows.items() for part in pair]
        return [self.expected, int(self.whole), self.head, len(self.rows), *pairs, *self.gone]


_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_row = msgspec.msgpack.Decoder(Row).decode


def write(key: str, listing: Listing, before: Listing | None, expected: str, lineage: str) -> Written:
    """What changes in Redis, where ``before`` is kept under the version ``expected``; all, without any.

    ``lineage``: of the versions to come, if what is kept goes as a whole.
    """
    known = {} if before is None else _rows(before)
    whole, rows = not known, _rows(listing)
    changed = {id_: _encode(row) for id_, row in rows.items() if id_ not in known or known[id_].digest != row.digest}
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
    gone = [id_ for id_ in known if id_ not in rows]
    return Written(expected, whole, version.encode() + b" " + head, changed, gone)


def version_of(head: bytes) -> str:
    """The version of a head."""
    return head.partition(b" ")[0].decode("ascii", "replace")


def read(key: str, head: bytes, rows: Iterable[bytes], before: Listing | None) -> Listing:
    """The listing that a head makes, with the rows that were read with it and those of ``before``.

    Raises:
        ValueError: it is none, another's, of another format, or a row is missing or not the one that is meant.
    """
    try:
        found = _decode_head(head.partition(b" ")[2])
        known = {} if before is None else _rows(before)
        for text in rows:
            row = _decode_row(text)
            if row.digest != digest(row.text):
                raise ValueError("a row with another's digest")
            known[row.id] = row
    except msgspec.MsgspecError as error:
        raise ValueError("no listing") from error
    if found.format != FORMAT or found.key != key:
        raise ValueError("another format, or another listing's value")
    try:
        chain = _fill(found.chain, known)
        ended = tuple(_fill(one, known) for one in found.ended)
    except LookupError as error:
        raise ValueError("a row is missing") from error
    if any(row.digest != place.digest for row, place in zip(chain.rows, found.chain.places, strict=True)):
        raise ValueError("a row that is not the one that is meant")
    return Listing(found.stamp, found.asked_at, found.envelope, chain, ended)


def _rows(listing: Listing) -> dict[str, Row]:
    """All rows that are kept: one by each id, in its latest state."""
    rows = {row.id: row for chain in listing.ended for row in chain.rows}
    rows.update((row.id, row) for row in listing.rows)
    return rows


def _outline(chain: Chain) -> _Chain:
    looks: dict[_Seen, int] = {}
    places = [
        _Place(row.id, row.digest, born, looks.setdefault(_Seen(row.asked_at, row.dead_at), len(looks)))
        for row, born in zip(chain.rows, chain.born, strict=True)
    ]
    return _Chain(chain.name, tuple(places), tuple(looks), chain.moments)


def _fill(chain: _Chain, known: Mapping[str, Row]) -> Chain:
    rows = tuple(_seen(known[place.id], chain.looks[place.seen]) for place in chain.places)
    return Chain(chain.name, rows, tuple(place.born for place in chain.places), chain.moments)


def _seen(row: Row, look: _Seen) -> Row:
    if (row.asked_at, row.dead_at) == (look.asked_at, look.dead_at):
        return row
    return replace(row, asked_at=look.asked_at, dead_at=look.dead_at)
