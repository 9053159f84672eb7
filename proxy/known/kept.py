"""A page in memory, and when it may be served: asked for each hit, and reckoned only when something has changed."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.answer.freshness import MANY, Term, Verdict
from proxy.answer.outcome import Hit
from proxy.answer.page import Page
from proxy.answer.record import Stamp

NOTHING: Final = Page("", b"", "", 0.0, Stamp(0, None), settled=False, dead_at=None)
NEVER: Final = Term(vouched_at=0.0, early_at=0.0, due_at=0.0, fresh_until=0.0, gone_at=0.0, doubted=False)


class Kept(Struct, gc=False):
    """A page in memory.

    Attributes:
        listing: whose it is.
        term: when it may be served.
        reckoned: what ``Judging.changes`` was when the term was reckoned; once that moves on, the term is reckoned
            anew. -1: in any case.
        shown: for how many callers it has been judged since the hub vouched for it; nearly all of them were shown it.
        used: of late; see ``second_chance``.
        looked_at: when it was last made sure that Redis has no newer one, in Unix seconds.
        overtaken_at: when another replica asked for an answer that may contradict this live page; 0 if there is none,
            or Redis has been looked into since.
        noted: when it was last noted that it is in demand, where it is served without a look-up.
    """

    page: Page
    listing: str
    term: Term = NEVER
    reckoned: int = -1
    shown: int = 0
    used: bool = False
    noted: float = 0.0
    looked_at: float = 0.0
    overtaken_at: float = 0.0

    def reckon(self, term: Term, changes: int) -> None:
        """The page may be served by this term, until ``changes`` move on."""
        if term.vouched_at != self.term.vouched_at:
            self.shown = 0
        self.term = replace(term, due_at=term.early_at) if self.shown >= MANY else term
        self.reckoned = changes

    def verdict(self, now: float) -> Verdict:
        """Whether the page may be served at ``now``, by its term."""
        return self.term.verdict(now)

    def show(self, now: float) -> Verdict:
        """The same for one more caller who is to be shown it."""
        self.shown += 1
        if self.shown >= MANY and self.term.due_at != self.term.early_at:
            self.term = replace(self.term, due_at=self.term.early_at)
        return self.term.verdict(now)

    def again(self, now: float, changes: int) -> Hit | None:
        """Serve the page as it was served before, if it is fresh, not due, and ``changes`` have not moved on."""
        term = self.term
        if self.reckoned != changes or not term.vouched_at <= now < term.due_at or self.shown == MANY:
            return None
        self.shown += 1
        self.used = True
        page = self.page
        return Hit(page, now - term.vouched_at, term.fresh_until - now, "composed" if page.composed else "memory")

    def outdate(self) -> None:
        """The term may no longer hold."""
        self.reckoned = -1

    def clear(self) -> None:
        """The page has left memory, whoever still holds this, and is charged for as little as it is now."""
        self.page, self.term = NOTHING, NEVER
        self.outdate()
