"""What is read of an answer that msgspec refuses, though JSON allows it: else one row is its page's end, for everybody.

That are escapes of surrogates that have no other half (RFC 8259 §8.2), any depth (how deep a parser reads is its own
affair, §9), whole numbers that are spelled with a fraction or an exponent, a status that is no text, which is one that
nobody knows, and members of one name, of which the last counts (§4), whatever the others are. A body is read as it is
first; only where that fails is it made plain, and read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

MAX_LEVELS: Final = 64
"""Levels of nesting that are read of a body that has too many; what judging needs is above them."""
LARGEST: Final = 2**53
"""Up to there, numbers with a fraction or an exponent are exact for whoever reads JSON."""
COUNTS: Final = frozenset({"count", "page_number", "page_size", "total_entries", "total_pages"})
"""Members of an answer that are whole numbers; those of rows are not read, and may be as many as a request likes."""
_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES: Final = re.compile(_HIGH + _LOW + rb"|(?P<lone>" + _HIGH + rb"|" + _LOW + rb")|\\.", re.DOTALL)
_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{]+|[\]}]+', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_encode = msgspec.json.Encoder().encode


def decode_leniently(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body, of which only what judging needs is read; it is never rewritten for anybody.

    Raises:
        DecodeError, ValidationError: as ``decode`` does.
    """
    try:
        return decode(body)
    except RecursionError:
        shallow = _shallow(body)
        if shallow == body:
            raise msgspec.DecodeError("nested too deeply") from None
        return decode_leniently(decode, shallow)
    except msgspec.ValidationError:
        return decode(_plain(body))
    except msgspec.DecodeError:
        plain = _ESCAPES.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], body)
        if plain == body:
            raise
        return decode_leniently(decode, plain)


def text_of(value: msgspec.Raw, path: str) -> str | None:
    """Return a member, found at ``path``, that is a text or null; of a number, what stands in the body.

    Raises:
        ValidationError: it is none of these.
    """
    written = bytes(value)
    if written[0] in b"-0123456789":
        return written.decode()
    try:
        text: str | None = _decode_text(written)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} - at `{path}`") from None
    return text


def _plain(body: bytes, *, whole: bool = True) -> bytes:
    """An answer, or (not ``whole``) a row in it, with whole numbers in digits, and ``null`` for statuses of no text.

    Each member is there once.
    """
    if not body.lstrip().startswith(b"{"):
        return body
    members = decode_leniently(_decode_members, body)
    return _encode(
        {name: msgspec.Raw(_plain_member(name, bytes(value), whole=whole)) for name, value in members.items()}
    )


def _plain_member(name: str, value: bytes, *, whole: bool) -> bytes:
    if whole and name == "generations" and value.startswith(b"["):
        return _encode([msgspec.Raw(_plain(bytes(row), whole=False)) for row in _decode_items(value)])
    if whole and name == "generation":
        return _plain(value, whole=False)
    if name == "status":
        return value if value.startswith(b'"') else b"null"
    if name in COUNTS and whole and _NUMBER.fullmatch(value):
        number, divisor = Decimal(value.decode()).as_integer_ratio()
        return b"%d" % number if divisor == 1 and abs(number) <= LARGEST else value
    return value


def _shallow(body: bytes) -> bytes:
    """The body with ``null`` for whatever is nested too deeply; whether that is JSON is not looked at."""
    kept, level, start = [], 0, 0
    for found in _NESTING.finditer(body):
        run, at = found[0], found.start()
        if run[0] in b"[{":
            if level <= MAX_LEVELS < level + len(run):
                kept += [body[start : at + MAX_LEVELS - level], b"null"]
            level += len(run)
        elif run[0] in b"]}":
            if level - len(run) <= MAX_LEVELS < level:
                start = at + level - MAX_LEVELS
            level -= len(run)
    return b"".join([*kept, body[start:]] if level <= MAX_LEVELS else kept)
