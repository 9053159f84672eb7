"""Purges, agreed with all replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy.questions.purges import Purge, Purges
from proxy.redis.shared import Shared
from proxy.tasks.detached import Detached


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
        self._reading = Detached()

    async def purge(self, purge: Purge) -> bool:
        """Serve nothing of this any more that was asked for before now; return whether all replicas were told."""
        now = self._clock()
        self.purges.forget(now - self._keep)
        self.purges.add(purge, now)
        return self._shared is None or await self._shared.purge(purge, now, keep=self._keep)

    async def read(self) -> None:
        """Take in the purges of all replicas."""
        if self._shared is not None:
            for purge, at in (await self._shared.purges()).items():
                self.purges.add(purge, at)

    def hear(self, _: bytes) -> None:
        """There is news of one."""
        self._reading.spawn(self.read())
