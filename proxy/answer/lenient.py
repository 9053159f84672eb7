"""JSON as RFC 8259 allows it, where msgspec does not: escapes of surrogates that have no other half (§8.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES: Final = re.compile(_HIGH + _LOW + rb"|(?P<lone>" + _HIGH + rb"|" + _LOW + rb")|\\.", re.DOTALL)


def lenient(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body, of which only what judging needs is read; it is never rewritten for anybody.

    Raises:
        DecodeError, ValidationError, RecursionError: as ``decode`` does.
    """
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        plain = _ESCAPES.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], body)
        if plain == body:
            raise
        return decode(plain)
