"""What this process learned while Redis could not be told, until it has been."""

from __future__ import annotations

from proxy.detached import Detached
from proxy.memory import LISTINGS, Memory
from proxy.record import Record
from proxy.shared import Shared


class Untold:
    """Records that the other replicas do not know; of no more listings than memory knows."""

    def __init__(self, shared: Shared, memory: Memory, *, keep_record: float) -> None:
        self._shared = shared
        self._memory = memory
        self._keep_record = keep_record
        self._records: dict[str, Record] = {}
        self._telling = Detached()

    def note(self, listing: str, record: Record) -> None:
        """Others are to be told of this when Redis is back."""
        if listing in self._records or len(self._records) < LISTINGS:
            self._records[listing] = record

    def tell(self) -> None:
        """Redis is back: tell it, in a task of its own, and learn what it knows."""
        if self._records:
            records, self._records = self._records, {}
            self._telling.spawn(self._tell(records))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await self._telling.drain(timeout)

    async def _tell(self, records: dict[str, Record]) -> None:
        for listing, record in records.items():
            if result := await self._shared.tell(listing, record, keep_record=self._keep_record):
                self._memory.hear(listing, result[0])
            elif listing not in self._records:
                self.note(listing, record)
