"""JSON as RFC 8259 allows it, where msgspec does not: escapes of surrogates that have no other half (§8.2), any depth.

How deep a parser reads is its own affair (§9), and would lose a page to all who see a row that somebody else asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

LEVELS: Final = 64
"""Levels of nesting that are read of a body that has too many; what judging needs is above them."""
_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES: Final = re.compile(_HIGH + _LOW + rb"|(?P<lone>" + _HIGH + rb"|" + _LOW + rb")|\\.", re.DOTALL)
_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{]+|[\]}]+', re.DOTALL)


def lenient(decode: Callable[[bytes], T], body: bytes) -> T:
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
        return lenient(decode, shallow)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        plain = _ESCAPES.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], body)
        if plain == body:
            raise
        return decode(plain)


def _shallow(body: bytes) -> bytes:
    """The body with ``null`` for whatever is nested too deeply; whether that is JSON is not looked at."""
    kept, level, start = [], 0, 0
    for found in _NESTING.finditer(body):
        run, at = found[0], found.start()
        if run[0] in b"[{":
            if level <= LEVELS < level + len(run):
                kept += [body[start : at + LEVELS - level], b"null"]
            level += len(run)
        elif run[0] in b"]}":
            if level - len(run) <= LEVELS < level:
                start = at + level - LEVELS
            level -= len(run)
    return b"".join([*kept, body[start:]] if level <= LEVELS else kept)
