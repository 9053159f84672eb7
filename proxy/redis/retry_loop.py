"""What Redis could not be told is reported until it takes it: nothing else would, and others go by what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.redis.allotment import unallotted
from proxy.redis.link import RETRY_INTERVAL
from proxy.tasks.detached import Detached


class RetryLoop:
    """One task that reports to Redis, again every ``RETRY_INTERVAL`` seconds, while there is something to report.

    Args:
        attempt: reports all there is, as far as Redis takes it, and returns whether nothing is left. What comes while
            it runs is its own to see, so it waits for nothing after its last look.
    """

    def __init__(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        self._attempt = attempt
        self._runs = self._draining = False
        self._detached = Detached()

    def start(self) -> None:
        """There is something to report."""
        if not self._runs:
            self._runs = True
            self._detached.spawn(self._run())

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told, now or never; return 1 if that goes on."""
        self._draining = True
        return await self._detached.drain(timeout)

    async def _run(self) -> None:
        unallotted()
        try:
            while not await self._attempt():
                if self._draining:
                    break
                await asyncio.sleep(RETRY_INTERVAL)
        finally:
            self._runs = False
