"""What is known of listings' rows, in this process and in Redis: how answers move it, and what is composed of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec
from msgspec import Struct

from proxy.answer.page import Page
from proxy.answer.record import TIME_PRECISION, Learned, Record, advance_record
from proxy.known.cached_page import CachedPage
from proxy.known.completion import UNKNOWN_ORIGIN, Origin
from proxy.known.listings import Listings
from proxy.questions.demand import PageAndSize
from proxy.questions.query import MAX_PAGE_SIZE
from proxy.questions.question import Question, top_of
from proxy.redis.shared import Found, Shared
from proxy.redis.stored_rows import ListingUpdate, read_listing, version_of, write_listing
from proxy.rows.composing import compose, compose_at, lasts, outline, overtakes, write_token
from proxy.rows.envelope import Unfit
from proxy.rows.listing import MAX_BYTES, Listing, Unexplained, advance_listing
from proxy.rows.reading import Window, read_window
from proxy.rows.unlisted_members import UnlistedMembers
from proxy.rows.windows import STEP, fitting, to_ask
from proxy.settings import CacheSettings
from proxy.tasks.off_loop import OFF_LOOP_BYTES, off_loop_if_large

_decode_origin = msgspec.json.Decoder(Origin).decode


class Change(Struct, frozen=True):
    """A listing after an answer, and what that changes in Redis, if there is one.

    ``contradicts``: the answer left unexplained what was known of the very moment that its totals tell.
    """

    listing: Listing
    written: ListingUpdate | None
    unexplained: Unexplained | None
    contradicts: bool


class Step(Struct, frozen=True):
    """How an answer moves its listing on: its record, and its rows, where they change.

    ``contradicts``: see ``record.advance_record``.
    """

    record: Record
    learned: Learned
    change: Change | None = None
    contradicts: bool = False


class KnownRows:
    """The rows of all listings.

    Args:
        limit: bytes of rows in memory.
        clock: Unix seconds that do not step back.

    Attributes:
        listings: in memory.
    """

    def __init__(
        self,
        settings: CacheSettings,
        limit: int,
        shared: Shared | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._clock = clock
        self._unlisted = UnlistedMembers()
        self.listings = Listings(limit)

    def outlined(self, question: Question, record: Record, *, purged_at: float, confirmed_at: float) -> Page | None:
        """What judging a composed page needs, if one can be had that is of the listing's latest moment.

        ``confirmed_at``: rows in flight that no answer asked for since then has shown count as unknown.
        """
        listing = self._current(question, record)
        if listing is None or not self._unlisted.fit(question, record.stamp.total_entries, listing.envelope):
            return None
        return outline(question, listing, purged_at=purged_at, confirmed_at=confirmed_at - TIME_PRECISION)

    def overtake(self, question: Question, page: Page, record: Record) -> bool:
        """Whether later answers have shown rows of this page, which may be others by now though the totals are not."""
        listing = self._current(question, record)
        return not page.settled and listing is not None and overtakes(listing, question, page.asked_at + TIME_PRECISION)

    def shows_latest(self, question: Question, kept: CachedPage, record: Record) -> bool:
        """Whether a page in memory has its rows as later answers have shown them."""
        listing = self._current(question, record)
        return listing is not None and kept.shows_latest(question, listing)

    def composed(self, question: Question, record: Record) -> Page | None:
        """The page of the listing's latest moment, if its rows are known."""
        listing = self._current(question, record)
        return None if listing is None else compose(question, listing)

    def origin_of(self, generation_id: str) -> Origin:
        """Where a generation belongs, as far as any row in memory says."""
        row = self.listings.row(generation_id)
        try:
            return UNKNOWN_ORIGIN if row is None else _decode_origin(row.text)
        except msgspec.MsgspecError:
            return UNKNOWN_ORIGIN

    def at(self, question: Question, token: str, *, asked_since: float) -> Page | None:
        """The page of an earlier moment, if all of its rows are known, asked for since then, and their links live."""
        listing = self.listings.get(question.listing)
        page = None if listing is None else compose_at(question, listing, token, asked_since=asked_since)
        if listing is None or page is None or (page.dead_at is not None and page.dead_at <= self._clock()):
            return None
        return page if self._unlisted.fit(question, page.stamp.total_entries, listing.envelope) else None

    def lasts(self, question: Question, token: str) -> bool:
        """Whether a moment of the listing can be returned to."""
        listing = self.listings.get(question.listing)
        return listing is not None and lasts(listing, token)

    def moment(self, question: Question, page: Page) -> str:
        """The token of the moment that a page is of; none where pages are not composed."""
        listing = self.listings.get(question.listing) if question.kind == "page" else None
        return "" if listing is None else write_token(listing.chain.name, page.stamp)

    def to_ask(self, question: Question, wanted: list[PageAndSize]) -> Question:
        """The question to ask the hub for this one, with these pages of the listing in demand."""
        listing = self.listings.get(question.listing) if self._serves(question) else None
        if listing is None:
            return question
        target = to_ask(question, listing, wanted)
        # The answer to the target is of use only if this page can be composed with what it has.
        around = listing.stamp.total_entries, listing.envelope
        of_use = self._unlisted.fit(question, *around) and self._unlisted.may_fit(target, *around)
        return target if of_use else question

    def whole(self, question: Question) -> Question:
        """The question that shows as much of the listing as is kept, from the top."""
        listing = self.listings.get(question.listing)
        most = min(MAX_PAGE_SIZE, self._settings.listing_depth)
        if listing is not None:
            entries = -(-(listing.stamp.total_entries + STEP) // STEP) * STEP
            most = max(1, min(most, entries, fitting(listing, MAX_BYTES)))
        return top_of(question, most)

    async def read_rows(self, question: Question, page: Page) -> Window | None:
        """Read an answer as rows, away from the event loop if it is large; None if nothing can be composed of it."""
        if not self._serves(question):
            return None
        try:
            window = await off_loop_if_large(len(page.body), read_window, question, page)
        except Unfit as unfit:
            self.listings.learned[str(unfit)] += 1
            return None
        self._unlisted.note(question, page.stamp.total_entries, window.envelope)
        return window

    def step(self, question: Question, page: Page, window: Window | None, known: Record | None, at: float) -> Step:
        """What an answer that came ``at`` (Unix seconds) makes of its listing; ``window``: what can be read of it."""
        record, learned = advance_record(known, page.stamp, page.asked_at, at)
        change = None if window is None or learned == "behind" else self._change(question, window, record)
        if change is None or not change.contradicts:
            return Step(record, learned, change)
        record, learned = advance_record(known, page.stamp, page.asked_at, at, contradicts=True)
        return Step(record, learned, None if learned == "behind" else change, contradicts=True)

    def keep(self, question: Question, change: Change, *, announced: bool) -> None:
        """Take a change over; ``announced``: Redis has it."""
        self.listings.learned[change.unexplained or "explained"] += 1
        if announced and change.written is not None:
            self.listings.agree(question.listing, change.listing, change.written.version)
        else:
            self.listings.put(question.listing, change.listing)

    def take_in(self, question: Question, found: Found, *, outrun: bool = False) -> None:
        """Take in what Redis has, as far as it is not known here.

        ``outrun``: it has refused what was to be written, as that does not go on from what it has.
        """
        if found.page is not None and len(found.page.body) <= OFF_LOOP_BYTES and self._serves(question):
            self._unlisted.note_once(question, found.page)
        if found.head is None or not self._serves(question):
            return
        key = question.listing
        if not found.head:
            self.listings.diverge(key)
            return
        version = version_of(found.head)
        if _is_before(version, self.listings.agreed_version(key)):
            if outrun:  # it has lost what this process wrote: the next to write it writes all of it
                self.listings.diverge(key, version)
            return  # else it was read before this process wrote
        try:
            listing = read_listing(key, found.head, found.rows, self.listings.agreed(key))
        except ValueError as error:
            # The next to write it writes all of it, in the place of whatever this version is.
            self.listings.diverge(key, version)
            if self._shared is not None:
                self._shared.garbage("rows", error)
            return
        self.listings.agree(key, listing, version)

    def _change(self, question: Question, window: Window, record: Record) -> Change | None:
        """What an answer, after which the listing's record is ``record``, makes of its rows; None: nothing."""
        key, now = question.listing, self._clock()
        before = self.listings.get(key)
        listing, unexplained = advance_listing(
            before,
            window,
            now,
            since=record.since,
            name=secrets.token_hex(8),
            depth=self._settings.listing_depth,
        )
        if listing is before:
            return None
        written = None
        if self._shared is not None:
            agreed, expected = self.listings.agreed(key), self.listings.version(key)
            written = write_listing(key, listing, agreed, expected, secrets.token_hex(4))
        contradicts = unexplained is not None and before is not None and before.is_of(window.stamp, record.since)
        return Change(listing, written, unexplained, contradicts)

    def _serves(self, question: Question) -> bool:
        """Whether pages are composed for such questions: live ones are not, where each is asked for anew anyway."""
        cache = self._settings
        return cache.compose and question.kind == "page" and cache.live_ttl > 0 and cache.settled_ttl > 0

    def _current(self, question: Question, record: Record) -> Listing | None:
        """What is known of the listing, if that is its latest moment."""
        listing = self.listings.get(question.listing) if self._serves(question) else None
        return listing if listing is not None and listing.is_of(record.stamp, record.since) else None


def _is_before(version: str, other: str) -> bool:
    """Whether a version is an earlier one of the same lineage."""
    (number, _, lineage), (latest, _, line) = version.partition("."), other.partition(".")
    return lineage == line and number.isdecimal() and latest.isdecimal() and int(number) < int(latest)
