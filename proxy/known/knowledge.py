"""What this process knows of listings and their pages: memory, and Redis behind it, as far as it may be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

from msgspec.structs import replace

from proxy.answer.freshness import Fresh, keep_record, keep_until, vouched_at
from proxy.answer.outcome import Landed, Leader
from proxy.answer.page import Page, with_moment
from proxy.answer.record import Record
from proxy.known.doubts import Doubts
from proxy.known.invalidations import Invalidations
from proxy.known.judging import Judging
from proxy.known.memory import Memory
from proxy.known.pending_records import PendingRecords
from proxy.known.rows import KnownRows, Step
from proxy.known.trust import Trust
from proxy.questions.question import Question
from proxy.redis.claims import Claim
from proxy.redis.news import News
from proxy.redis.shared import Found, Shared
from proxy.redis.stored import read_record
from proxy.settings import CacheSettings

MAX_FLIGHT_SECONDS: Final = 3600.0
"""Seconds: no answer is under way for longer, whatever is set."""
ATTEMPTS: Final = 3
"""How often an answer is learned from anew when other replicas have moved its listing meanwhile."""


class Knowledge:
    """Memory and Redis as one; what was asked for before ``doubts`` is not fresh, before ``invalidations`` not shown.

    Args:
        rows_bytes: of listings' rows in memory.

    Attributes:
        judging: of what is in memory.
    """

    def __init__(
        self,
        settings: CacheSettings,
        memory: Memory,
        shared: Shared | None,
        news: News | None,
        invalidations: Invalidations,
        *,
        rows_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._shared = shared
        self._clock = clock
        self.trust = Trust(
            news,
            has_peers=shared is not None,
            backing_off=lambda: shared is not None and shared.backing_off,
            suspect_all=memory.suspect_all,
            on_reconnect=self._on_reconnect,
        )
        self.invalidations = invalidations
        self.doubts = Doubts(max(settings.live_ttl, settings.settled_ttl, MAX_FLIGHT_SECONDS))
        keep = keep_record(settings)
        self._pending_records = (
            None if shared is None else PendingRecords(shared, memory, keep_record=keep, clock=clock)
        )
        self.rows = KnownRows(settings, rows_bytes, shared, clock=clock)
        self.judging = Judging(settings, memory, self.rows, self.trust, invalidations, self.doubts, clock=clock)

    async def look_up(self, question: Question, claim: Claim | None = None) -> Found | None:
        """Take in what Redis has, and return it; None, if it cannot be asked."""
        if self._shared is None:
            return None
        kept, record = self._memory.get(question.key), self._memory.record(question.listing)
        page = None if kept is None else kept.page
        found = await self._shared.look_up(question, self._version(question), page=page, record=record, claim=claim)
        await self._take_in(question, found)
        return found

    async def kept(self, questions: Sequence[Question]) -> list[str]:
        """The keys of those of which Redis has something; none, if it cannot be asked."""
        return [] if self._shared is None else await self._shared.kept(questions)

    async def take_lease(self, question: Question, token: str, *, since: float) -> Leader | None:
        """Take the question's lease, or learn who has it; None: there is no Redis to agree over."""
        version = self._version(question)
        lease = None if self._shared is None else await self._shared.take_lease(question, token, version)
        if lease is None or lease.holder != token:
            return None if lease is None else Leader(lease.holder, lease.seconds)
        await self._take_in(question, lease.known)
        return Leader(token, lease.seconds, self.judging.newer(question, lease.known.page, since=since))

    async def handed_over(self, question: Question, *, since: float) -> Landed | None:
        """Return the page that another replica has got from the hub, vouched for after ``since``."""
        found = await self.look_up(question)
        return None if found is None else self.judging.newer(question, found.page, since=since)

    async def _take_in(self, question: Question, found: Found | None, *, outrun: bool = False) -> None:
        """Take in what Redis said, or that it cannot be asked."""
        self.trust.note_read(answered=found is not None)
        if found is None:
            return
        if not self.trust.in_sync:
            await self.invalidations.read()  # as news of them does not come
        page, record = found.page, found.record
        self.rows.take_in(question, found, outrun=outrun)
        if record is None:
            if not self.trust.in_sync and not self.trust.partitioned:  # a Redis that takes nothing need not have it
                self._memory.suspect(question.listing)
            return
        self._memory.learn(question.listing, record)
        kept = self._memory.get(question.key)
        if page is not None and (kept is None or page is not kept.page):
            self._memory.put(question.listing, with_moment(page, self.rows.moment(question, page)))
        self._memory.note_lookup(question.key, record)

    def landed(self, question: Question, *, since: float) -> Landed | None:
        """What the answer to another question about the same listing has made of this one, if that is of use."""
        page, verdict = self.judging.best(question)
        if page is None or not isinstance(verdict, Fresh):
            return None
        record = self._memory.record(question.listing, suspect=True)
        vouched = 0.0 if record is None else vouched_at(page, record)  # the number itself: the age of it is rounded
        if vouched <= since:
            return None
        return Landed(page=page, learned="confirmed", vouched_at=vouched, ttl=verdict.ttl, stored=True)

    async def learn(self, question: Question, page: Page, *, token: str = "") -> Landed:
        """Take in the hub's answer that has just come, here and in Redis; it ends the lease of ``token``."""
        step, announced = await self._move(question, page, token)
        learned = step.learned
        if page.asked_at < self.invalidations.purged.since(question):
            learned = "behind"  # purged while it was under way
        if learned != "behind" and step.change is not None:
            self.rows.keep(question, step.change, announced=announced)
        record = self._memory.learn(question.listing, step.record)
        latest = self.judging.latest(question, page, record)
        page, learned = (page, "behind") if latest is None else (latest, learned)
        page = with_moment(page, self.rows.moment(question, page))
        now = self._clock()
        useful = learned != "behind" and keep_until(page, self._settings) > now
        return Landed(
            page=page,
            learned=learned,
            vouched_at=page.asked_at,
            ttl=self.judging.lifetime(question, page, record).fresh_until - now,
            stored=useful and self._memory.put(question.listing, page),
            announced=announced and step.learned != "behind",
        )

    async def _move(self, question: Question, page: Page, token: str) -> tuple[Step, bool]:
        """Move the listing on by an answer; return how, and whether Redis has been told."""
        received_at = self._clock()
        window = await self.rows.read_rows(question, page)
        step_from = partial(self.rows.step, question, page, window, at=received_at)
        known = self._memory.record(question.listing, suspect=True)
        if self._shared is None or self._pending_records is None:
            return step_from(known), False
        step, result = await self._agree(self._shared, question, page, token, received_at, known, step_from)
        if result == "useless":
            return step, False
        self.trust.note_write(answered=result != "unanswered")
        if result == "agreed":
            return step, True
        latest = self._memory.record(question.listing, suspect=True)
        if result == "unanswered" and latest is not known:  # other answers have come while Redis was asked in vain
            known, step = latest, step_from(latest)
        self._pending_records.note(question.listing, step.record, moved=known is not None and step.learned == "moved")
        return step, False

    async def _agree(
        self,
        shared: Shared,
        question: Question,
        page: Page,
        token: str,
        received_at: float,
        known: Record | None,
        step_from: Callable[[Record | None], Step],
    ) -> tuple[Step, Literal["agreed", "outrun", "unanswered", "useless"]]:
        """Have all replicas move the listing on from what is known; return how, and what came of that.

        Redis moves on only from what the step was made on. Where others have moved it meanwhile, the step is made
        anew on what they know; rows that lose that race each time are not kept.
        """
        step = step_from(known)
        for left in reversed(range(ATTEMPTS)):
            if step.learned == "behind":
                return step, "useless"  # which Redis may have forgotten, and would take it for the newest
            if page.asked_at < self.invalidations.purged.since(question):
                return step, "useless"  # to anybody: the hub is asked again, and who waits is to wait for that
            answer = await shared.store(
                question,
                page,
                received_at=received_at,
                keep_page=keep_until(page, self._settings) - received_at,
                keep_record=keep_record(self._settings),
                token=token,
                contradicts=step.contradicts,
                since=step.record.since,
                rows=None if step.change is None else step.change.written,
            )
            if answer is None:
                return step, "unanswered"
            if not isinstance(answer, Found):
                record, learned = answer
                return replace(step, record=record, learned=learned), "agreed"
            await self._take_in(question, answer, outrun=True)
            # Where Redis has lost the record, what is known here goes on: there were other moments before its since.
            step = step_from(answer.record or self._memory.record(question.listing, suspect=True))
            step = step if left > 1 else replace(step, change=None)
        return step, "outrun"

    def note_refusal(self, question: Question, status: int | None, at: float) -> None:
        """As ``Invalidations.note_refusal``, unless nothing is kept that could be shown all the same."""
        if status == 401 or self.judging.keeps(question.listing):
            self.invalidations.note_refusal(question, status, at)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return 0 if self._pending_records is None else await self._pending_records.drain(timeout)

    def _version(self, question: Question) -> str:
        return self.rows.listings.agreed_version(question.listing)

    def on_record(self, news: bytes) -> None:
        """Take in what another replica has learned of a listing: ``<listing> <record>``.

        Raises:
            ValueError: it cannot be read.
        """
        listing, _, record = news.partition(b" ")
        self._memory.learn_from_news(listing.decode(), read_record(record))

    def _on_reconnect(self) -> None:
        """It is not known what others learned, nor do they know what was learned here; Redis may have lost some."""
        self._memory.suspect_all()
        self.invalidations.on_reconnect()
        if self._pending_records is not None:
            self._pending_records.report()
