"""What this process learned while Redis could not be told, until it has been."""

from __future__ import annotations

from itertools import islice

from proxy.answer.record import Record
from proxy.known.memory import LISTINGS, Memory
from proxy.redis.shared import Shared
from proxy.tasks.detached import Detached


class Untold:
    """Records that the other replicas do not know; of no more listings than memory knows."""

    def __init__(self, shared: Shared, memory: Memory, *, keep_record: float) -> None:
        self._shared = shared
        self._memory = memory
        self._keep_record = keep_record
        self._records: dict[str, tuple[Record, bool]] = {}
        self._telling = Detached()

    def note(self, listing: str, record: Record, *, moved: bool) -> None:
        """Others are to be told of this when Redis is back; that a listing has ``moved`` even if it moved back."""
        before = self._records.get(listing)
        if before is not None or len(self._records) < LISTINGS:
            self._records[listing] = (record, moved or (before is not None and before[1]))

    def tell(self) -> None:
        """Redis is back: tell it, in a task of its own, and learn what it knows."""
        if self._records:
            records, self._records = self._records, {}
            self._telling.spawn(self._tell(records))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await self._telling.drain(timeout)

    async def _tell(self, records: dict[str, tuple[Record, bool]]) -> None:
        left: dict[str, tuple[Record, bool]] = {}
        while records and not self._shared.resting:
            listing, (record, moved) = records.popitem()
            if latest := await self._shared.tell(listing, record, moved=moved, keep_record=self._keep_record):
                self._memory.hear(listing, latest)
            else:
                left[listing] = (record, moved)
        self._put_back(records | left)

    def _put_back(self, records: dict[str, tuple[Record, bool]]) -> None:
        """Keep what Redis could not be told for the next time; there may be very many, so not one by one."""
        for listing in records.keys() & self._records.keys():
            later, moved = self._records[listing]
            records[listing] = (later, moved or records[listing][1])
        self._records = dict(islice((self._records | records).items(), LISTINGS))
