"""Requests by digests of their bytes, bounded in number and in bytes; what is not used goes first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from msgspec import Struct

from proxy.known.second_chance import victim

ENTRIES: Final = 131_072
"""Requests that are remembered; one costs about 1,600 bytes, what else it holds included."""
BYTES: Final = 64 * 1024 * 1024
"""Bytes of their words, beside those."""
LONGEST: Final = 8 * 1024
"""Bytes of the longest words that are remembered."""


class Remembered(Struct, gc=False):
    """What can be remembered: ``words`` bytes of them, and whether it was ``used`` of late."""

    words: int
    used: bool


T = TypeVar("T", bound=Remembered)


class Recollection(Generic[T]):
    """What words meant, by their digests: callers' keys are in them, and are not to lie around."""

    def __init__(self, entries: int = ENTRIES, size: int = BYTES) -> None:
        self._entries = entries
        self._limit = size
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
        """Remember what these words mean, unless they are too long."""
        if len(words) > LONGEST:
            return
        self.forget(words)
        self._found[hashlib.sha256(words).digest()] = thing
        self.bytes += thing.words
        while len(self._found) > self._entries or self.bytes > self._limit:
            self.bytes -= self._found.pop(victim(self._found)).words

    def forget(self, words: bytes) -> None:
        """These words mean nothing any more."""
        found = self._found.pop(hashlib.sha256(words).digest(), None)
        if found is not None:
            self.bytes -= found.words

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()
        self.bytes = 0
