"""Watermarks of one kind, agreed with all replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy.questions.watermarks import Extent, Watermarks, heard
from proxy.redis.shared_watermarks import SharedWatermarks
from proxy.redis.telling import Telling


class Agreed:
    """What no longer counts, here and in Redis.

    Args:
        keep: seconds after which nothing is kept that was there before a watermark.
        clock: Unix seconds.

    Attributes:
        since: the time before which answers to a question no longer count; 0 if there is none.
    """

    def __init__(self, shared: SharedWatermarks | None, *, keep: float, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._keep = keep
        self._clock = clock
        self._known = Watermarks()
        self.since = self._known.since
        self._untold = Watermarks()
        self._telling = Telling(self._tell)

    @property
    def changes(self) -> int:
        """How often there was another."""
        return self._known.changes

    async def agree(self, extent: Extent) -> bool:
        """From now on, nothing of this counts that was asked for before; return whether all replicas were told.

        If Redis cannot be asked they are told when it is back, as long as this process lives; without one, never.
        """
        now = self._clock()
        self._add(extent, now)
        if self._shared is None:
            return False
        if await self._shared.add(extent, now, keep=self._keep):
            return True
        self._tell_later(extent, now)
        return False

    def note(self, extent: Extent, at: float) -> None:
        """Nothing of this counts that was asked for before ``at`` (Unix seconds); the others are told meanwhile."""
        self._add(extent, at)
        if self._shared is not None:
            self._tell_later(extent, at)

    async def read(self) -> bool:
        """Take in what all replicas have agreed on; return whether it could be had."""
        found = {} if self._shared is None else await self._shared.times()
        for extent, at in (found or {}).items():
            self._known.add(extent, at)
        return found is not None

    def hear(self, news: bytes) -> None:
        """Take in news of one: ``<at> <scope> <what>``.

        Raises:
            ValueError: it cannot be read.
        """
        self._known.add(*heard(news))

    async def drain(self, timeout: float) -> int:
        """Ask Redis once more at the most, and wait at most ``timeout`` seconds for that; return what goes on."""
        return await self._telling.drain(timeout)

    def _add(self, extent: Extent, at: float) -> None:
        self._known.forget(at - self._keep)
        self._known.add(extent, at)

    def _tell_later(self, extent: Extent, at: float) -> None:
        self._untold.add(extent, at)
        self._telling.begin()

    async def _tell(self) -> bool:
        """Tell of what Redis was not told of, as long as it matters."""
        self._untold.forget(self._clock() - self._keep)
        for extent, at in self._untold.times.items():
            if self._shared is None or not await self._shared.add(extent, at, keep=self._keep):
                break
            self._untold.drop(extent, at)
        return not self._untold
