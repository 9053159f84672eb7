"""The leases of this process' flights: renewed while these last, then ended.

Until a lease is ended, whoever asks the same waits for its holder. So its end is told as soon as Redis can be asked.
Redis may carry out a *claim* long after its answer was given up: when a silent network delivers it, or a server that
hung goes on. So the end of such a claim is marked in Redis, and no lease is left whichever of the two comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from proxy.questions.question import Question
from proxy.redis.landings import landing
from proxy.redis.link import RETRY_INTERVAL, RedisLink
from proxy.redis.scripts import Script
from proxy.redis.shared import LEASE_SECONDS
from proxy.redis_keys import lease_keys
from proxy.tasks.detached import Detached

RENEWAL_INTERVAL: Final = LEASE_SECONDS / 4
"""Seconds between renewals, each of all leases that are held for as long."""
RENEWED_AT_ONCE: Final = 200
"""Leases that one script renews; Redis does nothing else meanwhile."""
MAX_REFUSALS: Final = 20
"""How often a Redis that can be asked, but does not take it (it is read-only, say), is told that a lease has ended."""
MAX_UNENDED: Final = 256
"""Ends that wait for Redis at the most; they are few, as nothing is claimed while it is left alone."""
TOMBSTONE_SECONDS: Final = 60.0
"""Seconds by which a claim may come later than its end: more than a silent network takes to deliver it."""

_LEASE_RENEW: Final = Script("lease_renew")
_LEASE_END: Final = Script("lease_end")


class Held(Struct, frozen=True):
    """A lease that is to be kept; ``since``: the loop's time."""

    question: Question
    since: float


class Leases:
    """Those that this process has, or may have."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._held: dict[str, Held] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._renewing = Detached()
        self._unended: dict[str, Question] = {}
        self._ending = Detached()
        self._closing = False

    @property
    def backing_off(self) -> bool:
        """Whether it is known that Redis cannot be asked just now."""
        return self._link.backing_off

    @contextlib.contextmanager
    def kept(self, question: Question, token: str) -> Iterator[None]:
        """Keep the lease, if it is there, while the block runs."""
        self._held[token] = Held(question, asyncio.get_running_loop().time())
        if self._timer is None:
            self._renew_later()
        try:
            yield
        finally:
            del self._held[token]

    def end(self, question: Question, token: str, failure: bytes = b"", *, unsure: bool) -> None:
        """End a lease without a page, in a task of its own; who waits is told why, if there is something to tell.

        ``unsure``: Redis has not said that the lease was taken.
        """
        self._ending.spawn(self._end(question, token, failure, unsure=unsure))

    async def release(self) -> None:
        """End all that are held, for others to take: this process ends."""
        self._closing = True
        for token, held in list(self._held.items()):
            await self._land(held.question, token)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until Redis has been told; return what goes on."""
        return await self._ending.drain(timeout)

    async def _end(self, question: Question, token: str, failure: bytes, *, unsure: bool) -> None:
        self._unended[token] = question
        if len(self._unended) > MAX_UNENDED:
            del self._unended[next(iter(self._unended))]
        refusals = 0
        while not await self._land(question, token, failure, unsure=unsure):
            refusals += not self.backing_off
            if self._closing or refusals == MAX_REFUSALS or token not in self._unended:
                break
            await asyncio.sleep(RETRY_INTERVAL)
        self._unended.pop(token, None)

    def _renew_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RENEWAL_INTERVAL, self._due)

    def _due(self) -> None:
        """Renew all leases together: where the hub is slow, a thousand may be held, by flights that wait for it."""
        self._timer = None
        if self._held:
            self._renew_later()
            if not self._renewing:
                self._renewing.spawn(self._renew(asyncio.get_running_loop().time() - RENEWAL_INTERVAL))

    async def _renew(self, held_since: float) -> None:
        """Renew those that are held at least since then (the loop's time)."""
        leases = [
            (lease_keys(held.question.page_key, token)[0], token)
            for token, held in self._held.items()
            if held.since <= held_since
        ]
        each = RENEWED_AT_ONCE if self._link.whole else 1
        parts = [leases[start : start + each] for start in range(0, len(leases), each)]
        await asyncio.gather(*map(self._renew_together, parts))

    async def _renew_together(self, leases: list[tuple[str, str]]) -> None:
        arguments = [int(LEASE_SECONDS * 1000), *(token for _, token in leases)]
        await self._link.run(_LEASE_RENEW, "lease_renew", [lease for lease, _ in leases], arguments)

    async def _land(self, question: Question, token: str, failure: bytes = b"", *, unsure: bool = False) -> bool:
        news = b"landed " + landing(question.page_key, token, failure)
        keys = list(lease_keys(question.page_key, token))
        arguments = [token, self._link.names.news, news, int(TOMBSTONE_SECONDS * 1000) if unsure else 0]
        return await self._link.run(_LEASE_END, "lease_end", keys, arguments, int) is not None
