"""What requests meant, by digests of keys, bounded by the bytes that they keep alive; what is not used goes first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from msgspec import Struct

from proxy.known.second_chance import victim

KEY_OVERHEAD: Final = 240
"""Bytes charged for a key: its digest, and its place in the map (measured: about 220)."""
MAX_KEY_BYTES: Final = 8 * 1024
"""Bytes of the longest key that is remembered."""


class CacheEntry(Struct, gc=False, kw_only=True):
    """A request that is remembered.

    Attributes:
        cost: bytes that it keeps alive.
        references: how many of the keys lead to it.
        used: of late; see ``second_chance``.
    """

    cost: int
    references: int = 0
    used: bool = False


T = TypeVar("T", bound=CacheEntry)


class RequestCache(Generic[T]):
    """Requests by digests of their keys: callers' credentials are in these, and are not to lie around.

    Several keys may lead to one request. It is charged once, for as long as any of them is remembered: whatever it was
    found by, no more is kept alive than ``bytes`` says.

    Args:
        limit: of ``bytes``.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: OrderedDict[bytes, T] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> T | None:
        """Return the request, and mark it as used."""
        found = self._found.get(hashlib.sha256(key).digest())
        if found is not None:
            found.used = True
        return found

    def keep(self, key: bytes, request: T) -> None:
        """Remember a request under this key, unless either is too large."""
        if len(key) > MAX_KEY_BYTES or request.cost + KEY_OVERHEAD > self._limit:
            return
        self.forget(key)
        self._found[hashlib.sha256(key).digest()] = request
        self.bytes += KEY_OVERHEAD if request.references else KEY_OVERHEAD + request.cost
        request.references += 1
        while self.bytes > self._limit:
            self._drop(victim(self._found))

    def forget(self, key: bytes) -> None:
        """This key leads to nothing any more."""
        digest = hashlib.sha256(key).digest()
        if digest in self._found:
            self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        request = self._found.pop(digest)
        request.references -= 1
        self.bytes -= KEY_OVERHEAD if request.references else KEY_OVERHEAD + request.cost
