"""Formats of values in Redis: each says first of all which it is, so that a release knows another's."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class OtherRelease(ValueError):
    """A value is of a format that this release does not read: as good as none, and no fault of Redis."""


class _Any(Struct, frozen=True, array_like=True):
    """What values of all formats have in common."""

    format: int


_decode = msgspec.msgpack.Decoder(_Any).decode


def check_format(value: bytes | memoryview, expected: int) -> None:
    """Look at a value's format, before anything else of it.

    Raises:
        OtherRelease: it is another.
        msgspec.MsgspecError: it is no value of any.
    """
    if _decode(value).format != expected:
        raise OtherRelease("another format")
