"""Refreshing pages in demand shortly before they go stale, or when an event has made them so: nobody waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from proxy.demand import Demand
from proxy.detached import Detached
from proxy.freshness import OK, Fresh, Verdict, lifetime
from proxy.page import Page
from proxy.question import Question
from proxy.settings import CacheSettings

LAST: Final = 0.1
"""Last part of a page's freshness in which a caller's question has it refreshed ahead: often asked pages are."""


class Ahead:
    """Decides which hits have their page refreshed.

    Args:
        demand: what callers have asked lately.
        refresh: refreshes the page of a question, unless another replica just has.
        kept: what is kept for a question.
    """

    def __init__(
        self,
        settings: CacheSettings,
        demand: Demand,
        refresh: Callable[[Question], Awaitable[object]],
        kept: Callable[[Question], tuple[Page | None, Verdict]],
    ) -> None:
        self._settings = settings
        self._refresh = refresh
        self._kept = kept
        self._demand = demand
        self._under_way: set[str] = set()
        self._detached = Detached()

    def note(self, question: Question, page: Page, verdict: Fresh) -> None:
        """A caller has been served the page."""
        if self.is_due(page, verdict):
            self._start(question, page)

    def refresh_doubted(self, credential: str) -> None:
        """An event has made pages doubtful: refresh those in demand."""
        for question in self._demand.lately():
            if question.credential == credential:
                page, verdict = self._kept(question)
                if page is not None and verdict.doubted:
                    self._start(question, page)

    def _start(self, question: Question, page: Page) -> None:
        """Refresh the page, unless that is being done.

        One answer vouches for all settled pages of a listing, so one refresh of a listing at a time is enough.
        """
        what = question.listing if page.settled else question.key
        if what not in self._under_way:
            self._under_way.add(what)
            self._detached.spawn(self._run(question, what))

    def is_due(self, page: Page, verdict: Fresh) -> bool:
        """Whether the page is in the last part of its freshness."""
        return page.status == OK and verdict.ttl < LAST * lifetime(page, self._settings)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is under way; return how much goes on."""
        return await self._detached.drain(timeout)

    async def _run(self, question: Question, what: str) -> None:
        try:
            await self._refresh(question)
        finally:
            self._under_way.discard(what)
