"""The rows of listings in this process's memory, bounded by bytes; the least recently used go first."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from proxy.rows.listing import Listing, size_of
from proxy.rows.reading import Row

ROW_OVERHEAD: Final = 400
"""Bytes charged for a row beside its text: the objects that hold it (measured: about 370)."""
VERSIONS: Final = 16_384
"""Versions of listings in Redis that are remembered."""


class Listings:
    """Listings by key, and which version of each Redis has.

    Attributes:
        bytes: what they hold.
        limit: how much they may hold.
        learned: how often an answer explained what changed (``explained``), or why it did not.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, tuple[Listing, int]] = OrderedDict()
        self._versions: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        self._by_id: dict[str, Row] | None = None
        self.bytes = 0
        self.learned: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Listing | None:
        """Return what is known of a listing, and mark it as used."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def row(self, generation_id: str) -> Row | None:
        """What a listing shows of a generation, if one does."""
        if self._by_id is None:  # made anew when something has changed, as events come in crowds
            self._by_id = {row.id: row for listing, _ in self._kept.values() for row in listing.rows}
        return self._by_id.get(generation_id)

    def version(self, key: str) -> str:
        """The version in Redis, as far as is known; ``""`` for none."""
        return self._versions.get(key, ("", False))[0]

    def agreed(self, key: str) -> Listing | None:
        """What is known of a listing, if Redis has the same under ``version``."""
        kept, same = self._kept.get(key), self._versions.get(key, ("", False))[1]
        return kept[0] if kept is not None and same else None

    def agreed_version(self, key: str) -> str:
        """The version whose rows are all known here; ``""`` for none."""
        return "" if self.agreed(key) is None else self.version(key)

    def put(self, key: str, listing: Listing) -> None:
        """Keep a listing that Redis does not know of, unless it alone is too large."""
        self.diverge(key, self.version(key))
        self.forget(key)
        cost = _cost(listing)
        if cost > self.limit:
            return
        self._kept[key] = (listing, cost)
        self._by_id = None
        self.bytes += cost
        while self.bytes > self.limit:
            self.forget(next(iter(self._kept)))

    def agree(self, key: str, listing: Listing, version: str) -> None:
        """Keep a listing that Redis has under this version."""
        self.put(key, listing)
        self._versions[key] = (version, True)

    def diverge(self, key: str, version: str = "") -> None:
        """Redis has this version, which is not what is known here."""
        self._versions[key] = (version, False)
        self._versions.move_to_end(key)
        while len(self._versions) > VERSIONS:
            self._versions.popitem(last=False)

    def forget(self, key: str) -> None:
        """Drop what is known of a listing."""
        if kept := self._kept.pop(key, None):
            self.bytes -= kept[1]
            self._by_id = None


def _cost(listing: Listing) -> int:
    shared = {id(row) for row in listing.rows} if listing.ended else set()
    ended = {id(row): row for chain in listing.ended for row in chain.rows if id(row) not in shared}
    return listing.chain.size + size_of(ended.values()) + ROW_OVERHEAD * (len(listing.rows) + len(ended))
