"""What stands around the rows of a list answer, taken apart so that another page can be put into it. Pure.

The hub's members keep their order, their spelling and the white space between them, also those that no contract
lists; only what differs from page to page is stated anew.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from proxy.answer.record import Stamp
from proxy.contract import GenerationsListResponse

ROWS: Final = "generations"
STATED_MEMBERS: Final = ("count", ROWS, "page_number", "page_size", "total_pages", "total_entries", "total_cost")
"""Members that are stated anew; each has to be there, once."""
LISTED_MEMBERS: Final = frozenset(GenerationsListResponse.__struct_fields__)
"""Members that the contract lists."""
MAX_ENVELOPE: Final = 16_384
"""Bytes around the rows of an answer that can be taken apart; there are a few hundred."""
_decoder: Final = json.JSONDecoder()
_WHITE_SPACE: Final = " \t\n\r"


class Unfit(Exception):
    """No page can be composed with this answer; the text is a short reason, to be counted."""


class Envelope(Struct, frozen=True, array_like=True, gc=False):
    """The text around the stated members, and what stands between rows.

    ``texts[n]`` comes before the value of ``names[n]``; the last text comes after all values.
    ``between``: None, where there was one row, so that it is not known.
    ``unlisted``: a digest of the members that no contract lists; empty, where there are none.
    """

    texts: tuple[bytes, ...]
    names: tuple[str, ...]
    opening: bytes
    between: bytes | None
    closing: bytes
    unlisted: bytes = b""

    def put(self, rows: Sequence[bytes], page: int, page_size: int, stamp: Stamp) -> bytes:
        """The body of an answer with these rows.

        Raises:
            Unfit: it is not known what stands between them.
        """
        between = self.between
        if between is None:
            if len(rows) > 1:
                raise Unfit("between")
            between = b""
        values = {
            "count": b"%d" % len(rows),
            ROWS: b"".join((self.opening, between.join(rows), self.closing)) if rows else b"[]",
            "page_number": b"%d" % page,
            "page_size": b"%d" % page_size,
            "total_pages": b"%d" % total_pages(stamp, page_size),
            "total_entries": b"%d" % stamp.total_entries,
            "total_cost": msgspec.json.encode(stamp.total_cost),
        }
        parts = [part for text, name in zip(self.texts, self.names, strict=False) for part in (text, values[name])]
        return b"".join((*parts, self.texts[-1]))


def total_pages(stamp: Stamp, page_size: int) -> int:
    """How many pages of this size a listing has; an empty one has one."""
    return max(1, math.ceil(stamp.total_entries / page_size))


def take_apart(body: bytes, rows: Sequence[bytes], page: int, page_size: int, stamp: Stamp) -> Envelope:
    """Take an answer apart, of which ``rows`` are the rows as they stand in it.

    That the envelope is understood is not assumed: with the same rows it has to give the same bytes.

    Raises:
        Unfit: it is not as it is expected to be.
    """
    if not rows:
        raise Unfit("empty")
    start = body.find(rows[0])
    between = body[start + len(rows[0]) : body.find(rows[1], start + len(rows[0]))] if len(rows) > 1 else None
    end = start + sum(map(len, rows)) + len(between or b"") * (len(rows) - 1)
    if len(body) - (end - start) > MAX_ENVELOPE:
        raise Unfit("envelope")
    opening, closing = _inside(body[:start], body[end:])
    head, tail = body[: start - len(opening)], body[end + len(closing) :]
    texts, names, unlisted = _members(head.decode() + "[]" + tail.decode())
    envelope = Envelope(texts, names, opening, between, closing, unlisted)
    if sorted(names) != sorted(STATED_MEMBERS) or envelope.put(rows, page, page_size, stamp) != body:
        raise Unfit("envelope")
    return envelope


def _inside(head: bytes, tail: bytes) -> tuple[bytes, bytes]:
    """The brackets around the rows, with the white space inside."""
    opening = head[len(head.rstrip(_WHITE_SPACE.encode())) - 1 :]
    closing = tail[: len(tail) - len(tail.lstrip(_WHITE_SPACE.encode())) + 1]
    if opening[:1] != b"[" or closing[-1:] != b"]":
        raise Unfit("envelope")
    return opening, closing


def _members(text: str) -> tuple[tuple[bytes, ...], tuple[str, ...], bytes]:
    """Cut an object's text around the values of the stated members, in their order; digest those that nobody knows."""
    texts: list[bytes] = []
    names: list[str] = []
    unlisted: list[str] = []
    done = at = text.index("{") + 1
    try:
        while True:
            name, at = _decoder.raw_decode(text, _skip(text, at))
            at = _skip(text, _skip(text, at) + 1)
            _, end = _decoder.raw_decode(text, at)
            if name in STATED_MEMBERS:
                texts.append(text[done:at].encode() if texts else text[:at].encode())
                names.append(name)
                done = end
            elif name not in LISTED_MEMBERS:
                unlisted.append(f"{name!r} {text[at:end]}")
            at = _skip(text, end)
            if text[at] == "}":
                break
            at += 1
    except (ValueError, IndexError, RecursionError):
        raise Unfit("envelope") from None
    digest = hashlib.blake2b("\n".join(sorted(unlisted)).encode(), digest_size=8).digest() if unlisted else b""
    return (*texts, text[done:].encode()), tuple(names), digest


def _skip(text: str, at: int) -> int:
    while text[at] in _WHITE_SPACE:
        at += 1
    return at
