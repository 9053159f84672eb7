"""Refreshing pages in demand shortly before they go stale, or when an event has made them so: nobody waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.demand import Demand
from proxy.detached import Detached
from proxy.freshness import Verdict
from proxy.page import Page
from proxy.question import Question


class Ahead:
    """Refreshes pages, each once at a time.

    Args:
        demand: what callers have asked lately.
        refresh: refreshes the page of a question, unless another replica just has.
        kept: what is kept for a question.
    """

    def __init__(
        self,
        demand: Demand,
        refresh: Callable[[Question], Awaitable[object]],
        kept: Callable[[Question], tuple[Page | None, Verdict]],
    ) -> None:
        self._refresh = refresh
        self._kept = kept
        self._demand = demand
        self._under_way: set[str] = set()
        self._detached = Detached()

    def refresh_doubted(self, credential: str) -> None:
        """An event has made pages doubtful: refresh those in demand."""
        for question in self._demand.lately():
            if question.credential == credential:
                page, verdict = self._kept(question)
                if page is not None and verdict.doubted:
                    self.start(question, page)

    def start(self, question: Question, page: Page) -> None:
        """Refresh the page, unless that is being done.

        One answer vouches for all settled pages of a listing, so one refresh of a listing at a time is enough.
        """
        what = question.listing if page.settled else question.key
        if what not in self._under_way:
            self._under_way.add(what)
            self._detached.spawn(self._run(question, what))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is under way; return how much goes on."""
        return await self._detached.drain(timeout)

    async def _run(self, question: Question, what: str) -> None:
        try:
            await self._refresh(question)
        finally:
            self._under_way.discard(what)
