"""Requests by digests of their bytes, bounded in number and in bytes; the least recently used go first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

ENTRIES: Final = 131_072
"""Requests that are remembered; one costs about 1,400 bytes, what else it holds included, and its words."""
BYTES: Final = 64 * 1024 * 1024
"""Bytes of their words, beside those."""
LONGEST: Final = 8 * 1024
"""Bytes of the longest words that are remembered."""


T = TypeVar("T")


class Recollection(Generic[T]):
    """An LRU by the digest of what it is asked with: callers' keys are in that, and are not to lie around."""

    def __init__(self, entries: int = ENTRIES, size: int = BYTES) -> None:
        self._entries = entries
        self._limit = size
        self._found: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def get(self, words: bytes) -> T | None:
        """Return what these words meant, and mark it as used."""
        name = hashlib.sha256(words).digest()
        found = self._found.get(name)
        if found is not None:
            self._found.move_to_end(name)
            return found[0]
        return None

    def keep(self, words: bytes, thing: T) -> None:
        """Remember what these words mean, unless they are too long."""
        if len(words) > LONGEST:
            return
        self.forget(words)
        self._found[hashlib.sha256(words).digest()] = (thing, len(words))
        self.bytes += len(words)
        while len(self._found) > self._entries or self.bytes > self._limit:
            self.bytes -= self._found.popitem(last=False)[1][1]

    def forget(self, words: bytes) -> None:
        """These words mean nothing any more."""
        found = self._found.pop(hashlib.sha256(words).digest(), None)
        if found is not None:
            self.bytes -= found[1]

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()
        self.bytes = 0
