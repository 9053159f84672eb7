"""Watermarks of one kind, agreed with all replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy.questions.watermarks import Extent, Watermarks, read_news
from proxy.redis.retry_loop import RetryLoop
from proxy.redis.shared_watermarks import SharedWatermarks


class AgreedWatermarks:
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
        self._pending = Watermarks()
        self._compared = True
        self._retries = RetryLoop(self._report)

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
        self._report_later(extent, now)
        return False

    def note(self, extent: Extent, at: float) -> None:
        """Nothing of this counts that was asked for before ``at`` (Unix seconds); the others are told meanwhile."""
        self._add(extent, at)
        if self._shared is not None:
            self._report_later(extent, at)

    async def read(self) -> bool:
        """Take in what all replicas have agreed on; return whether it could be had."""
        return await self._read() is not None

    def on_reconnect(self) -> None:
        """Redis is back, perhaps without what it took last: it is told again what it lacks, in a task of its own."""
        if self._shared is not None and self._known:
            self._compared = False
            self._retries.start()

    def on_news(self, news: bytes) -> None:
        """Take in news of one: ``<at> <scope> <what>``.

        Raises:
            ValueError: it cannot be read.
        """
        self._known.add(*read_news(news))

    async def drain(self, timeout: float) -> int:
        """Ask Redis once more at the most, and wait at most ``timeout`` seconds for that; return what goes on."""
        return await self._retries.drain(timeout)

    def _add(self, extent: Extent, at: float) -> None:
        self._known.forget(at - self._keep)
        self._known.add(extent, at)

    def _report_later(self, extent: Extent, at: float) -> None:
        self._pending.add(extent, at)
        self._retries.start()

    async def _read(self) -> dict[Extent, float] | None:
        found = {} if self._shared is None else await self._shared.times()
        for extent, at in (found or {}).items():
            self._known.add(extent, at)
        return found

    async def _compare(self) -> bool:
        """Find out what Redis lacks of what is known here; return whether it could be asked."""
        self._compared = True  # before it is asked: it may be another by the time that it has answered
        found = await self._read()
        if found is None:
            self._compared = False
            return False
        for extent, at in self._known.times.items():
            if found.get(extent, 0.0) < at:
                self._pending.add(extent, at)
        return True

    async def _report(self) -> bool:
        """Tell of what Redis was not told of or has lost, as long as it matters."""
        if not self._compared and not await self._compare():
            return False
        self._pending.forget(self._clock() - self._keep)
        for extent, at in self._pending.times.items():
            if self._shared is None or not await self._shared.add(extent, at, keep=self._keep):
                break
            self._pending.drop(extent, at)
        return self._compared and not self._pending
