"""Whether a page may be served: pure decisions over a page, the settings and the time.

Fresh: may be served as it is. Stale: only if the hub fails (RFC 9111 §4.2.4; RFC 5861 §4). Gone: never.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from proxy.page import Page
from proxy.settings import CacheSettings


class Fresh(Struct, frozen=True):
    """May be served as it is for ``ttl`` more seconds."""

    ttl: float


class Stale(Struct, frozen=True):
    """May be served if the hub fails; ``ttl`` is negative: seconds since it was fresh."""

    ttl: float


class Gone(Struct, frozen=True):
    """Must not be served."""


Verdict: TypeAlias = Fresh | Stale | Gone


def judge(page: Page, now: float, cache: CacheSettings) -> Verdict:
    """Say whether ``page`` may be served at ``now`` (Unix seconds)."""
    if now >= gone_at(page, cache):
        return Gone()
    ttl = fresh_until(page, cache) - now
    return Fresh(ttl) if ttl > 0 else Stale(ttl)


def fresh_until(page: Page, cache: CacheSettings) -> float:
    """The Unix time until which the page is fresh: a live page can change at any moment, a settled one moves."""
    until = page.asked_at + (cache.settled_ttl if page.settled else cache.live_ttl)
    return until if page.dead_at is None else min(until, page.dead_at)


def gone_at(page: Page, cache: CacheSettings) -> float:
    """The Unix time from which the page is of no use; nothing keeps it longer."""
    patience = cache.stale_if_error if page.settled else cache.stale_if_error_live
    until = fresh_until(page, cache) + patience
    return until if page.dead_at is None else min(until, page.dead_at)


def age(page: Page, now: float) -> int:
    """Whole seconds since the hub was asked (RFC 9111 §5.1); never negative, should a clock step back."""
    return max(0, int(now - page.asked_at))
