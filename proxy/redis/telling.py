"""What Redis could not be told is told until it has heard: nothing else would do it, and others go by what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.redis.allotment import unallotted
from proxy.redis.link import AGAIN
from proxy.tasks.detached import Detached


class Telling:
    """One task that tells Redis, again every ``AGAIN`` seconds, while there is something that it has not heard.

    Args:
        tell: tells all that there is, as far as Redis takes it, and returns whether nothing is left. What comes while
            it runs is its own to see, so it waits for nothing after its last look.
    """

    def __init__(self, tell: Callable[[], Awaitable[bool]]) -> None:
        self._tell = tell
        self._runs = self._draining = False
        self._detached = Detached()

    def begin(self) -> None:
        """There is something to tell."""
        if not self._runs:
            self._runs, self._draining = True, False
            self._detached.spawn(self._run())

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for Redis to be told, now or never; return 1 if that goes on."""
        self._draining = True
        return await self._detached.drain(timeout)

    async def _run(self) -> None:
        unallotted()
        try:
            while not await self._tell():
                if self._draining:
                    break
                await asyncio.sleep(AGAIN)
        finally:
            self._runs = False
