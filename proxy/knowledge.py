"""What this process knows of listings and their pages: memory, Redis behind it, and whether memory may be trusted.

Trust has three states. *Together*: there is no Redis, so there are no others, or their news is flowing; memory
is as good as Redis. *Looking*: news is interrupted but Redis answers; each question looks there first. *Apart*:
Redis cannot be had; only what this process itself learned since counts, and for no longer than ``live_ttl``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.detached import Detached
from proxy.freshness import Gone, Verdict, current, fresh_until, judge, keep_until, longest, vouched_at
from proxy.listing import learn
from proxy.memory import Memory
from proxy.news import News
from proxy.outcome import Landed, Led
from proxy.page import Page
from proxy.purges import Purge, Purges
from proxy.question import Question
from proxy.settings import CacheSettings
from proxy.shared import Known, Shared
from proxy.stored import read_record
from proxy.untold import Untold

RECORD_MARGIN: Final = 60.0
"""Seconds for which Redis keeps a record longer than any page that it judges."""


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
        self._alone = False
        self._purges = Purges()
        self._untold = None if shared is None else Untold(shared, memory, keep_record=self._keep_record)
        self._reading = Detached()
        if news is not None:
            news.on_subscribed = self.read_purges
            news.on_gap.append(self._reunite)
            news.topics[b"record"] = self._hear_record
            news.topics[b"purged"] = self._hear_purge

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
        return self._shared is not None and await self._take_in(question, await self._shared.look(question))

    async def lead(self, question: Question, token: str, *, since: float) -> Led | None:
        """Take the question's lease, or learn who has it; None: there is no Redis to agree over."""
        lead = None if self._shared is None else await self._shared.lead(question, token)
        if lead is None:
            return None
        landed = None
        if lead.holder == token:
            await self._take_in(question, lead.known)
            landed = self._newer(question, lead.known, since)
        return Led(lead.holder, lead.seconds, landed)

    async def handed(self, question: Question, *, since: float) -> Landed | None:
        """Return the page that another replica has got from the hub, vouched for after ``since``."""
        found = None if self._shared is None else await self._shared.look(question)
        await self._take_in(question, found)
        return None if found is None else self._newer(question, found, since)

    async def _take_in(self, question: Question, found: Known | None) -> bool:
        """Take in what Redis said, or that it cannot be asked; return whether it could."""
        if found is None:
            if not self.trusted():
                self._cut_off = True
                self._stand_alone()
            return False
        self._alone = False
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

    def _newer(self, question: Question, found: Known, since: float) -> Landed | None:
        """The page that was found, if the hub vouched for it after ``since``: fresh or not, as any answer is."""
        page, record, now = found[0], self._memory.record(question.listing), self._clock()
        if page is None or record is None or not current(page, record) or page.asked_at < self._purges.since(question):
            return None
        if vouched_at(page, record) <= since or (page.dead_at is not None and page.dead_at <= now):
            return None
        return Landed(
            page=page,
            learned="confirmed",
            vouched_at=vouched_at(page, record),
            ttl=fresh_until(page, record, self._settings, apart=self._apart) - now,
            stored=keep_until(page, self._settings) > now,
            collapsed=True,
        )

    def vouched(self, question: Question) -> float:
        """When the hub was asked with the latest answer that vouches for the page in memory; 0 if there is none."""
        page, record = self._memory.get(question.key), self._memory.record(question.listing, suspect=True)
        return 0.0 if page is None or record is None or not current(page, record) else vouched_at(page, record)

    async def learn(self, question: Question, page: Page, *, token: str = "") -> Landed:
        """Take in the hub's answer that has just come, here and in Redis; it ends the lease of ``token``."""
        heard_at = self._clock()
        result = None
        if self._shared is not None:
            keep_page = keep_until(page, self._settings) - heard_at
            result = await self._shared.learn(
                question, page, heard_at=heard_at, keep_page=keep_page, keep_record=self._keep_record, token=token
            )
            if self._mute and result is not None:
                self._reunite()
            self._alone = self._alone and result is None
            self._mute = result is None  # down, full or read-only: others do not hear of this
        told = result is not None
        if result is None:
            self._stand_alone()
            known = self._memory.record(question.listing, suspect=True)
            result = learn(known, page.stamp, page.asked_at, heard_at)
            if self._untold is not None:
                self._untold.note(question.listing, result[0])
        record, learned = result
        if page.asked_at < self._purges.since(question):
            learned = "behind"  # purged while it was under way
        record = self._memory.learn(question.listing, record)
        now = self._clock()
        useful = learned != "behind" and keep_until(page, self._settings) > now
        return Landed(
            page=page,
            learned=learned,
            vouched_at=page.asked_at,
            ttl=fresh_until(page, record, self._settings, apart=self._apart) - now,
            stored=useful and self._memory.put(question.listing, page),
            told=told and result[1] != "behind",
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
        return 0 if self._untold is None else await self._untold.drain(timeout)

    @property
    def _apart(self) -> bool:
        """Whether there are others of whom nothing is heard, or to whom nothing can be told."""
        return self._mute or self._cut_off

    def _hear_record(self, news: bytes) -> None:
        listing, _, record = news.partition(b" ")
        self._memory.hear(listing.decode(), read_record(record))

    def _hear_purge(self, _: bytes) -> None:
        self._reading.spawn(self.read_purges())

    @property
    def _keep_record(self) -> float:
        return longest(self._settings) + RECORD_MARGIN

    def _stand_alone(self) -> None:
        """Redis cannot be had: of what is in memory, only what this process learns from now on counts."""
        if self._shared is not None and not self._alone:
            self._alone = True
            self._memory.suspect_all()

    def _reunite(self) -> None:
        """Redis or its news is back: it is not known what others learned, nor do they know what was learned here."""
        self._cut_off = False
        self._memory.suspect_all()
        if self._untold is not None:
            self._untold.tell()
