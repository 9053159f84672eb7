"""The path of a question, top-down: memory, then the flight; in it Redis, then the hub.

::

    look up → judge → join the flight → look up again → fetch → judge → store
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from proxy.detached import Detached
from proxy.errors import HubError, HubRefusedCredential
from proxy.flight import Flights
from proxy.freshness import Fresh, Gone, Stale, Verdict, fresh_until, gone_at, judge
from proxy.hub import Hub
from proxy.memory import Memory
from proxy.page import Page, read
from proxy.question import Question
from proxy.settings import CacheSettings
from proxy.shared import Shared


class Hit(Struct, frozen=True):
    """Served from a cache, fresh for ``ttl`` more seconds."""

    page: Page
    ttl: float
    source: Literal["memory", "redis"]


class StaleHit(Struct, frozen=True):
    """Served from a cache because the hub failed with ``error``; ``ttl`` is negative or 0."""

    page: Page
    ttl: float
    error: HubError


class Miss(Struct, frozen=True):
    """The hub was asked: for this caller, or (``collapsed``) for another who had just asked the same."""

    page: Page
    ttl: float
    forward: Literal["uri-miss", "stale"]
    stored: bool
    collapsed: bool = False


Outcome: TypeAlias = Hit | StaleHit | Miss


class Pages:
    """Answers questions with pages.

    Attributes:
        hub_state: ``unknown`` before the first request to the hub, then ``ok`` or the last ``error.type``.
    """

    def __init__(
        self,
        settings: CacheSettings,
        hub: Hub,
        memory: Memory,
        shared: Shared | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._memory = memory
        self._shared = shared
        self._clock = clock
        self._flights: Flights[Outcome] = Flights()
        self._storing = Detached()
        self.hub_state = "unknown"

    async def answer(self, question: Question) -> Outcome:
        """Return the page for ``question`` and how it was had.

        Raises:
            HubError: the hub gave no usable answer, and nothing may stand in for it.
            Forwarded: the hub's answer is an error of its own.
        """
        if hit := self._fresh_in_memory(question):
            return hit
        outcome, joined = await self._flights.share(question.key, lambda: self._fly(question))
        return replace(outcome, collapsed=True) if joined and isinstance(outcome, Miss) else outcome

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for fetches and stores under way; return how many go on."""
        return await self._flights.drain(timeout) + await self._storing.drain(timeout)

    def _fresh_in_memory(self, question: Question) -> Hit | None:
        page = self._memory.get(question.key)
        if page is not None:
            match self._judge(page):
                case Fresh(ttl):
                    return Hit(page, ttl, "memory")
        return None

    async def _fly(self, question: Question) -> Outcome:
        """The work shared by all who ask ``question`` now."""
        kept = self._memory.get(question.key)
        if found := await self._newer_in_redis(question, kept):
            kept = found
            match self._judge(found):
                case Fresh(ttl):
                    self._memory.put(found)
                    return Hit(found, ttl, "redis")
        try:
            page = await self._fetch(question)
        except HubError as error:
            return self._stand_in(kept, error)
        stored = self._store(question, page)
        ttl = fresh_until(page, self._settings) - self._clock()
        return Miss(page, ttl, "uri-miss" if kept is None else "stale", stored)

    async def _newer_in_redis(self, question: Question, kept: Page | None) -> Page | None:
        if self._shared is None:
            return None
        found = await self._shared.get(question.redis_key, question.key)
        return found if found and (kept is None or found.asked_at > kept.asked_at) else None

    async def _fetch(self, question: Question) -> Page:
        asked_at = self._clock()
        try:
            body = await self._hub.get(question.path, question.query)
            page = read(question.key, body, asked_at)
        except HubError as error:
            self.hub_state = error.type
            raise
        self.hub_state = "ok"
        return page

    def _store(self, question: Question, page: Page) -> bool:
        """Keep the page as long as it can be of use; nobody waits for Redis to have it."""
        keep_for = gone_at(page, self._settings) - self._clock()
        if keep_for <= 0:
            return False
        if self._shared is not None:
            self._storing.spawn(self._shared.put(question.redis_key, page, keep_for))
        return self._memory.put(page)

    def _stand_in(self, kept: Page | None, error: HubError) -> StaleHit:
        """Serve a stale page in place of the error, unless the hub has withdrawn the right to see it."""
        if kept is not None and not isinstance(error, HubRefusedCredential):
            match self._judge(kept):
                case Fresh(ttl) | Stale(ttl):
                    return StaleHit(kept, min(ttl, 0.0), error)
                case Gone():
                    self._memory.drop(kept.key)
        raise error

    def _judge(self, page: Page) -> Verdict:
        return judge(page, self._clock(), self._settings)
