"""A page in memory, and when it may be served: asked for each hit, and reckoned only when something has changed."""

from __future__ import annotations

from msgspec import Struct

from proxy.freshness import Gone, Term, Verdict, current, term
from proxy.page import Page
from proxy.record import Record
from proxy.settings import CacheSettings


class Kept(Struct):
    """A page in memory.

    Attributes:
        listing: whose it is.
        term: when it may be served by ``record`` and the rest; None: never.
    """

    page: Page
    listing: str
    term: Term | None = None
    record: Record | None = None
    apart: bool = False
    doubted_at: float = 0.0

    def judged(
        self, record: Record, now: float, cache: CacheSettings, *, apart: bool = False, doubted_at: float = 0.0
    ) -> Verdict:
        """What ``judge`` says of the page; records are frozen, so that the same one is known by its identity."""
        if self.record is not record or self.doubted_at != doubted_at or self.apart != apart:
            self.record, self.apart, self.doubted_at = record, apart, doubted_at
            self.term = None
            if current(self.page, record):
                self.term = term(self.page, record, cache, apart=apart, doubted_at=doubted_at)
        return Gone() if self.term is None else self.term.verdict(now)
