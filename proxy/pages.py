"""The path of a question, top-down: memory, Redis, the hub.

::

    look up → judge → join the look into Redis → judge → join the fetch → judge
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from proxy import directives as callers
from proxy.ahead import Ahead
from proxy.directives import Directives
from proxy.errors import HubBusy, HubError, HubRefusedCredential, NotCached
from proxy.fetch import Fetcher
from proxy.flight import Flights
from proxy.freshness import Fresh, Gone, Stale
from proxy.knowledge import Knowledge
from proxy.outcome import Hit, Landed, Miss, Outcome, StaleHit
from proxy.question import Question
from proxy.settings import CacheSettings, HubSettings
from proxy.shield import GaveWay

PATIENCE: Final = "patience"
"""The reason for a stale page where the hub dawdles."""
CROWDED: Final = 1.0
"""Seconds after which those may come again who found too many waiting."""
GRACE: Final = 0.5
"""Seconds beyond the deadline in which a fetch says itself what became of it."""


class Pages:
    """Answers questions with pages."""

    def __init__(
        self,
        cache: CacheSettings,
        hub: HubSettings,
        knowledge: Knowledge,
        fetcher: Fetcher,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = cache
        self._limits = hub
        self._known = knowledge
        self._fetcher = fetcher
        self._clock = clock
        self._looks: Flights[bool] = Flights()
        self._fetches: Flights[Landed] = Flights()
        self._ahead = Ahead(cache, self._refresh_ahead)
        self._waiting = 0

    async def answer(self, question: Question, wishes: Directives = callers.NONE) -> Outcome:
        """Return the page for ``question`` and how it was had.

        Raises:
            HubError: the hub gave no usable answer, and nothing may stand in for it.
            Forwarded: the hub's answer is an error of its own.
            NotCached: the caller asked for a kept page only, and there is none.
        """
        if outcome := self.at_hand(question, wishes):
            return outcome
        if self._known.others:
            looked, _ = await self._looks.share(question.key, lambda: self._known.look(question))
            if outcome := self._from_cache(question, wishes, "redis" if looked else "memory"):
                return outcome
        if wishes.only_if_cached:
            raise NotCached("Nothing that Cache-Control allows is kept, and only-if-cached forbids to ask the hub.")
        return await self._from_hub(question, wishes)

    def at_hand(self, question: Question, wishes: Directives) -> Hit | StaleHit | None:
        """The page in memory, if it may be trusted and is what the caller asks for."""
        return self._from_cache(question, wishes, "memory") if self._known.trusted() else None

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
                self._ahead.note(question, page, verdict)
                return Hit(page, age, ttl, source)
            case Stale(ttl, age):
                return StaleHit(page, age, ttl, "allowed")
            case Gone():
                return None

    async def _from_hub(self, question: Question, wishes: Directives) -> Outcome:
        """Have the hub asked; a page that may stand in bounds what the caller waits."""
        before, verdict = self._known.kept(question)
        patience = self._settings.patience if isinstance(verdict, Stale) and wishes.max_age == math.inf else None
        try:
            answer = await self._wait_for_hub(question, wishes, patience)
        except HubRefusedCredential:
            raise  # the right to see what is kept may have been withdrawn with it
        except HubError as error:
            if stale := self._stand_in(question, error.type):
                return stale
            raise
        if isinstance(answer, StaleHit):
            return answer
        landed, collapsed = answer
        forward: Literal["uri-miss", "stale", "request"] = "uri-miss" if before is None else "stale"
        if isinstance(verdict, Fresh):
            forward = "request"
        age = max(0.0, self._clock() - landed.vouched_at)
        return Miss(landed.page, age, landed.ttl, forward, landed.stored, collapsed=collapsed)

    async def _wait_for_hub(
        self, question: Question, wishes: Directives, patience: float | None
    ) -> tuple[Landed, bool] | StaleHit:
        """Start or join a fetch; return what landed and whether another had asked for it.

        A fetch that was joined may have been sent too long ago for this caller, who then asks again.
        """
        until = asyncio.get_running_loop().time() + self._limits.deadline + GRACE
        since = self._known.vouched(question)
        self._waiting += 1
        try:
            while True:
                if max(self._waiting, len(self._fetches)) > self._limits.max_waiting:
                    raise HubBusy("Too many wait for the hub (hub.max_waiting).", retry_after=CROWDED)
                start = partial(self._fetcher.fetch, question, since=since)
                fetch, joined = self._fetches.join(question.key, start)
                if stale := await self._wait(fetch, question, patience, until):
                    return stale
                try:
                    landed = fetch.result()
                except GaveWay:
                    continue  # it was to be refreshed for nobody; now somebody waits
                collapsed = joined or landed.collapsed
                age = self._clock() - landed.vouched_at
                if not collapsed or age <= max(wishes.max_age, self._settings.min_refresh):
                    return landed, collapsed
                since = landed.vouched_at
        finally:
            self._waiting -= 1

    async def _wait(
        self, fetch: asyncio.Task[Landed], question: Question, patience: float | None, until: float
    ) -> StaleHit | None:
        """Wait until the fetch has ended, or for as long as the caller's patience lasts if a page can stand in."""
        now = asyncio.get_running_loop().time
        await asyncio.wait({fetch}, timeout=max(0.0, until - now()) if patience is None else patience)
        if patience is not None and not fetch.done():
            if stale := self._stand_in(question, PATIENCE):
                return stale
            await asyncio.wait({fetch}, timeout=max(0.0, until - now()))
        if not fetch.done():
            raise HubBusy(f"No answer of the hub within {self._limits.deadline:g} s.", retry_after=CROWDED)
        return None

    def _stand_in(self, question: Question, reason: str) -> StaleHit | None:
        """Serve a kept page though it is not fresh. Judged now: the listing may have moved meanwhile.

        What may be an older moment than others have been shown stands in for a failed hub, not for a slow one.
        """
        page, verdict = self._known.kept(question, suspect=reason != PATIENCE)
        match verdict:
            case Fresh(ttl, age) | Stale(ttl, age) if page is not None:
                return StaleHit(page, age, min(ttl, 0.0), reason)
        return None

    async def _refresh_ahead(self, question: Question) -> None:
        """Refresh a page unless another replica has."""
        if self._known.others:
            await self._looks.share(question.key, lambda: self._known.look(question))
        page, verdict = self._known.kept(question)
        if page is None or not isinstance(verdict, Fresh) or self._ahead.is_due(page, verdict):
            start = partial(self._fetcher.fetch, question, since=self._known.vouched(question), ahead=True)
            await self._fetches.share(question.key, start)
