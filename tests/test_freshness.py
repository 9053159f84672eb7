"""What may be served when: a table, and properties that hold for every page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer.freshness import (
    POPULAR_REFRESH_SHARE,
    Fresh,
    Gone,
    Stale,
    Verdict,
    gone_at,
    is_current,
    keep_record,
    keep_until,
    lifetime_of,
)
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.settings import CacheSettings

CACHE = CacheSettings(live_ttl=1, settled_ttl=5, max_page_age=60, stale_if_error=100, stale_if_error_live=10)
NOW, OLD = Stamp(2, None), Stamp(1, None)


def page(*, asked_at: float = 0.0, settled: bool = True, dead_at: float | None = None, stamp: Stamp = NOW) -> Page:
    return Page("k", b"{}", '"e"', asked_at, stamp, settled, dead_at)


def record(confirmed_at: float = 0.0, since: float = 0.0, stamp: Stamp = NOW) -> Record:
    return Record(stamp, since, confirmed_at, confirmed_at)


def judge(it: Page, known: Record, now: float, cache: CacheSettings, *, apart: bool = False) -> Verdict:
    return lifetime_of(it, known, cache, partitioned=apart).verdict(now) if is_current(it, known) else Gone()


@pytest.mark.parametrize(
    ("it", "known", "now", "verdict"),
    [
        # Settled: fresh for settled_ttl after the listing was confirmed, by any of its pages.
        (page(), record(), 0, Fresh(5, 0)),
        (page(), record(), 4.5, Fresh(0.5, 4.5, due=True)),
        (page(), record(), 5, Stale(0, 5)),
        (page(), record(confirmed_at=4), 8, Fresh(1, 4)),
        (page(), record(confirmed_at=30), 31, Fresh(4, 1)),
        # … but no longer than max_page_age on its siblings' word.
        (page(), record(confirmed_at=58), 59, Fresh(1, 1)),
        (page(), record(confirmed_at=59), 60, Stale(0, 1)),
        # Live: its own answer counts, not its siblings'.
        (page(settled=False), record(), 0.5, Fresh(0.5, 0.5)),
        (page(settled=False), record(confirmed_at=0.9), 1, Stale(0, 1)),
        # Another moment of the listing: never.
        (page(stamp=OLD), record(), 0, Gone()),
        (page(settled=False, stamp=OLD), record(), 0, Gone()),
        (page(), record(since=0.1, confirmed_at=0.2), 0.3, Gone()),
        # Stale within bounds.
        (page(), record(), 104.5, Stale(-99.5, 104.5)),
        (page(), record(), 105, Gone()),
        (page(settled=False), record(), 10.5, Stale(-9.5, 10.5)),
        (page(settled=False), record(), 11, Gone()),
        # A dead link ends everything.
        (page(dead_at=3), record(), 2.5, Fresh(0.5, 2.5)),
        (page(dead_at=3), record(), 3, Gone()),
        (page(dead_at=50), record(), 49, Stale(-44, 49)),
        (page(dead_at=50), record(confirmed_at=49), 50, Gone()),
        # Another replica's clock that is ahead makes nothing younger than new.
        (page(asked_at=3), record(confirmed_at=3), 0, Fresh(8, 0)),
    ],
)
def test_each_page_is_judged_as_the_table_says(it: Page, known: Record, now: float, verdict: object) -> None:
    assert judge(it, known, now, CACHE) == verdict


def test_apart_from_the_others_nothing_is_fresh_for_longer_than_a_live_page() -> None:
    assert judge(page(), record(), 0.75, CACHE, apart=True) == Fresh(0.25, 0.75)
    assert judge(page(), record(), 1.5, CACHE, apart=True) == Stale(-0.5, 1.5)


def test_a_ttl_of_nothing_is_never_fresh() -> None:
    assert judge(page(settled=False), record(), 0, CacheSettings(live_ttl=0)) == Stale(0, 0)
    assert judge(page(), record(), 0, CacheSettings(settled_ttl=0)) == Stale(0, 0)


times = st.floats(0, 1e6)
durations = st.floats(0, 1e5)
records = st.builds(Record, st.sampled_from([NOW, OLD]), times, times, times)


@given(
    asked_at=times,
    settled=st.booleans(),
    dead_at=st.none() | times,
    known=records,
    now=times,
    apart=st.booleans(),
    cache=st.builds(
        CacheSettings,
        live_ttl=durations,
        settled_ttl=durations,
        max_page_age=durations,
        stale_if_error=durations,
        stale_if_error_live=durations,
    ),
)
def test_no_page_is_used_beyond_its_bounds_and_no_verdict_improves(
    asked_at: float,
    settled: bool,
    dead_at: float | None,
    known: Record,
    now: float,
    apart: bool,
    cache: CacheSettings,
) -> None:
    """No dead link, no other moment, no live page past live_ttl, nothing unconfirmed past settled_ttl."""
    it = page(asked_at=asked_at, settled=settled, dead_at=dead_at)
    verdict = judge(it, known, now, cache, apart=apart)
    if verdict == Gone():
        assert known.stamp != NOW or asked_at < known.since or now >= gone_at(it, known, cache)
    else:
        assert known.stamp == NOW
        assert asked_at >= known.since
        assert dead_at is None or now < dead_at
        assert now < keep_until(it, cache) or known.confirmed_at > asked_at
    if isinstance(verdict, Fresh):
        vouched = max(asked_at, known.confirmed_at) if settled else asked_at
        assert now < vouched + (cache.settled_ttl if settled else cache.live_ttl)
        assert verdict.ttl > 0
        assert now - asked_at < max(cache.max_page_age, cache.settled_ttl, cache.live_ttl)
    order = {Fresh: 0, Stale: 1, Gone: 2}
    later = judge(it, known, now + 1, cache, apart=apart)
    assert order[type(later)] >= order[type(verdict)], "verdicts only ever go Fresh, Stale, Gone"


@given(asked_at=times, settled=st.booleans(), confirmed_at=times)
def test_nothing_is_kept_shorter_than_it_can_be_served(asked_at: float, settled: bool, confirmed_at: float) -> None:
    it = page(asked_at=asked_at, settled=settled)
    assert gone_at(it, record(confirmed_at), CACHE) <= keep_until(it, CACHE) <= asked_at + keep_record(CACHE) + 1e-6


@pytest.mark.parametrize("dead_at", [None, 2.0])
def test_a_page_is_due_in_the_last_tenth_of_its_freshness_however_short_that_is(dead_at: float | None) -> None:
    """A link that dies long before the page's lifetime ends would else have it refreshed at every hit."""
    cache = CacheSettings(settled_ttl=100)
    whole = 100.0 if dead_at is None else dead_at
    reckoned = lifetime_of(page(dead_at=dead_at), record(), cache)
    dues = [
        verdict.due for part in (0.0, 0.4, 0.89, 0.91) if isinstance(verdict := reckoned.verdict(part * whole), Fresh)
    ]
    assert dues == [False, False, False, True]
    assert reckoned.popular_due_at == POPULAR_REFRESH_SHARE * whole
