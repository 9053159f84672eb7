"""Whether what is in memory may be served: pages as they came, or composed of rows where that is better."""

from __future__ import annotations

from collections.abc import Callable

from proxy.answer.freshness import (
    Fresh,
    Gone,
    Lifetime,
    Verdict,
    in_doubt,
    is_current,
    keep_until,
    lifetime_of,
    vouched_at,
)
from proxy.answer.outcome import Landed
from proxy.answer.page import Page, with_moment
from proxy.answer.record import Record
from proxy.known.cached_page import NO_LIFETIME, CachedPage
from proxy.known.doubts import Doubts
from proxy.known.invalidations import Invalidations
from proxy.known.memory import Memory
from proxy.known.rows import KnownRows
from proxy.known.shown_windows import ShownWindows
from proxy.known.trust import Trust
from proxy.questions.question import Question
from proxy.settings import CacheSettings


class Judging:
    """Judges pages by all that bears on them.

    Args:
        clock: Unix seconds.

    Attributes:
        shown: what of listings callers have been shown, and when.
    """

    def __init__(
        self,
        settings: CacheSettings,
        memory: Memory,
        rows: KnownRows,
        trust: Trust,
        invalidations: Invalidations,
        doubts: Doubts,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._rows = rows
        self._trust = trust
        self._invalidations = invalidations
        self._purged_at, self._withdrawn_at = invalidations.purged.since, invalidations.withdrawn.since
        self._doubts = doubts
        self._clock = clock
        self._last = NO_LIFETIME
        self._changes = 0
        self.shown = ShownWindows(memory.most_listings)

    @property
    def changes(self) -> int:
        """How often something was learned by which a page in memory may be judged otherwise than before.

        The same object as long as it is the same number, so that pages that remember it share it.
        """
        changes = self._memory.changes + self._trust.changes + self._doubts.changes + self._invalidations.changes
        if changes != self._changes:
            self._changes = changes
        return self._changes

    def best(self, question: Question, *, suspect: bool = False, show: bool = False) -> tuple[Page | None, Verdict]:
        """Return the best page that memory has or that can be composed, and whether it may be served now.

        What is composed is kept, unless it is of a suspect record.

        ``suspect``: judged by a record that may be outdated too, for when the alternative is no answer at all.
        ``show``: a caller is to have it, which counts.
        """
        kept = self._memory.get(question.key)
        if kept is not None and kept.changes_seen == self.changes:
            verdict = kept.show(self._clock()) if show else kept.verdict(self._clock())
            if isinstance(verdict, Fresh):  # as nearly all are
                return kept.page, verdict
        record = self._memory.record(question.listing, suspect=suspect)
        if record is None:
            return None if kept is None else kept.page, Gone()
        if kept is None:
            return self._composed(question, record, None, Gone(), suspect=suspect)
        # That another replica may have seen newer rows is suspicion; that there are some here is none.
        by_rows = self._rows.overtake(question, kept.page, record)
        if by_rows or self.shown.overtake(question, kept.page) or (kept.overtaken_at > 0 and not suspect):
            page, verdict = self._composed(question, record, kept.page, Gone(), suspect=suspect)
            if suspect and by_rows and isinstance(verdict, Gone) and self._rows.shows_latest(question, kept, record):
                verdict = self._reckoned(question, kept, record, keep=False, show=show)
            return page, verdict
        verdict = self._reckoned(question, kept, record, keep=not suspect, show=show)
        if isinstance(verdict, Fresh):
            return kept.page, verdict
        return self._composed(question, record, kept.page, verdict, suspect=suspect)

    def at(self, question: Question, token: str) -> Page | None:
        """The page as of the moment of the token, if that can be returned to and its rows are known.

        It is what it was, so nobody has to vouch for it; but the hub must not have refused since to show it.
        """
        return self._rows.at(question, token, asked_since=self._invalidations.since(question))

    def cached(self, question: Question) -> CachedPage | None:
        """Where memory keeps the page."""
        return self._memory.get(question.key)

    def keeps(self, listing: str) -> bool:
        """Whether there is anything of the listing that may be shown some time."""
        record = self._memory.record(listing, suspect=True)
        return record is not None or self._rows.listings.get(listing) is not None

    def latest(self, question: Question, page: Page, record: Record) -> Page | None:
        """The hub's page, or, if answers asked later have come first, one composed of them; None: it is not known."""
        if not (self._rows.overtake(question, page, record) or self.shown.overtake(question, page)):
            self.shown.note(question, page.asked_at)
            return page
        purged_at = self._purged_at(question)
        outline = self._rows.outlined(question, record, purged_at=purged_at, confirmed_at=record.confirmed_at)
        return None if outline is None else self._rows.composed(question, record)

    def newer(self, question: Question, page: Page | None, *, since: float) -> Landed | None:
        """A page that another replica had from the hub, if that vouched for it after ``since``: fresh or not.

        No event may have made it doubtful: whoever waits for it may have begun to after that.
        """
        record, now = self._memory.record(question.listing), self._clock()
        if page is None or record is None or not is_current(page, record) or page.asked_at < self._purged_at(question):
            return None
        vouched = vouched_at(page, record)
        if vouched <= since or vouched < self._doubts.since(question):
            return None
        if page.dead_at is not None and page.dead_at <= now:
            return None
        return Landed(
            page=with_moment(page, self._rows.moment(question, page)),
            learned="confirmed",
            vouched_at=vouched,
            ttl=self.lifetime(question, page, record).fresh_until - now,
            stored=keep_until(page, self._settings) > now,
            collapsed=True,
        )

    def vouched(self, question: Question) -> float:
        """When the hub was asked with the latest answer that vouches for the page in memory; 0 if there is none."""
        kept, record = self._memory.get(question.key), self._memory.record(question.listing, suspect=True)
        if kept is None or record is None or not is_current(kept.page, record):
            return 0.0
        return vouched_at(kept.page, record)

    def doubted(self, question: Question) -> Page | None:
        """The page in memory, if it is of its listing's latest moment and an event has put it in doubt."""
        kept, record = self._memory.get(question.key), self._memory.record(question.listing)
        if kept is None or record is None or not is_current(kept.page, record):
            return None
        return kept.page if in_doubt(kept.page, record, self._doubts.since(question)) else None

    def lifetime(self, question: Question, page: Page, record: Record) -> Lifetime:
        """When a page of the listing's latest moment may be served."""
        return lifetime_of(
            page,
            record,
            self._settings,
            partitioned=self._trust.partitioned,
            doubted_at=self._doubts.since(question),
            withdrawn_at=self._withdrawn_at(question),
        )

    def _reckoned(self, question: Question, kept: CachedPage, record: Record, *, keep: bool, show: bool) -> Verdict:
        """Judge a page by the record; its lifetime is kept until something changes, if the record is trusted."""
        if not is_current(kept.page, record) or kept.page.asked_at < self._purged_at(question):
            return Gone()
        lifetime = self.lifetime(question, kept.page, record)
        if not keep:
            return lifetime.verdict(self._clock())
        if lifetime == self._last:
            lifetime = self._last  # pages of one listing mostly have the same: fewer objects to look at, and to keep
        self._last = lifetime
        kept.reckon(lifetime, self.changes)
        return kept.show(self._clock()) if show else kept.verdict(self._clock())

    def _composed(
        self, question: Question, record: Record, page: Page | None, verdict: Verdict, *, suspect: bool = False
    ) -> tuple[Page | None, Verdict]:
        """A page composed of rows, if that is better than the one that is kept.

        Rows in flight that the latest answer does not show may have ended by then. Instead of no answer at all they do,
        unless the page that is kept has them as they were later.
        """
        purged_at, confirmed_at = self._purged_at(question), record.confirmed_at
        if suspect:
            confirmed_at = 0.0 if page is None else page.seen_at
        outline = self._rows.outlined(question, record, purged_at=purged_at, confirmed_at=confirmed_at)
        if outline is None:
            return page, verdict
        better = self.lifetime(question, outline, record).verdict(self._clock())
        if isinstance(better, Fresh) or (isinstance(verdict, Gone) and not isinstance(better, Gone)):
            composed = self._rows.composed(question, record)
            if composed is not None:
                if not suspect:
                    self._memory.put(question.listing, composed)
                return composed, better
        return page, verdict
