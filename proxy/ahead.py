"""Refreshing pages in demand shortly before they go stale, so that nobody waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from proxy.detached import Detached
from proxy.freshness import OK, Fresh, lifetime
from proxy.page import Page
from proxy.question import Question
from proxy.settings import CacheSettings

LAST: Final = 0.1
"""Last part of a page's freshness in which a caller's question has it refreshed ahead: often asked pages are."""


class Ahead:
    """Decides which hits have their page refreshed.

    Args:
        refresh: refreshes the page of a question, unless another replica just has.
    """

    def __init__(self, settings: CacheSettings, refresh: Callable[[Question], Awaitable[object]]) -> None:
        self._settings = settings
        self._refresh = refresh
        self._under_way: set[str] = set()
        self._detached = Detached()

    def note(self, question: Question, page: Page, verdict: Fresh) -> None:
        """A caller has been served the page.

        One answer vouches for all settled pages of a listing, so one refresh of a listing at a time is enough.
        """
        what = question.listing if page.settled else question.key
        if self.is_due(page, verdict) and what not in self._under_way:
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
