"""How pages and records are written in Redis, and how they are read back with suspicion.

A page's value carries its full key and a format version and is checked on reading (redis-py once gave one
caller another's data). A record is text, ``since confirmed_at received_at version stamp``, that scripts can move.
"""

from __future__ import annotations

from typing import Final

import msgspec
import zstandard
from msgspec import Struct

from proxy.answer.encodings import decode, encode
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.redis.formats import check_format
from proxy.tasks.off_loop import off_loop_if_large

FORMAT: Final = 4
_MAX_BODY: Final = 2**30


class _Value(Struct, frozen=True, array_like=True):
    """A page as it is kept; a format of its own, which a change of Page does not change by accident."""

    format: int
    key: str
    body: bytes
    etag: str
    asked_at: float
    stamp: Stamp
    settled: bool
    dead_at: float | None
    single: bool
    status: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


def write_mark(page: Page) -> bytes:
    """What the page's value begins with: what scripts need of it, and what tells it from others of its key."""
    return f"{FORMAT} {microseconds(page.asked_at)} {page.settled:d} {page.etag}\n".encode()


async def read_page(raw: bytes, key: str, known: Page | None = None) -> Page:
    """Read the page of that key; the body of one that is ``known`` is not decompressed again.

    Raises:
        ValueError: it is none, or another's, or (OtherRelease) of another format.
    """
    try:
        packed = memoryview(raw)[raw.find(b"\n") + 1 :]
        check_format(packed, FORMAT)
        value = _decode(packed)
        if value.key != key:
            raise ValueError("another page's value")
        if known is not None and known.etag == value.etag:
            body, variants = known.body, dict(known.variants)
        else:
            size = zstandard.frame_content_size(value.body)
            if size <= 0 or size > _MAX_BODY:  # of no size: zstd would return no bytes without looking at the checksum
                raise ValueError("no size, or one beyond any page's, in the frame")
            body = await off_loop_if_large(size, decode, value.body, size)
            variants = {"zstd": value.body}
    except (msgspec.MsgspecError, zstandard.ZstdError, MemoryError) as error:
        raise ValueError(f"no page: {type(error).__name__}") from error
    stamp, judged = value.stamp, (value.settled, value.dead_at, value.single, value.status)
    return Page(key, body, value.etag, value.asked_at, stamp, *judged, variants=variants)


async def write_page(page: Page) -> bytes:
    """A page as it is kept. Its zstd variant is what Redis holds of the body: made here, it is left with the page.

    That is in no memory yet, which would have to count it (``Memory.enrich``).
    """
    body = page.variants.get("zstd")
    if body is None:
        body = page.variants["zstd"] = await off_loop_if_large(len(page.body), encode, page.body, "zstd")
    judged = (page.settled, page.dead_at, page.single, page.status)
    return write_mark(page) + _encode(_Value(FORMAT, page.key, body, page.etag, page.asked_at, page.stamp, *judged))


def write_stamp(stamp: Stamp) -> str:
    """A stamp as text, equal exactly for equal stamps."""
    return f"{stamp.total_entries} {'n' if stamp.total_cost is None else 's' + stamp.total_cost}"


def read_record(raw: bytes) -> Record:
    """Read a record's text.

    Raises:
        ValueError: it is none.
    """
    since, confirmed_at, received_at, version, text = raw.decode().split(" ", 4)
    entries, _, cost = text.partition(" ")
    stamp = Stamp(int(entries), None if cost == "n" else cost.removeprefix("s"))
    try:
        return Record(stamp, int(since) / 1e6, int(confirmed_at) / 1e6, int(received_at) / 1e6, int(version))
    except OverflowError as error:
        raise ValueError("no time has so many digits") from error


def write_record(record: Record) -> str:
    """A record's text, as scripts write it."""
    times = (microseconds(one) for one in (record.since, record.confirmed_at, record.received_at))
    return " ".join(map(str, (*times, record.version, write_stamp(record.stamp))))


def microseconds(seconds: float) -> int:
    """A time as records hold it."""
    return max(0, round(seconds * 1e6))
