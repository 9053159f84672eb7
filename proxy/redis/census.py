"""Which processes there are, as they share what all of them together may do. Each tells Redis that it is there.

One that does not tell any more may have ended, or it is cut off from Redis, and then goes on with its share alone. So
its share is left to it for a while, unless it has said that it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from proxy.questions.question import REDIS_PREFIX
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis.shared import NEWS
from proxy.tasks.detached import Detached

PROCESSES: Final = f"{REDIS_PREFIX}:processes"
"""A sorted set of processes' ids."""
INTERVAL: Final = 0.25
"""Seconds between counts."""
GONE: Final = 1.0
"""Seconds after which one that tells nothing is not there."""
ABSENCE: Final = 60.0
"""Seconds after which one that is not there is taken to have ended, though it did not say so."""

_CENSUS: Final = Script("census", "suspicion")


class Census:
    """Counts processes.

    Args:
        configured: how many there are at the least where they cannot be counted.
        clock: seconds, monotonic.
    """

    def __init__(self, link: RedisLink, configured: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._configured = configured
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._seen: dict[str, float] = {}
        self._there = 0
        self._counted_at = -GONE
        self._counting = Detached()
        self._ending = asyncio.Event()

    def processes(self) -> int:
        """How many there are; while they cannot be counted, as many as were, at least ``configured``."""
        return len(self._seen) if self._counted else max(len(self._seen), self._configured)

    def agreeing(self) -> int:
        """How many of these are known to agree over Redis; all, where none was ever counted."""
        if self._counted or not self._seen:
            return self._there or self._configured
        return 1

    def start(self) -> None:
        """Count again and again, in a task of its own."""
        self._counting.spawn(self._run())

    async def aclose(self) -> None:
        """Say that this process ends."""
        self._ending.set()
        await self._counting.drain(GONE)
        if self._seen:
            await self._link.call("census", self._end)

    def hear_end(self, news: bytes) -> None:
        """Take in that another has ended: its id."""
        self._seen.pop(news.decode(errors="replace"), None)

    async def count(self) -> None:
        """Tell that this process is there, and find out which are."""
        found = await self._link.run(_CENSUS, "census", [PROCESSES], [self._id, repr(GONE)], _read)
        if found is None:
            return
        now = self._clock()
        if not self._counted:  # nor were the others seen in the meantime, wherever they were
            self._seen = dict.fromkeys(self._seen, now)
        self._seen |= dict.fromkeys(found, now)
        self._seen = {one: at for one, at in self._seen.items() if now - at < ABSENCE}
        self._there, self._counted_at = len(found), now

    @property
    def _counted(self) -> bool:
        """Whether that is as long ago as counts are apart, or a little more."""
        return self._clock() - self._counted_at < GONE

    async def _run(self) -> None:
        while not self._ending.is_set():
            await self.count()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), INTERVAL)

    async def _end(self) -> None:
        client: Any = self._link.client
        await client.zrem(PROCESSES, self._id)  # first, so that nobody who hears of it counts this one again
        await client.publish(NEWS, f"ends {self._id}")


def _read(found: list[bytes]) -> list[str]:
    return [one.decode(errors="replace") for one in found]
