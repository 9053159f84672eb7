"""What can be answered from memory, without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from proxy.admission.refusals import Backoff
from proxy.answer.directives import Directives
from proxy.answer.freshness import Fresh, Gone, Stale
from proxy.answer.outcome import Hit, StaleHit
from proxy.answer.page import Page
from proxy.errors import HubRefusedCredential
from proxy.known.cached_page import CachedPage
from proxy.known.knowledge import Knowledge
from proxy.questions.demand import TICK, Demand
from proxy.questions.question import Question
from proxy.refresh_ahead import RefreshAhead
from proxy.settings import CacheSettings


def stand_in(page: Page, verdict: Fresh | Stale, reason: str) -> StaleHit:
    """The page in place of an answer of the hub, which is not to be had for this ``reason``."""
    return StaleHit(page, verdict.age, min(verdict.ttl, 0.0), reason)


class AskedBefore(Protocol):
    """A question that was asked before, and where memory keeps the page that is its answer, if that is known."""

    question: Question
    kept: CachedPage | None


class MemoryHits:
    """Serves pages that are kept.

    Args:
        demand: is told what callers ask.
        refresh_ahead: refreshes pages that are due.
        hold_off: holds a caller off the hub, by its credential; see ``Shield``.
        clock: Unix seconds.
    """

    def __init__(
        self,
        cache: CacheSettings,
        knowledge: Knowledge,
        demand: Demand,
        refresh_ahead: RefreshAhead,
        hold_off: Callable[[str], Backoff | None],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = cache
        self._trust = knowledge.trust
        self._judging = knowledge.judging
        self._demand = demand
        self._refresh_ahead = refresh_ahead
        self._hold_off = hold_off
        self._clock = clock
        self._tick = 0.0
        self._busy = ""

    def answer(self, question: Question, directives: Directives) -> Hit | StaleHit | None:
        """The page in memory, if it may be trusted and is what the caller asks for."""
        self._demand.note(question)
        return self.serve_kept(question, directives, "memory") if self._trust.memory_suffices else None

    def has(self, question: Question, directives: Directives) -> bool:
        """Whether ``answer`` would most likely find what the caller asks for; nothing comes of the question."""
        page, verdict = self._judging.best(question)
        return (
            page is not None and self._trust.memory_suffices and directives.accept(verdict, self._settings.min_refresh)
        )

    def cached(self, question: Question) -> CachedPage | None:
        """Where memory keeps the page, for ``serve_again``: it empties that when the page goes."""
        return self._judging.cached(question)

    def serve_again(self, before: AskedBefore) -> Hit | None:
        """As ``answer`` without directives, of what was asked before; None: nothing is sure any more.

        Nearly every hit comes this way, for a third of the cost: nothing is looked up, only the clock is compared.
        """
        kept = before.kept
        if kept is None or not self._trust.memory_suffices:
            return None
        now = self._clock()
        hit = kept.serve_again(now, self._judging.changes)
        if not 0 <= now - self._tick < TICK:
            self._tick, self._busy = now, ""
        # The objects are compared: to compare what they say, and to look at the question, would touch what is cold.
        if hit is not None and kept.noted is not self._tick:
            kept.noted = self._tick
            if kept.listing is not self._busy:
                self._note(before.question, kept.listing, now)
        return hit

    def _note(self, question: Question, listing: str, now: float) -> None:
        """A caller asks, for the first time in this tick."""
        if self._demand.busy(listing, now):
            self._busy = listing  # for the rest of the tick
        else:
            self._demand.note(question)

    def serve_kept(
        self, question: Question, directives: Directives, source: Literal["memory", "redis"]
    ) -> Hit | StaleHit | None:
        """The page that is kept, wherever it came from, if it is what the caller asks for."""
        page, verdict = self._judging.best(question, show=True)
        if page is None or isinstance(verdict, Gone):
            return None
        if not directives.accept(verdict, self._settings.min_refresh):
            instead = not directives.only_if_cached and directives.accept_instead(verdict)
            return self._standing_in(question, page, verdict) if instead else None
        if isinstance(verdict, Stale):
            return StaleHit(page, verdict.age, verdict.ttl, "allowed")
        if verdict.due and self._hold_off(question.credential) is None:
            self._refresh_ahead.start(question, page)
        return Hit(page, verdict.age, verdict.ttl, "composed" if page.composed else source)

    def _standing_in(self, question: Question, page: Page, verdict: Fresh | Stale) -> StaleHit | None:
        """What a caller would get after the hub has not been asked; so a crowd is served at once.

        A live page may be newer in another replica, though its listing has not moved: it stands in only where
        Redis was asked within ``TICK``.
        """
        backoff = self._hold_off(question.credential)
        if backoff is None or backoff.error is HubRefusedCredential:
            return None
        if not page.settled and self._trust.has_peers and not self.is_newest(question):
            return None
        return stand_in(page, verdict, backoff.error.type)

    def note_lookup(self, question: Question) -> None:
        """Redis has been asked: what is kept for the question is the newest that any replica has."""
        kept = self._judging.cached(question)
        if kept is not None:
            kept.looked_up_at = self._clock()

    def is_newest(self, question: Question) -> bool:
        """Whether somebody has just looked into Redis."""
        kept = self._judging.cached(question)
        return kept is not None and 0 <= self._clock() - kept.looked_up_at < TICK
