"""What this process learned while Redis could not be told, until it has been."""

from __future__ import annotations

from collections import OrderedDict

from proxy.answer.record import Record
from proxy.known.memory import Memory
from proxy.redis.shared import Shared
from proxy.redis.telling import Telling


class Untold:
    """Records that the other replicas do not know; of no more listings than memory knows."""

    def __init__(self, shared: Shared, memory: Memory, *, keep_record: float) -> None:
        self._shared = shared
        self._memory = memory
        self._keep_record = keep_record
        self._records: OrderedDict[str, tuple[Record, bool]] = OrderedDict()
        self._telling = Telling(self._tell)

    def note(self, listing: str, record: Record, *, moved: bool) -> None:
        """Others are to be told of this when Redis is back; that a listing has ``moved`` even if it moved back."""
        before = self._records.get(listing)
        if before is not None or len(self._records) < self._memory.most_listings:
            self._records[listing] = (record, moved or (before is not None and before[1]))

    def tell(self) -> None:
        """Redis is back: tell it, in a task of its own, and learn what it knows."""
        if self._records:
            self._telling.begin()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await self._telling.drain(timeout)

    async def _tell(self) -> bool:
        """Tell all, until Redis does not take one: that is the last the next time, as it may be what Redis refuses."""
        while self._records and not self._shared.resting:
            listing, (record, moved) = self._records.popitem()
            latest = await self._shared.tell(listing, record, moved=moved, keep_record=self._keep_record)
            if latest is None:
                later, moved_since = self._records.get(listing, (record, False))
                self._records[listing] = (later, moved or moved_since)
                self._records.move_to_end(listing, last=False)
                break
            self._memory.hear(listing, latest)
        return not self._records
