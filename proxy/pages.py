"""The path of a question, top-down: memory, Redis, the hub.

::

    look up → judge → join the look into Redis → judge → join the fetch → learn → judge
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, Literal

from proxy import directives as callers
from proxy.detached import Detached
from proxy.directives import Directives
from proxy.errors import HubError, HubRefusedCredential, NotCached
from proxy.flight import Flights
from proxy.freshness import Fresh, Gone, Stale
from proxy.hub import Hub
from proxy.knowledge import Knowledge, Landed
from proxy.outcome import Hit, Miss, Outcome, StaleHit
from proxy.page import Page, read
from proxy.question import Question
from proxy.settings import CacheSettings

AHEAD: Final = 0.1
"""Last part of a page's freshness in which a caller's question has it refreshed ahead: often asked pages are."""
PATIENCE: Final = "patience"
"""The reason for a stale page where the hub dawdles."""
ATTEMPTS: Final = 3
"""How often the hub is asked for one question when its answers overlap with others of another moment."""


class Pages:
    """Answers questions with pages.

    Attributes:
        hub_state: ``unknown`` before the first request to the hub, then ``ok`` or the last ``error.type``.
    """

    def __init__(self, settings: CacheSettings, hub: Hub, knowledge: Knowledge, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._hub = hub
        self._known = knowledge
        self._clock = clock
        self._looks: Flights[bool] = Flights()
        self._fetches: Flights[Landed] = Flights()
        self._ahead = Detached()
        self.hub_state = "unknown"

    async def answer(self, question: Question, wishes: Directives = callers.NONE) -> Outcome:
        """Return the page for ``question`` and how it was had.

        Raises:
            HubError: the hub gave no usable answer, and nothing may stand in for it.
            Forwarded: the hub's answer is an error of its own.
            NotCached: the caller asked for a kept page only, and there is none.
        """
        if self._known.trusted() and (outcome := self._from_cache(question, wishes, "memory")):
            return outcome
        if self._known.others:
            looked, _ = await self._looks.share(question.key, lambda: self._known.look(question))
            if outcome := self._from_cache(question, wishes, "redis" if looked else "memory"):
                return outcome
        if wishes.only_if_cached:
            raise NotCached("Nothing that Cache-Control allows is kept, and only-if-cached forbids to ask the hub.")
        return await self._from_hub(question, wishes)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is under way; return how much goes on."""
        work = (self._looks, self._ahead, self._fetches)
        return sum([await one.drain(timeout) for one in work])

    def _from_cache(
        self, question: Question, wishes: Directives, source: Literal["memory", "redis"]
    ) -> Hit | StaleHit | None:
        """Serve what is kept, if it is what the caller asks for."""
        page, verdict = self._known.kept(question)
        if page is None or not wishes.accept(verdict, self._settings.min_refresh):
            return None
        match verdict:
            case Fresh(ttl, age):
                if self._nearly_stale(page, ttl) and self._may_refresh(question, page):
                    self._ahead.spawn(self._refresh_ahead(question, page))
                return Hit(page, age, ttl, source)
            case Stale(ttl, age):
                return StaleHit(page, age, ttl, "allowed")
            case Gone():
                return None

    async def _from_hub(self, question: Question, wishes: Directives) -> Outcome:
        """Ask the hub, or join who is asking; a page that may stand in bounds what the caller waits."""
        before, verdict = self._known.kept(question)
        while True:
            fetch, joined = self._fetches.join(question.key, lambda: self._fetch(question))
            patience = self._settings.patience if isinstance(verdict, Stale) and wishes.max_age == math.inf else None
            await asyncio.wait({fetch}, timeout=patience)
            if not fetch.done():
                if stale := self._stand_in(question, PATIENCE):
                    return stale
                await asyncio.wait({fetch})
            try:
                landed = fetch.result()
            except HubRefusedCredential:
                raise  # the right to see what is kept may have been withdrawn with it
            except HubError as error:
                if stale := self._stand_in(question, error.type):
                    return stale
                raise
            age = max(0.0, self._clock() - landed.page.asked_at)
            if not joined or age <= max(wishes.max_age, self._settings.min_refresh):
                break  # else the request that was joined had been sent too long ago for this caller
        forward: Literal["uri-miss", "stale", "request"] = "uri-miss" if before is None else "stale"
        if isinstance(verdict, Fresh):
            forward = "request"
        return Miss(landed.page, age, landed.ttl, forward, landed.stored, collapsed=joined)

    def _stand_in(self, question: Question, reason: str) -> StaleHit | None:
        """Serve a kept page though it is not fresh. Judged now: the listing may have moved meanwhile.

        What may be an older moment than others have been shown stands in for a failed hub, not for a slow one.
        """
        page, verdict = self._known.kept(question, suspect=reason != PATIENCE)
        match verdict:
            case Fresh(ttl, age) | Stale(ttl, age) if page is not None:
                return StaleHit(page, age, min(ttl, 0.0), reason)
        return None

    def _nearly_stale(self, page: Page, ttl: float) -> bool:
        return ttl < AHEAD * (self._settings.settled_ttl if page.settled else self._settings.live_ttl)

    def _may_refresh(self, question: Question, page: Page) -> bool:
        """Whether there is room to refresh ahead: half of the hub's connections are left to callers who wait."""
        return len(self._fetches) < self._hub.concurrency / 2 and self._known.begin_refresh(question, page)

    async def _refresh_ahead(self, question: Question, page: Page) -> None:
        """Refresh a page that callers often ask for before it goes stale, so that nobody waits.

        Unless another replica has. One answer vouches for all settled pages of a listing, so one such refresh a
        listing is enough.
        """
        try:
            if self._known.others:
                await self._looks.share(question.key, lambda: self._known.look(question))
            kept, verdict = self._known.kept(question)
            if kept is None or not isinstance(verdict, Fresh) or self._nearly_stale(kept, verdict.ttl):
                await self._fetches.share(question.key, lambda: self._fetch(question))
        finally:
            self._known.end_refresh(question, page)

    async def _fetch(self, question: Question) -> Landed:
        """Ask the hub until its answer is not behind what is known, store it, and tell the others."""
        for _ in range(ATTEMPTS):
            asked_at = self._clock()
            page = await self._ask(question, asked_at)
            landed = await self._known.learn(question, page)
            if landed.learned != "behind":
                break
        return landed

    async def _ask(self, question: Question, asked_at: float) -> Page:
        try:
            body = await self._hub.get(question.path, question.query)
            page = read(question.key, body, asked_at)
        except HubError as error:
            self.hub_state = error.type
            raise
        self.hub_state = "ok"
        return page
