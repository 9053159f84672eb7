"""What this process knows of listings and their pages: memory, Redis behind it, and whether memory may be trusted.

Trust has three states. *Together*: there is no Redis, so there are no others, or their news is flowing; memory
is as good as Redis. *Looking*: news is interrupted but Redis answers; each question looks there first. *Apart*:
Redis cannot be had; only what this process itself learned since counts, and for no longer than ``live_ttl``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from proxy.detached import Detached
from proxy.freshness import Gone, Verdict, fresh_until, judge, keep_until, longest
from proxy.listing import Learned, Record, learn
from proxy.memory import LISTINGS, Memory
from proxy.news import News
from proxy.page import Page
from proxy.purges import Purge, Purges
from proxy.question import Question
from proxy.settings import CacheSettings
from proxy.shared import Shared

RECORD_MARGIN: Final = 60.0
"""Seconds for which Redis keeps a record longer than any page that it judges."""


class Landed(Struct, frozen=True):
    """An answer of the hub, taken in: whether it was stored, and for how long it is fresh."""

    page: Page
    learned: Learned
    ttl: float
    stored: bool


class Knowledge:
    """Memory and Redis as one."""

    def __init__(
        self,
        settings: CacheSettings,
        memory: Memory,
        shared: Shared | None,
        news: News | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._shared = shared
        self._news = news
        self._clock = clock
        self._cut_off = False
        self._mute = False
        self._purges = Purges()
        self._untold: dict[str, Record] = {}
        self._telling = Detached()
        self._refreshing: set[str] = set()
        if news is not None:
            news.on_gap, news.on_purge = self._reunite, self.read_purges

    @property
    def others(self) -> bool:
        """Whether there may be other processes that learn of the same listings."""
        return self._shared is not None

    def trusted(self) -> bool:
        """Whether memory is as good as Redis: there are no others, or all that they learn is heard and told."""
        if self._shared is None:
            return True
        return self._news is not None and self._news.flowing and not self._mute

    def kept(self, question: Question, *, suspect: bool = False) -> tuple[Page | None, Verdict]:
        """Return the page in memory and whether it may be served now.

        ``suspect``: judged by a record that may be outdated too, for when the alternative is no answer at all.
        """
        page = self._memory.get(question.key)
        if page is None:
            return None, Gone()
        if page.asked_at < self._purges.since(question):
            return page, Gone()
        record = self._memory.record(question.listing, suspect=suspect)
        return page, judge(page, record, self._clock(), self._settings, apart=self._apart)

    async def look(self, question: Question) -> bool:
        """Take in what Redis has for the question; return whether Redis could be asked."""
        if self._shared is None:
            return False
        found = await self._shared.look(question)
        if found is None:
            if not self._cut_off and not self.trusted():
                self._cut_off = True
                self._memory.suspect_all()
            return False
        if self._cut_off:
            self._reunite()
        if not self.trusted():
            await self.read_purges()  # as news of them does not come
        page, record = found
        if record is None:
            if not self.trusted():
                self._memory.suspect(question.listing)
            return True
        self._memory.learn(question.listing, record)
        if page is not None:
            self._memory.put(question.listing, page)
        return True

    async def learn(self, question: Question, page: Page) -> Landed:
        """Take in the hub's answer that has just come, here and in Redis."""
        heard_at = self._clock()
        result = None
        if self._shared is not None:
            keep_page = keep_until(page, self._settings) - heard_at
            result = await self._shared.learn(
                question, page, heard_at=heard_at, keep_page=keep_page, keep_record=self._keep_record
            )
            if self._mute and result is not None:
                self._reunite()
            self._mute = result is None  # down, full or read-only: others do not hear of this
        if result is None:
            known = self._memory.record(question.listing, suspect=True)
            result = learn(known, page.stamp, page.asked_at, heard_at)
            self._note_untold(question.listing, result[0])
        record, learned = result
        if page.asked_at < self._purges.since(question):
            learned = "behind"  # purged while it was under way
        record = self._memory.learn(question.listing, record)
        now = self._clock()
        useful = learned != "behind" and keep_until(page, self._settings) > now
        return Landed(
            page=page,
            learned=learned,
            ttl=fresh_until(page, record, self._settings, apart=self._apart) - now,
            stored=useful and self._memory.put(question.listing, page),
        )

    async def purge(self, purge: Purge) -> bool:
        """Serve nothing of this any more that was asked for before now; return whether all replicas were told."""
        now = self._clock()
        self._purges.forget(now - self._keep_record)
        self._purges.add(purge, now)
        return self._shared is None or await self._shared.purge(purge, now, keep=self._keep_record)

    async def read_purges(self) -> None:
        """Take in the purges of all replicas."""
        if self._shared is not None:
            for purge, at in (await self._shared.purges()).items():
                self._purges.add(purge, at)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return await self._telling.drain(timeout)

    def begin_refresh(self, question: Question, page: Page) -> bool:
        """Whether the page may be refreshed ahead now: neither it nor another that would vouch for it is being so."""
        what = _vouched_with(question, page)
        if what in self._refreshing:
            return False
        self._refreshing.add(what)
        return True

    def end_refresh(self, question: Question, page: Page) -> None:
        """The refresh ahead has ended."""
        self._refreshing.discard(_vouched_with(question, page))

    @property
    def _apart(self) -> bool:
        """Whether there are others of whom nothing is heard, or to whom nothing can be told."""
        return self._mute or self._cut_off

    @property
    def _keep_record(self) -> float:
        return longest(self._settings) + RECORD_MARGIN

    def _reunite(self) -> None:
        """Redis or its news is back: it is not known what others learned, nor do they know what was learned here."""
        self._cut_off = False
        self._memory.suspect_all()
        if self._shared is not None and self._untold:
            untold, self._untold = self._untold, {}
            self._telling.spawn(self._tell(self._shared, untold))

    async def _tell(self, shared: Shared, untold: dict[str, Record]) -> None:
        for listing, record in untold.items():
            if result := await shared.tell(listing, record, keep_record=self._keep_record):
                self._memory.hear(listing, result[0])
            elif listing not in self._untold:
                self._note_untold(listing, record)

    def _note_untold(self, listing: str, record: Record) -> None:
        """Others are to be told of this when Redis is back; of no more listings than memory knows."""
        if self._shared is not None and (listing in self._untold or len(self._untold) < LISTINGS):
            self._untold[listing] = record


def _vouched_with(question: Question, page: Page) -> str:
    """What one answer refreshes: all settled pages of a listing, or a live page alone."""
    return question.listing if page.settled else question.key
