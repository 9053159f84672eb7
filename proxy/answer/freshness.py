"""Whether a page may be served: pure decisions over a page, its listing's record, the settings and the time.

Fresh: may be served as it is. Stale: only if the hub fails or dawdles (RFC 9111 §4.2.4; RFC 5861 §4).
Gone: never.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from msgspec import Struct

from proxy.answer.page import Page
from proxy.answer.record import Record
from proxy.settings import CacheSettings

REFRESH_AHEAD_SHARE: Final = 0.1
"""Last part of a page's freshness in which a caller's question has it refreshed ahead: often asked pages are."""
POPULAR_AFTER: Final = 75
"""Callers who have to be shown a page before it is refreshed earlier than that: one request for so many answers."""
POPULAR_REFRESH_SHARE: Final = 0.5
"""Part of a page's freshness for which it is not refreshed, however many ask."""
DOUBT_GRACE: Final = 0.1
"""Seconds for which a page is fresh whatever events say, so that many of them do not cost a hub request each."""
RECORD_MARGIN: Final = 60.0
"""Seconds for which a record is kept for longer."""


class Fresh(Struct, frozen=True, gc=False):
    """May be served as it is for ``ttl`` more seconds; the hub vouched for it ``age`` seconds ago.

    ``doubted``, here and below: it was before an event that puts it in doubt. ``due``: to be refreshed if it is in
    demand, so that nobody has to wait for that.
    """

    ttl: float
    age: float
    doubted: bool = False
    due: bool = False


class Stale(Struct, frozen=True, gc=False):
    """May be served if the hub fails or dawdles; ``ttl`` is 0 or negative: seconds since it was fresh."""

    ttl: float
    age: float
    doubted: bool = False


class Gone(Struct, frozen=True, gc=False):
    """Must not be served."""

    age: float = 0.0
    doubted: bool = False


Verdict: TypeAlias = Fresh | Stale | Gone


class Lifetime(Struct, frozen=True, gc=False):
    """When a page of the latest moment may be served, reckoned once for all times. Unix seconds.

    Attributes:
        vouched_at: when the hub was last asked with an answer that vouches for the page.
        popular_due_at, due_at: when it is to be refreshed ahead: after POPULAR_AFTER callers were shown it, and any.
        fresh_until, gone_at: when it becomes stale, and when it is gone.
        doubted: the hub vouched for it before an event that puts it in doubt.
    """

    vouched_at: float
    popular_due_at: float
    due_at: float
    fresh_until: float
    gone_at: float
    doubted: bool

    def verdict(self, now: float) -> Verdict:
        """Whether the page may be served at ``now``."""
        ttl = self.fresh_until - now
        age = max(0.0, now - self.vouched_at)  # another replica's clock may be ahead, until that is heard of
        if ttl > 0:  # asked first, as nearly all are; what is fresh is never gone
            return Fresh(ttl, age, self.doubted, now >= self.due_at)
        return Gone() if now >= self.gone_at else Stale(ttl, age, self.doubted)


def lifetime_of(
    page: Page,
    record: Record,
    cache: CacheSettings,
    *,
    partitioned: bool = False,
    doubted_at: float = 0.0,
    withdrawn_at: float = 0.0,
) -> Lifetime:
    """When a page of the latest moment (``is_current``) may be served.

    ``partitioned``: other replicas can see what this one cannot hear of, so that nothing is fresh for longer than
    a live page is. ``doubted_at``: what was asked for before is in doubt (see ``doubts``), and stale at the best.
    ``withdrawn_at``: what was asked for before may not stand in for anything (see ``invalidations``).
    """
    vouched = vouched_at(page, record)
    until = fresh_until(page, record, cache, partitioned=partitioned, doubted_at=doubted_at)
    whole = until - vouched
    due_at = until - REFRESH_AHEAD_SHARE * whole if page.found else math.inf
    return Lifetime(
        vouched_at=vouched,
        popular_due_at=min(due_at, vouched + POPULAR_REFRESH_SHARE * whole)
        if page.settled and not page.single
        else due_at,
        due_at=due_at,
        fresh_until=until,
        gone_at=until if vouched < withdrawn_at else gone_at(page, record, cache),
        doubted=in_doubt(page, record, doubted_at),
    )


