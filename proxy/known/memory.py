"""Pages and listings' records in this process's memory, bounded by bytes; what is not used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from proxy.answer.encodings import Coding
from proxy.answer.freshness import is_current
from proxy.answer.page import Page
from proxy.answer.record import TIME_PRECISION, Record
from proxy.known.cached_page import CachedPage
from proxy.known.second_chance import victim

OVERHEAD: Final = 640
"""Bytes charged for a page beside its body: key, tag, and the objects that hold them (measured: about 550)."""
KEY_BYTES: Final = 128
"""Bytes of a key that are among those; callers can make up longer ones."""
RECORD_BYTES: Final = 1024
"""Bytes of the limit for each record that may be kept (measured: about 700); whose record goes loses its pages."""
ONE_BY_ONE_LIMIT: Final = 64
"""Pages of a listing up to which each is told that the listing's record has changed; else all pages of all are."""
MAX_UNKEPT: Final = 1000
"""Listings of which nothing is kept, and of whose records the latest news is remembered."""


class _Listing(Struct, gc=False):
    """A listing, and the keys of its pages: as a map, which the garbage collector leaves alone, as it does no set.

    ``live``: those of its live pages. ``news_asked_at``: when the latest answer was asked for that only news told of.
    """

    record: Record
    epoch: int
    pages: dict[str, None]
    live: dict[str, None]
    news_asked_at: float = 0.0


class Memory:
    """Pages by key, and what is known of their listings.

    Records may be *suspect*: while news from other replicas could not be heard, one may have moved. A suspect
    record becomes trusted again when it is learned anew.

    Attributes:
        limit: of ``bytes``.
        most_listings: how many records are kept.
        bytes: charged for all pages, their variants and overhead included.
        evictions: how many pages have gone for want of room.
        changes: counts what may alter the verdict of any page. Where only a few pages are concerned, they are told
            one by one instead.
        on_move: called with a listing that is known to have moved, and its record.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.on_move: Callable[[str, Record], object] = _nothing
        self.most_listings = limit // RECORD_BYTES
        self._pages: OrderedDict[str, CachedPage] = OrderedDict()
        self._listings: OrderedDict[str, _Listing] = OrderedDict()
        self._unkept_news: OrderedDict[str, Record] = OrderedDict()
        self._epoch = 0
        self.bytes = 0
        self.evictions = 0
        self.changes = 0

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: str) -> CachedPage | None:
        """Return the page and mark it as used."""
        found = self._pages.get(key)
        if found is not None:
            found.used = True
        return found

    def record(self, listing: str, *, suspect: bool = False) -> Record | None:
        """Return the listing's record; a suspect one only if that is asked for."""
        known = self._listings.get(listing)
        if known is None or (known.epoch != self._epoch and not suspect):
            return None
        return known.record

    def suspect_all(self) -> None:
        """News may have been missed: no record is trusted until it is learned anew."""
        self._epoch += 1
        self.changes += 1

    def suspect(self, listing: str) -> None:
        """Nobody vouches for this listing's record any more."""
        if known := self._listings.get(listing):
            known.epoch = self._epoch - 1
            self._judge_anew(known)

    def learn(self, listing: str, record: Record) -> Record:
        """Take in a record that is known to be true now, unless a later one is known; return the later one.

        When the listing moved, its pages of the older moment are dropped. A later record that is suspect stays
        suspect: it was learned while this process was apart, and others may have learned otherwise.
        """
        known = self._listings.get(listing)
        if known is None:
            known = self._listings[listing] = _Listing(record, self._epoch, {}, {})
            if len(self._listings) > self.most_listings:
                self.forget(next(iter(self._listings)))
            if news := self._unkept_news.pop(listing, None):
                self.learn_from_news(listing, news)
        else:
            self._listings.move_to_end(listing)
            if record.is_after(known.record):
                before, known.record, known.epoch = known.record, record, self._epoch
                self._judge_anew(known)
                if before.stamp != record.stamp or before.since != record.since:  # else all are as current as ever
                    for key in [key for key in known.pages if not is_current(self._pages[key].page, record)]:
                        self._drop(key)
                    self.on_move(listing, record)
        return known.record

    def learn_from_news(self, listing: str, record: Record) -> None:
        """Take in news of a listing: if nothing of it is kept, for when Redis says what was before.

        It may, if it was asked before that; or if it has lost what it took last. Live pages may be others by now, which
        no total tells.
        """
        known = self._listings.get(listing)
        if known is None:
            before = self._unkept_news.pop(listing, record)
            self._unkept_news[listing] = before if before.is_after(record) else record
            if len(self._unkept_news) > MAX_UNKEPT:
                self._unkept_news.popitem(last=False)
            return
        if not record.is_after(known.record):
            return
        self.learn(listing, record)
        known.news_asked_at = record.confirmed_at
        for key in known.live:
            _overtake(self._pages[key], known.news_asked_at)

    def note_lookup(self, key: str, record: Record) -> None:
        """Redis had this record, and nothing newer for the page than is kept."""
        kept = self._pages.get(key)
        if kept is not None and record.confirmed_at >= kept.overtaken_at:
            kept.overtaken_at = 0.0

    def put(self, listing: str, page: Page) -> bool:
        """Keep the page if it is of its listing's latest moment and the newest of its kind; return whether."""
        known = self._listings.get(listing)
        kept = self._pages.get(page.key)
        if known is None or not is_current(page, known.record) or (kept and kept.page.asked_at > page.asked_at):
            return False
        if kept is not None:
            self._drop(page.key)
        if _cost(page) > self.limit:
            return False
        kept = self._pages[page.key] = CachedPage(page, listing)
        _overtake(kept, known.news_asked_at)
        known.pages[page.key] = None
        if not page.settled:
            known.live[page.key] = None
        self.bytes += _cost(page)
        self._evict()
        return True

    def enrich(self, page: Page, coding: Coding, variant: bytes) -> None:
        """Keep the page's body in a coding with it; that counts like the body."""
        kept = self._pages.get(page.key)
        if kept is not None and kept.page is page:
            self.bytes += len(variant) - len(page.variants.get(coding, b""))
        page.variants[coding] = variant
        self._evict()

    def forget(self, listing: str) -> None:
        """Drop the listing's record and pages."""
        if known := self._listings.get(listing):
            for key in list(known.pages):
                self._drop(key)
            del self._listings[listing]

    def _judge_anew(self, known: _Listing) -> None:
        if len(known.pages) > ONE_BY_ONE_LIMIT:
            self.changes += 1
            return
        for key in known.pages:
            self._pages[key].outdate()

    def _evict(self) -> None:
        while self.bytes > self.limit:
            self._drop(victim(self._pages))
            self.evictions += 1

    def _drop(self, key: str) -> None:
        gone = self._pages.pop(key)
        known = self._listings[gone.listing]
        known.pages.pop(key, None)
        known.live.pop(key, None)
        self.bytes -= _cost(gone.page)
        gone.clear()


def _nothing(_listing: str, _record: Record) -> None:
    """Nobody wants to know."""


def _overtake(kept: CachedPage, asked_at: float) -> None:
    """An answer of that time may show rows of the page."""
    if not kept.page.settled and kept.page.asked_at < asked_at - TIME_PRECISION:
        kept.overtaken_at = asked_at


def _cost(page: Page) -> int:
    return len(page.body) + sum(map(len, page.variants.values())) + OVERHEAD + max(len(page.key) - KEY_BYTES, 0)
