"""What scripts return, held against its shape: redis-py once gave one caller another's reply."""

from __future__ import annotations

from typing import Any, Final, cast, get_args

import msgspec
from msgspec import Struct

from proxy.answer.record import Learned

_OUTCOMES: Final = (*get_args(Learned), "lost")


class LookupReply(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """As ``page_look.lua`` says it, and ``lease_take.lua`` after the first two."""

    page: bytes | int | None
    record: bytes | None
    head: bytes | int
    rows: list[bytes]
    leased: int = 0
    turn: list[bytes | int] | None = None


class StoreReply(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """As ``page_store.lua`` says it."""

    outcome: bytes
    record: bytes | None
    head: bytes | int = b""
    rows: list[bytes] = []

    @property
    def learned(self) -> Learned | None:
        """None: the rows are lost."""
        word = self.outcome.decode()
        return None if word == "lost" else cast("Learned", word)


def read_lookup(raw: Any) -> LookupReply:
    """Read the reply to a lookup.

    Raises:
        ValueError: it is none.
    """
    return msgspec.convert(raw, LookupReply)


def read_kept(raw: Any) -> list[int]:
    """Read the reply to what there is.

    Raises:
        ValueError: it is none.
    """
    return msgspec.convert(raw, list[int])


def read_lease(raw: Any) -> tuple[str, int, LookupReply]:
    """Read the reply to who would take the lease: the holder, milliseconds, what is known.

    Raises:
        ValueError: it is none.
    """
    holder, milliseconds = msgspec.convert(raw[:2], tuple[bytes, int])
    return holder.decode(errors="replace"), milliseconds, read_lookup(raw[2:] or [None, None, b"", []])


def read_store(raw: Any) -> StoreReply:
    """Read the reply to what was to be stored.

    Raises:
        ValueError: it is none.
    """
    reply = msgspec.convert(raw, StoreReply)
    if reply.outcome.decode() not in _OUTCOMES:
        raise ValueError("no outcome")
    return reply
