"""Which processes there are, as they share what all of them together may do. Each tells Redis that it is there.

With that it tells its time, and all go on from the latest.

One that does not tell any more may have ended, or it is cut off from Redis, and then goes on with its share alone. So
its share is left to it for a while, unless it has said that it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.clock import MAX_TIME, HybridClock
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.tasks.detached import Detached

INTERVAL: Final = 0.25
"""Seconds between counts."""
HEARTBEAT_TIMEOUT: Final = 1.0
"""Seconds after which one that tells nothing is not there."""
ABSENCE_TIMEOUT: Final = 60.0
"""Seconds after which one that is not there is taken to have ended, though it did not say so."""
TOMBSTONE_SECONDS: Final = 10.0
"""Seconds for which one that has ended is not counted again: more than anything is under way to Redis."""

_CENSUS: Final = Script("census", "numbers")


class Census:
    """Counts processes.

    Args:
        configured: how many there are at the least where they cannot be counted.
        hybrid: this process' time.
        keep: seconds for which the latest time outlives all processes: as long as what is judged by it.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        link: RedisLink,
        configured: int,
        hybrid: HybridClock,
        *,
        keep: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._configured = configured
        self._hybrid = hybrid
        self._keep = keep
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._all = self._there = 0
        self._missing_since: float | None = None
        self._counted_at = -HEARTBEAT_TIMEOUT
        self._ended: dict[str, float] = {}
        self._counting = Detached()
        self._ending = asyncio.Event()

    def processes(self) -> int:
        """How many there are; while they cannot be counted, as many as were, at least ``configured``.

        As many as were there at once of late, less those that have ended: who replaces one that died has its share.
        """
        counted = self._clock() - self._counted_at < HEARTBEAT_TIMEOUT
        return self._all if counted else max(self._all, self._configured)

    def agreeing(self) -> int:
        """How many of these agree over Redis, by the last count: whoever can ask about this is not cut off itself."""
        return self.processes() - (self._all - self._there)

    def start(self) -> None:
        """Count again and again, in a task of its own."""
        self._counting.spawn(self._run())

    async def aclose(self) -> None:
        """Say that this process ends."""
        self._ending.set()
        await self._counting.drain(HEARTBEAT_TIMEOUT)
        if self._all:
            await self._link.call("census", self._end)

    def on_end(self, news: bytes) -> None:
        """Take in that another has ended: its id."""
        self._ended[news.decode(errors="replace")] = self._clock()
        self._all = max(1, self._all - 1)
        self._there = min(self._there, self._all)

    async def count(self) -> None:
        """Tell that this process is there, and find out which are, and what time it is."""
        names, arguments = (
            self._link.names,
            [self._id, repr(HEARTBEAT_TIMEOUT), repr(self._hybrid.now()), repr(MAX_TIME), int(self._keep * 1000)],
        )
        answer = await self._link.run(_CENSUS, "census", [names.processes, names.clock], arguments, _read)
        if answer is None:
            return
        latest, new, found = answer
        self._hybrid.advance_to(latest)
        now = self._clock()
        # Its last call, or the answer to this one, may have been under way when one ended.
        self._ended = {one: at for one, at in self._ended.items() if now - at < TOMBSTONE_SECONDS}
        there = len(found - self._ended.keys())
        if there >= self._all:
            self._missing_since = None
        elif self._missing_since is None or new:  # others may be forgotten as this one was
            self._missing_since = now
        if self._missing_since is None or now - self._missing_since >= ABSENCE_TIMEOUT:
            self._all, self._missing_since = there, None
        self._there, self._counted_at = there, now

    async def _run(self) -> None:
        while not self._ending.is_set():
            await self.count()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), INTERVAL)

    async def _end(self) -> None:
        client: Any = self._link.client
        names = self._link.names
        await client.zrem(names.processes, self._id)  # first, so that nobody who hears of it counts this one again
        await client.publish(names.news, f"ends {self._id}")


def _read(answer: Sequence[Any]) -> tuple[float, bool, set[str]]:
    latest, new, found = answer
    return float(latest), new == 1, {one.decode(errors="replace") for one in found}
