"""Refreshing pages in demand shortly before they go stale, or when an event has made them so: nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.answer.page import Page
from proxy.questions.demand import Demand
from proxy.questions.question import Question
from proxy.tasks.detached import Detached


class RefreshAhead:
    """Refreshes pages, each once at a time.

    Args:
        demand: what callers have asked lately.
        refresh: refreshes the page of a question, unless another replica just has.
        doubted: the page in memory, if an event has put it in doubt.
    """

    def __init__(
        self,
        demand: Demand,
        refresh: Callable[[Question], Awaitable[object]],
        doubted: Callable[[Question], Page | None],
    ) -> None:
        self._refresh = refresh
        self._doubted = doubted
        self._demand = demand
        self._to_look: set[str] = set()
        self._under_way: set[str] = set()
        self._detached = Detached()

    def refresh_doubted(self, credential: str) -> None:
        """An event has made pages doubtful: refresh those in demand.

        On the next turn of the loop: events come in bursts, and one pass serves them all.
        """
        if credential not in self._to_look:
            self._to_look.add(credential)
            asyncio.get_running_loop().call_soon(self._refresh_doubted, credential)

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

    def _refresh_doubted(self, credential: str) -> None:
        self._to_look.discard(credential)
        for question in self._demand.in_demand():
            if question.credential == credential and (page := self._doubted(question)) is not None:
                self.start(question, page)

    async def _run(self, question: Question, what: str) -> None:
        try:
            await self._refresh(question)
        finally:
            self._under_way.discard(what)
