"""Purges, agreed with all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.questions.purges import Purge, Purges, heard
from proxy.redis.link import AGAIN
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
        self._untold = Purges()
        self._telling = self._closing = False
        self._detached = Detached()

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
        if not self._telling:
            self._telling = True
            self._detached.spawn(self._tell_others(self._shared))
        return False

    async def read(self) -> bool:
        """Take in the purges of all replicas; return whether they could be had."""
        found = {} if self._shared is None else await self._shared.purges()
        for purge, at in (found or {}).items():
            self.purges.add(purge, at)
        return found is not None

    def hear(self, news: bytes) -> None:
        """Take in news of one: ``<at> <scope> <what>``; nothing of that from a replica of an older release.

        Raises:
            ValueError: it cannot be read.
        """
        if news:
            self.purges.add(*heard(news))
        else:
            self._detached.spawn(self._find_out())

    async def drain(self, timeout: float) -> int:
        """Ask Redis once more at the most, and wait at most ``timeout`` seconds for that; return what goes on."""
        self._closing = True
        return await self._detached.drain(timeout)

    async def _find_out(self) -> None:
        """Look up what was purged, however often that takes: no other news of it will come."""
        while not await self.read():
            if self._closing:
                break
            await asyncio.sleep(AGAIN)

    async def _tell_others(self, shared: Shared) -> None:
        """Tell of the purges that Redis was not told of; one task for all of them."""
        while self._untold and not self._closing:
            await asyncio.sleep(AGAIN)
            self._untold.forget(self._clock() - self._keep)
            for purge, at in self._untold.times.items():
                if not await shared.purge(purge, at, keep=self._keep):
                    break
                self._untold.drop(purge, at)
        self._telling = False  # before anything else can happen
