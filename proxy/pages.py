"""The path of a question, top-down: memory, Redis, the hub.

::

    look up → judge → join the lookup in Redis → judge → join the fetch → judge

A lookup that finds nothing in Redis but what is known here takes the question's lease in the same call, and begins the
fetch.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from msgspec.structs import replace

from proxy.answer.directives import NO_DIRECTIVES, Directives
from proxy.answer.freshness import DOUBT_GRACE, Fresh, Gone, Stale
from proxy.answer.outcome import Hit, Landed, Miss, Outcome, StaleHit
from proxy.errors import HubAnswerTooLarge, HubError, HubRefusedCredential, MomentGone, NotCached, TooManyLookups
from proxy.fetch import Fetcher
from proxy.fetch_queue import FetchQueue, StartedFetch, Wait
from proxy.known.knowledge import Knowledge
from proxy.lookups import Lookups
from proxy.memory_hits import MemoryHits, stand_in
from proxy.questions.demand import Demand
from proxy.questions.question import Question
from proxy.refresh_ahead import RefreshAhead
from proxy.settings import CacheSettings, HubSettings
from proxy.tasks.detached import drain_all

PATIENCE: Final = "patience"
"""The reason for a stale page where the hub dawdles."""
MAX_VAIN_WINDOWS: Final = 2
"""Answers to other questions about the listing that may leave a page unknown before it is asked for itself."""


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
        self._known = knowledge
        self._judging = knowledge.judging
        self._clock = clock
        self.queue = FetchQueue(fetcher, hub)
        self._hold_off = fetcher.hold_off
        self.demand = Demand(clock)
        self.refresh_ahead = RefreshAhead(self.demand, self._refresh_ahead, knowledge.judging.doubted)
        self.memory_hits = MemoryHits(cache, knowledge, self.demand, self.refresh_ahead, fetcher.hold_off, clock=clock)
        self._lookups = Lookups(cache, knowledge, self.queue, self.memory_hits, self._to_ask, clock=clock)

    async def answer(
        self, question: Question, directives: Directives = NO_DIRECTIVES, moment: str = "", wait: Wait | None = None
    ) -> Outcome:
        """Return the page for ``question`` and how it was had; as of the moment of a token, if there is one.

        ``wait``: as of who has begun to; None: it begins now.

        Raises:
            HubError: the hub gave no usable answer, and nothing may stand in for it.
            Forwarded: the hub's answer is an error of its own.
            NotCached: the caller asked for a kept page only, and there is none.
            MomentGone: the moment cannot be returned to.
            TooManyLookups: there is no room for another question that is new here.
        """
        wait = wait or Wait(self.queue.deadline())
        if moment:
            return await self._at(question, directives, moment, wait)
        if outcome := self.memory_hits.answer(question, directives):
            return outcome
        started, refusal = None, self._refusal(question, wait)
        if self._known.trust.has_peers:
            try:
                lookup, joined = await self._lookups.look_up(question, None if refusal else directives, wait)
            except TooManyLookups as busy:
                return self._without_lookup(question, directives, refusal or busy)
            started = lookup.started
            # Where a fetch was begun, Redis had nothing of use to whoever began it; who joined may want less.
            source: Literal["redis", "memory"] = "redis" if lookup.answered else "memory"
            if (joined or started is None) and (outcome := self.memory_hits.serve_kept(question, directives, source)):
                return outcome
            started = started and replace(started, joined=started.joined or joined)
        if directives.only_if_cached:
            raise NotCached
        return await self._from_hub(question, directives, wait, started or refusal)

    async def _at(self, question: Question, directives: Directives, moment: str, wait: Wait) -> Outcome:
        """Serve the page of a moment; if its rows are not known, the hub is asked for all that can be kept, once.

        What lies deeper is served as long as the moment lasts.
        """
        page, landed = self._judging.at(question, moment), None
        if self._known.trust.has_peers and (page is None or not self._known.trust.memory_suffices):
            await self._lookups.look_up(question)  # also for what may have been withdrawn, where news does not come
            page = self._judging.at(question, moment)
        if page is None and self._known.rows.lasts(question, moment):
            if directives.only_if_cached:
                raise NotCached("The moment's page is not known here, and only-if-cached forbids to ask the hub.")
            whole = self._known.rows.whole(question)
            with contextlib.suppress(HubAnswerTooLarge):
                landed = await self.queue.fetch(whole, wait, since=self._judging.vouched(whole))
            page = self._judging.at(question, moment)
            if page is None and (outcome := await self.answer(question, directives, wait=wait)).page.moment == moment:
                return outcome
        if page is None:
            raise MomentGone(
                "The moment that Listing-Moment names has passed, or the listing has changed in a way that cannot be"
                " followed; begin again, with the first page and without Listing-Moment."
            )
        age = max(0.0, self._clock() - page.seen_at)
        if isinstance(landed, Landed):
            return Miss(page, age, 0.0, "uri-miss", landed.stored, landed.collapsed, landed.hub_seconds)
        return Hit(page, age, 0.0, "composed")

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is under way; return how much goes on."""
        return await drain_all(timeout, self._lookups, self.refresh_ahead, self.queue)

    def _refusal(self, question: Question, wait: Wait) -> HubError | None:
        """What a flight would end in, where nothing is kept and the hub is known not to be asked: then none begins."""
        backoff = self._hold_off(question.credential)
        if backoff is None or question in self.queue or backoff.error is HubRefusedCredential:
            return None  # the last: the token may just have been renewed
        if wait.reserved and backoff.decision.reason == "rate":
            return None  # what waits for longer than all others has the turn after theirs
        return backoff.refusal() if isinstance(self._judging.best(question)[1], Gone) else None

    def _without_lookup(self, question: Question, directives: Directives, error: HubError | TooManyLookups) -> Outcome:
        """Serve what others have had meanwhile, or what may stand in, where there was no room to look into Redis."""
        if kept := self.memory_hits.answer(question, directives) or self._stand_in(question, error.type, directives):
            return kept
        raise NotCached if directives.only_if_cached else error

    async def _from_hub(
        self, question: Question, directives: Directives, wait: Wait, begun: StartedFetch | HubError | None
    ) -> Outcome:
        """Have the hub asked, unless that has ``begun`` or is refused; a page that may stand in bounds the wait."""
        before, verdict = self._judging.best(question)
        if isinstance(verdict, Stale) and directives.max_age == math.inf:
            wait = replace(wait, patience=self._settings.patience)
        try:
            if isinstance(begun, HubError):
                raise begun
            landed = await self._wait_for_hub(question, directives, wait, begun)
        except HubRefusedCredential:
            raise  # the right to see what is kept may have been withdrawn with it
        except HubError as error:
            # While the hub was asked in vain, others may have shown newer rows in flight.
            in_vain = error is not begun and before is not None and self._known.trust.has_peers
            if in_vain and not self.memory_hits.is_newest(question):
                await self._lookups.look_up(question)
            if stale := self._stand_in(question, error.type, directives):
                return stale
            raise
        if isinstance(landed, StaleHit):
            return landed
        forward: Literal["uri-miss", "stale", "request"] = "uri-miss" if before is None else "stale"
        if isinstance(verdict, Fresh):
            forward = "request"
        age = max(0.0, self._clock() - landed.vouched_at)
        return Miss(landed.page, age, landed.ttl, forward, landed.stored, landed.collapsed, landed.hub_seconds)

    async def _wait_for_hub(
        self, question: Question, directives: Directives, wait: Wait, started: StartedFetch | None
    ) -> Landed | StaleHit:
        """Have a question fetched that answers this one; return what landed.

        A window that does not explain what has changed in the listing leaves the page unknown, and one may be too
        large; then the page itself is asked for. What others had asked for may be too old for this caller; then it
        asks again.
        """
        impatient = partial(self._stand_in, question, PATIENCE, directives)
        max_age, doubted_at = max(directives.max_age, self._settings.min_refresh), self._known.doubts.since(question)
        wait = replace(wait, stand_in=impatient, came_at=self._clock(), max_age=max_age, doubted_at=doubted_at)
        since, in_vain = self._judging.vouched(question), 0
        while True:
            target = question if in_vain >= MAX_VAIN_WINDOWS else self._to_ask(question)
            target = started.target if started else target
            try:
                landed = await self.queue.fetch(target, wait, since=since, started=started)
            except HubAnswerTooLarge:
                if target.key == question.key:
                    raise
                in_vain = MAX_VAIN_WINDOWS
            else:
                if isinstance(landed, StaleHit):
                    return landed
                shown = self._shown(question, target, landed, since)
                if shown is None:
                    in_vain += 1
                elif wait.accepts(shown, self._clock()):
                    return shown
                else:
                    since = shown.vouched_at
            started = None

    def _shown(self, question: Question, target: Question, landed: Landed, since: float) -> Landed | None:
        """What the answer to ``target`` makes of the question; None: its page is still unknown."""
        if target.key == question.key:
            return landed
        made = self._known.landed(question, since=since)
        return None if made is None else replace(made, collapsed=landed.collapsed)

    def _stand_in(self, question: Question, reason: str, directives: Directives) -> StaleHit | None:
        """Serve a kept page though it is not fresh. Judged now: the listing may have moved meanwhile.

        What may be an older moment than others have been shown stands in for a failed hub, not for a slow one.
        """
        page, verdict = self._judging.best(question, suspect=reason != PATIENCE)
        if page is None or isinstance(verdict, Gone) or not directives.accept_instead(verdict):
            return None
        return stand_in(page, verdict, reason)

    def _to_ask(self, question: Question) -> Question:
        """The question to the hub whose answer serves this one, and as much else that is in demand as can be."""
        return self._known.rows.to_ask(question, self.demand.pages(question.listing))

    async def _refresh_ahead(self, question: Question) -> None:
        """Refresh a page unless another replica has; again, if it is still, or once more, doubtful."""
        target = self._to_ask(question)
        while True:
            if self._known.trust.has_peers:
                await self._lookups.look_up(question)
            page, verdict = self._judging.best(question)
            if page is not None and verdict.doubted:
                await asyncio.sleep(max(0.0, DOUBT_GRACE - verdict.age))
            elif page is not None and isinstance(verdict, Fresh) and not verdict.due:
                return
            await self.queue.refresh(target, since=self._judging.vouched(question))
            if not (self._judging.best(question)[1].doubted and self.demand.has(question)):
                return
            target = question  # the other may have shown too little of the listing
