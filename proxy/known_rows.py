"""What is known of listings' rows, in this process and in Redis: how answers move it, and what is composed of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from proxy.completion import UNKNOWN, Origin
from proxy.composing import compose, compose_at, lasts, outline, write_token
from proxy.demand import Place
from proxy.envelope import Unfit
from proxy.listing import MAX_BYTES, Fault, Listing, learn
from proxy.listings import Listings
from proxy.page import Page
from proxy.question import Question, top_of
from proxy.record import Record
from proxy.rows import Window, read_window
from proxy.settings import CacheSettings
from proxy.shared import Found, Shared
from proxy.stored import OFF_LOOP
from proxy.stored_rows import Written, read, version_of, write
from proxy.windows import STEP, fitting, to_ask

ATTEMPTS: Final = 3
"""How often rows are computed anew when other replicas have moved them meanwhile."""
LARGEST: Final = 1000
"""Rows that the hub shows at most in one answer (hub contract)."""

_decode_origin = msgspec.json.Decoder(Origin).decode


class Change(Struct, frozen=True):
    """A listing after an answer, and what that changes in Redis."""

    listing: Listing
    written: Written
    fault: Fault | None


class KnownRows:
    """The rows of all listings.

    Args:
        limit: bytes of rows in memory.
        keep: seconds for which Redis keeps rows that nobody moves.
        clock: Unix seconds.

    Attributes:
        listings: in memory.
    """

    def __init__(
        self, settings: CacheSettings, limit: int, shared: Shared | None, *, keep: float, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._keep = keep
        self._shared = shared
        self._clock = clock
        self.listings = Listings(limit)

    def outlined(self, question: Question, record: Record, *, purged_at: float) -> Page | None:
        """What judging a composed page needs, if one can be had that is of the listing's latest moment."""
        listing = self._current(question, record)
        return None if listing is None else outline(question, listing, purged_at=purged_at)

    def composed(self, question: Question, record: Record) -> Page | None:
        """The page of the listing's latest moment, if its rows are known."""
        listing = self._current(question, record)
        return None if listing is None else compose(question, listing)

    def origin_of(self, generation_id: str) -> Origin:
        """Where a generation belongs, as far as any row in memory says."""
        row = self.listings.row(generation_id)
        try:
            return UNKNOWN if row is None else _decode_origin(row.text)
        except msgspec.MsgspecError:
            return UNKNOWN

    def at(self, question: Question, token: str, *, purged_at: float) -> Page | None:
        """The page of an earlier moment, if all of its rows are known, and their links live."""
        listing = self.listings.get(question.listing)
        page = None if listing is None else compose_at(question, listing, token, purged_at=purged_at)
        return None if page is None or (page.dead_at is not None and page.dead_at <= self._clock()) else page

    def lasts(self, question: Question, token: str) -> bool:
        """Whether a moment of the listing can be returned to."""
        listing = self.listings.get(question.listing)
        return listing is not None and lasts(listing, token)

    def moment(self, question: Question, page: Page) -> str:
        """The token of the moment that a page is of; none where pages are not composed."""
        listing = self.listings.get(question.listing) if question.kind == "page" else None
        return "" if listing is None else write_token(listing.chain.name, page.stamp)

    def to_ask(self, question: Question, wanted: list[Place]) -> Question:
        """The question to ask the hub for this one, with these pages of the listing in demand."""
        return to_ask(question, self.listings.get(question.listing), wanted) if self._serves(question) else question

    def whole(self, question: Question) -> Question:
        """The question that shows as much of the listing as is kept, from the top."""
        listing = self.listings.get(question.listing)
        most = min(LARGEST, self._settings.listing_depth)
        if listing is not None:
            entries = -(-(listing.stamp.total_entries + STEP) // STEP) * STEP
            most = max(1, min(most, entries, fitting(listing, MAX_BYTES)))
        return top_of(question, most)

    async def read(self, question: Question, page: Page) -> Window | None:
        """Read an answer as rows, away from the event loop if it is large; None if nothing can be composed of it."""
        if not self._serves(question):
            return None
        try:
            if len(page.body) > OFF_LOOP:
                return await asyncio.to_thread(read_window, question, page)
            return read_window(question, page)
        except Unfit as unfit:
            self.listings.learned[str(unfit)] += 1
            return None

    def change(self, question: Question, window: Window | None, record: Record) -> Change | None:
        """What an answer, after which the listing's record is ``record``, changes; None: nothing."""
        if window is None:
            return None
        key, now = question.listing, self._clock()
        before = self.listings.get(key)
        listing, fault = learn(
            before,
            window,
            now,
            since=record.since,
            name=secrets.token_hex(8),
            depth=self._settings.listing_depth,
        )
        if listing is before:
            return None
        told, expected = self.listings.told(key), self.listings.version(key)
        written = write(key, listing, told, expected, secrets.token_hex(4))
        return Change(listing, written, fault)

    def keep(self, question: Question, change: Change, *, told: bool) -> None:
        """Take a change over; ``told``: Redis has it."""
        self.listings.learned[change.fault or "explained"] += 1
        if told:
            self.listings.agree(question.listing, change.listing, change.written.version)
        else:
            self.listings.put(question.listing, change.listing)

    def take_in(self, question: Question, found: Found) -> None:
        """Take in what Redis has, as far as it is not known here."""
        if found.head is None or not self._serves(question):
            return
        key = question.listing
        if not found.head:
            self.listings.part(key)
            return
        version = version_of(found.head)
        if _is_before(version, self.listings.told_version(key)):
            return  # it was read before this process wrote
        try:
            listing = read(key, found.head, found.rows, self.listings.told(key))
        except ValueError as error:
            # The next to write it writes all of it, in the place of whatever this version is.
            self.listings.part(key, version)
            if self._shared is not None:
                self._shared.garbage("rows", error)
            return
        self.listings.agree(key, listing, version)

    async def catch_up(self, question: Question, window: Window, record: Record) -> None:
        """Others have moved the rows meanwhile: learn from what they know. Without Redis, what is here goes on."""
        if self._shared is None:
            return
        for _ in range(ATTEMPTS):
            found = await self._shared.look(question, self.listings.told_version(question.listing))
            if found is None or found.record is None:
                break
            self.take_in(question, found)
            if (found.record.since, found.record.stamp) != (record.since, record.stamp):
                return  # there is a later moment, of which this answer knows nothing
            change = self.change(question, window, record)
            if change is None:
                return
            told = await self._shared.write_rows(question, record, change.written, keep=self._keep)
            if told is not False:
                self.keep(question, change, told=bool(told))
                return

    def _serves(self, question: Question) -> bool:
        """Whether pages are composed for such questions: live ones are not, where each is asked for anew anyway."""
        cache = self._settings
        return cache.compose and question.kind == "page" and cache.live_ttl > 0 and cache.settled_ttl > 0

    def _current(self, question: Question, record: Record) -> Listing | None:
        """What is known of the listing, if that is its latest moment."""
        listing = self.listings.get(question.listing) if self._serves(question) else None
        if listing is None or listing.stamp != record.stamp or listing.asked_at < record.since:
            return None
        return listing


def _is_before(version: str, other: str) -> bool:
    """Whether a version is an earlier one of the same lineage."""
    (number, _, lineage), (latest, _, line) = version.partition("."), other.partition(".")
    return lineage == line and number.isdecimal() and latest.isdecimal() and int(number) < int(latest)
