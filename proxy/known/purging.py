"""Purges, agreed with all replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy.questions.purges import Purge, Purges, heard
from proxy.redis.shared import Shared
from proxy.redis.telling import Telling


class Purging:
    """What is purged, here and in Redis.

    Args:
        keep: seconds after which nothing is kept that was there before a purge.
        clock: Unix seconds.

    Attributes:
        purges: all that still matter.
        since: the time before which answers to a question are purged; 0 if there is none.
    """

    def __init__(self, shared: Shared | None, *, keep: float, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._keep = keep
        self._clock = clock
        self.purges = Purges()
        self.since = self.purges.since
        self._untold = Purges()
        self._telling = Telling(self._tell)

    async def purge(self, purge: Purge) -> bool:
        """Serve nothing of this any more that was asked for before now; return whether all replicas were told.

        If Redis cannot be asked they are told when it is back, as long as this process lives; without one, never.
        """
        now = self._clock()
        self.purges.forget(now - self._keep)
        self.purges.add(purge, now)
        if self._shared is None:
            return False
        if await self._shared.purge(purge, now, keep=self._keep):
            return True
        self._untold.add(purge, now)
        self._telling.begin()
        return False

    async def read(self) -> bool:
        """Take in the purges of all replicas; return whether they could be had."""
        found = {} if self._shared is None else await self._shared.purges()
        for purge, at in (found or {}).items():
            self.purges.add(purge, at)
        return found is not None

    def hear(self, news: bytes) -> None:
        """Take in news of one: ``<at> <scope> <what>``.

        Raises:
            ValueError: it cannot be read.
        """
        self.purges.add(*heard(news))

    async def drain(self, timeout: float) -> int:
        """Ask Redis once more at the most, and wait at most ``timeout`` seconds for that; return what goes on."""
        return await self._telling.drain(timeout)

    async def _tell(self) -> bool:
        """Tell of the purges that Redis was not told of, as long as they matter."""
        self._untold.forget(self._clock() - self._keep)
        for purge, at in self._untold.times.items():
            if self._shared is None or not await self._shared.purge(purge, at, keep=self._keep):
                break
            self._untold.drop(purge, at)
        return not self._untold
