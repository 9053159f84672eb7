"""Requests by digests of their bytes, bounded by the bytes that they keep alive; what is not used goes first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from msgspec import Struct

from proxy.known.second_chance import victim

KEY_OVERHEAD: Final = 240
"""Bytes charged for words: their digest, and its place in the map (measured: about 220)."""
MAX_WORDS_BYTES: Final = 8 * 1024
"""Bytes of the longest words that are remembered."""


class CacheEntry(Struct, gc=False, kw_only=True):
    """A request that is remembered.

    Attributes:
        cost: bytes that it keeps alive.
        references: how many words mean it, of those that are remembered.
        used: of late; see ``second_chance``.
    """

    cost: int
    references: int = 0
    used: bool = False


T = TypeVar("T", bound=CacheEntry)


class RequestCache(Generic[T]):
    """What words meant, by their digests: callers' keys are in them, and are not to lie around.

    Several words may mean one thing. It is charged once, for as long as any of them is remembered: whatever it was
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

    def get(self, words: bytes) -> T | None:
        """Return what these words meant, and mark it as used."""
        found = self._found.get(hashlib.sha256(words).digest())
        if found is not None:
            found.used = True
        return found

    def keep(self, words: bytes, thing: T) -> None:
        """Remember what these words mean, unless they are too long, or it is too large."""
        if len(words) > MAX_WORDS_BYTES or thing.cost + KEY_OVERHEAD > self._limit:
            return
        self.forget(words)
        self._found[hashlib.sha256(words).digest()] = thing
        self.bytes += KEY_OVERHEAD if thing.references else KEY_OVERHEAD + thing.cost
        thing.references += 1
        while self.bytes > self._limit:
            self._drop(victim(self._found))

    def forget(self, words: bytes) -> None:
        """These words mean nothing any more."""
        digest = hashlib.sha256(words).digest()
        if digest in self._found:
            self._drop(digest)

    def clear(self) -> None:
        """Forget all."""
        while self._found:
            self._drop(next(iter(self._found)))

    def _drop(self, digest: bytes) -> None:
        thing = self._found.pop(digest)
        thing.references -= 1
        self.bytes -= KEY_OVERHEAD if thing.references else KEY_OVERHEAD + thing.cost
