"""What this process learned while Redis could not be told, until it has been; and what Redis may lose again.

A Redis that comes back may lack what it took last: its file is written up to 2 seconds late (``appendfsync everysec``),
and a replica that takes over lags behind. Whoever asks it then would be handed older moments than others have seen. So
all who know of a listing that moved a short while before tell it again. To a Redis that has lost nothing that is
nothing new, and changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.answer.record import Record
from proxy.known.memory import Memory
from proxy.redis.retry_loop import RetryLoop
from proxy.redis.shared import Shared

LOSS_WINDOW: Final = 10.0
"""Seconds up to the last that Redis took: it may have lost what it took in these. A replica that takes over may lag by
so much where that is bounded at all (``min-replicas-max-lag``, which is 10 by default)."""
MAX_TAKEN: Final = 1000
"""Listings that are told again at the most; the hub's budget lets fewer move in that time."""


class PendingRecords:
    """Records that the other replicas do not know, or will not if Redis has lost them.

    Of no more listings than memory knows.

    Args:
        clock: seconds.
    """

    def __init__(self, shared: Shared, memory: Memory, *, keep_record: float, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._memory = memory
        self._keep_record = keep_record
        self._clock = clock
        self._records: OrderedDict[str, tuple[Record, bool]] = OrderedDict()
        self._taken: OrderedDict[str, tuple[Record, float]] = OrderedDict()
        self._moves: OrderedDict[str, Record] = OrderedDict()
        self._retries = RetryLoop(self._report)
        memory.on_move = self._moved

    def note(self, listing: str, record: Record, *, moved: bool) -> None:
        """Others are to be told of this as soon as Redis takes it; that a listing has ``moved`` even if it moved back.

        Redis may have been away for a moment only, in which no news was missed: then nothing else says that it is back,
        and the others, who trust their memory, would go on with what was before.
        """
        before = self._records.get(listing)
        if before is not None or len(self._records) < self._memory.most_listings:
            self._records[listing] = (record, moved or (before is not None and before[1]))
            self._retries.start()

    def report(self) -> None:
        """Redis is back: report them, in a task of its own, and learn what it knows."""
        self._moves.update((listing, record) for listing, (record, _) in self._taken.items())
        self._taken.clear()
        if self._moves or self._records:
            self._retries.start()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await self._retries.drain(timeout)

    async def _report(self) -> bool:
        """Report all, until Redis does not take one: that is the last next time, as it may be what Redis refuses.

        How a listing moved comes before what was learned of it since. That may be but a confirmation: told as a move,
        it would retire all pages of a listing that Redis has lost nothing of.
        """
        while self._moves and not self._shared.backing_off:
            listing, record = self._moves.popitem()
            if not await self._deliver(listing, record, moved=True):
                self._moves.setdefault(listing, record)
                self._moves.move_to_end(listing, last=False)
                return False
        while self._records and not self._shared.backing_off:
            listing, (record, moved) = self._records.popitem()
            if not await self._deliver(listing, record, moved=moved):
                later, moved_since = self._records.get(listing, (record, False))
                self._records[listing] = (later, moved or moved_since)
                self._records.move_to_end(listing, last=False)
                break
        return not (self._moves or self._records)

    async def _deliver(self, listing: str, record: Record, *, moved: bool) -> bool:
        """Report one, and learn what Redis knows of the listing; return whether it could be told."""
        latest = await self._shared.report(listing, record, moved=moved, keep_record=self._keep_record)
        if latest is None:
            return False
        if moved:
            self._note_taken(listing, record)
        self._memory.learn_from_news(listing, latest)
        return True

    def _moved(self, listing: str, record: Record) -> None:
        pending = self._records.get(listing)
        if pending is None or pending[0] != record:
            self._note_taken(listing, record)

    def _note_taken(self, listing: str, record: Record) -> None:
        """Redis has taken it, and told of it. How the listing moved counts, not what has confirmed it since.

        Nothing goes while Redis takes nothing: what it took last before that is what it may have lost.
        """
        now, (before, _) = self._clock(), self._taken.pop(listing, (record, 0.0))
        self._taken[listing] = (before if before.is_after(record) else record, now)
        while len(self._taken) > MAX_TAKEN or next(iter(self._taken.values()))[1] < now - LOSS_WINDOW:
            self._taken.popitem(last=False)