def is_current(page: Page, record: Record) -> bool:
    """Whether the page is of the listing's latest known moment: no reader gets an older one after a newer.

    A new row shifts every later one, so that a page of another moment is wrong even where its rows are not
    (hub facts: a listing moves).
    """
    return page.stamp == record.stamp and page.asked_at >= record.since


def vouched_at(page: Page, record: Record) -> float:
    """When the hub was last asked with an answer that vouches for the page (what RFC 9111 §4.2.3 calls its age).

    For a settled page that is any answer for its listing with the same stamp: its rows no longer change, and
    their places have not (hub facts: totals; hub facts: rows). A live page's rows change
    without the totals: only its own answer counts.
    """
    return max(page.asked_at, record.confirmed_at) if page.settled else page.seen_at


def in_doubt(page: Page, record: Record, doubted_at: float) -> bool:
    """Whether an event came after all that vouches for the page. None can change a generation that has ended."""
    return vouched_at(page, record) < doubted_at and not (page.single and page.settled)


def freshness_lifetime(page: Page, cache: CacheSettings) -> float:
    """Seconds for which the page is fresh after it was vouched for.

    The lifetimes are ours (RFC 9111 §4.2.1): the hub's ``max-age=0`` does not say how long a page is good for. A
    terminal generation needs nobody to vouch for its place, but may still be charged late (hub facts: rows).
    """
    if not page.settled:
        return cache.live_ttl
    return cache.settled_item_ttl if page.single else cache.settled_ttl


def oldest_fresh(now: float, cache: CacheSettings, *, single: bool) -> tuple[float, float]:
    """When a live page and a settled one were vouched for at the latest that are no longer fresh at ``now``."""
    return now - cache.live_ttl, now - (cache.settled_item_ttl if single else cache.settled_ttl)


def fresh_until(
    page: Page, record: Record, cache: CacheSettings, *, partitioned: bool = False, doubted_at: float = 0.0
) -> float:
    """The Unix time until which the page is fresh; never past a dead link, nor long past a doubt."""
    ttl = freshness_lifetime(page, cache)
    until = vouched_at(page, record) + (min(cache.live_ttl, ttl) if partitioned else ttl)
    if in_doubt(page, record, doubted_at):
        until = min(until, max(doubted_at, vouched_at(page, record) + DOUBT_GRACE))
    return min(until, _longest_fresh(page, cache), math.inf if page.dead_at is None else page.dead_at)


def gone_at(page: Page, record: Record, cache: CacheSettings) -> float:
    """The Unix time from which the page is of no use, unless it is vouched for again."""
    until = fresh_until(page, record, cache) + _stale_if_error(page, cache)
    return until if page.dead_at is None else min(until, page.dead_at)


def keep_until(page: Page, cache: CacheSettings) -> float:
    """The Unix time from which the page is of no use, whoever vouches for it."""
    until = _longest_fresh(page, cache) + _stale_if_error(page, cache)
    return until if page.dead_at is None else min(until, page.dead_at)


def keep_record(cache: CacheSettings) -> float:
    """Seconds for which Redis keeps a listing's record: for longer than any page that it judges can be of use."""
    settled = max(cache.max_page_age, cache.settled_ttl, cache.settled_item_ttl) + cache.stale_if_error
    return max(settled, cache.live_ttl + cache.stale_if_error_live) + RECORD_MARGIN


def _longest_fresh(page: Page, cache: CacheSettings) -> float:
    """The Unix time until which the page may be fresh, whoever vouches for it."""
    ttl = freshness_lifetime(page, cache)
    return page.seen_at + (max(cache.max_page_age, ttl) if page.settled else ttl)


def _stale_if_error(page: Page, cache: CacheSettings) -> float:
    """Seconds for which the page may stand in for a hub that fails; that there is nothing is no such page."""
    if not page.found:
        return 0.0
    return cache.stale_if_error if page.settled else cache.stale_if_error_live
