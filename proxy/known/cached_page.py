"""A page in memory, and when it may be served: asked for each hit, and reckoned only when something has changed."""

from __future__ import annotations

from typing import Final
from weakref import ref

from msgspec import Struct
from msgspec.structs import replace

from proxy.answer.freshness import POPULAR_AFTER, Lifetime, Verdict
from proxy.answer.outcome import Hit
from proxy.answer.page import Page
from proxy.answer.record import TIME_PRECISION, Stamp
from proxy.questions.question import Question
from proxy.rows.composing import shows_latest
from proxy.rows.listing import Listing

NO_PAGE: Final = Page("", b"", "", 0.0, Stamp(0, None), settled=False, dead_at=None)
NO_LIFETIME: Final = Lifetime(
    vouched_at=0.0, popular_due_at=0.0, due_at=0.0, fresh_until=0.0, gone_at=0.0, doubted=False
)


class CachedPage(Struct, gc=False):
    """A page in memory.

    Attributes:
        listing: whose it is.
        lifetime: when it may be served.
        changes_seen: what ``Judging.changes`` was when the lifetime was reckoned; once that moves on, it is reckoned
            anew. -1: in any case.
        shown: for how many callers it has been judged since the hub vouched for it; nearly all of them were shown it.
        used: of late; see ``second_chance``.
        looked_up_at: when it was last made sure that Redis has no newer one, in Unix seconds.
        overtaken_at: when another replica asked for an answer that may contradict this live page; 0 if there is none,
            or Redis has been looked into since.
        compared: the rows of its listing that it was compared with last, and whether it has the latest as they are.
        noted: when it was last noted that it is in demand, where it is served without a look-up.
    """

    page: Page
    listing: str
    lifetime: Lifetime = NO_LIFETIME
    changes_seen: int = -1
    shown: int = 0
    used: bool = False
    noted: float = 0.0
    looked_up_at: float = 0.0
    overtaken_at: float = 0.0
    compared: tuple[ref[Listing], bool] | None = None

    def reckon(self, lifetime: Lifetime, changes: int) -> None:
        """The page may be served within this lifetime, until ``changes`` move on."""
        if lifetime.vouched_at != self.lifetime.vouched_at:
            self.shown = 0
        self.lifetime = replace(lifetime, due_at=lifetime.popular_due_at) if self.shown >= POPULAR_AFTER else lifetime
        self.changes_seen = changes

    def verdict(self, now: float) -> Verdict:
        """Whether the page may be served at ``now``, by its lifetime."""
        return self.lifetime.verdict(now)

    def show(self, now: float) -> Verdict:
        """The same for one more caller who is to be shown it."""
        self.shown += 1
        if self.shown >= POPULAR_AFTER and self.lifetime.due_at != self.lifetime.popular_due_at:
            self.lifetime = replace(self.lifetime, due_at=self.lifetime.popular_due_at)
        return self.lifetime.verdict(now)

    def serve_again(self, now: float, changes: int) -> Hit | None:
        """Serve the page as it was served before, if it is fresh, not due, and ``changes`` have not moved on."""
        lifetime = self.lifetime
        if (
            self.changes_seen != changes
            or not lifetime.vouched_at <= now < lifetime.due_at
            or self.shown == POPULAR_AFTER
        ):
            return None
        self.shown += 1
        self.used = True
        page = self.page
        return Hit(
            page, now - lifetime.vouched_at, lifetime.fresh_until - now, "composed" if page.composed else "memory"
        )

    def shows_latest(self, question: Question, listing: Listing) -> bool:
        """Whether it has its rows as later answers have shown them; looked at once, until others have come."""
        if self.compared is None or self.compared[0]() is not listing:
            since = self.page.asked_at + TIME_PRECISION
            self.compared = ref(listing), shows_latest(listing, question, self.page, since)
        return self.compared[1]

    def outdate(self) -> None:
        """The lifetime may no longer hold."""
        self.changes_seen = -1

    def clear(self) -> None:
        """The page has left memory, whoever still holds this, and is charged for as little as it is now."""
        self.page, self.lifetime, self.compared = NO_PAGE, NO_LIFETIME, None
        self.outdate()
