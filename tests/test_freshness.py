"""What may be served when: a table, and properties that hold for every page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.freshness import Fresh, Gone, Stale, age, fresh_until, gone_at, judge
from proxy.page import Page, Stamp
from proxy.settings import CacheSettings

CACHE = CacheSettings(live_ttl=1, settled_ttl=5, stale_if_error=100, stale_if_error_live=10)


def page(*, asked_at: float = 0.0, settled: bool = True, dead_at: float | None = None) -> Page:
    return Page("k", b"{}", '"e"', asked_at, Stamp(0, None), settled, dead_at)


@pytest.mark.parametrize(
    ("settled", "dead_at", "now", "verdict"),
    [
        (True, None, 0, Fresh(5)),
        (True, None, 4.5, Fresh(0.5)),
        (True, None, 5, Stale(0)),
        (True, None, 104.5, Stale(-99.5)),
        (True, None, 105, Gone()),
        (False, None, 0, Fresh(1)),
        (False, None, 1, Stale(0)),
        (False, None, 10.5, Stale(-9.5)),
        (False, None, 11, Gone()),
        # A dead link ends both freshness and staleness.
        (True, 3.0, 2.5, Fresh(0.5)),
        (True, 3.0, 3, Gone()),
        (True, 50.0, 49, Stale(-44)),
        (True, 50.0, 50, Gone()),
        (False, 0.5, 0.5, Gone()),
        (True, 1000.0, 104, Stale(-99)),
        # A clock that stepped back does not make a page older than new.
        (True, None, -3, Fresh(8)),
    ],
)
def test_table(settled: bool, dead_at: float | None, now: float, verdict: object) -> None:
    assert judge(page(settled=settled, dead_at=dead_at), now, CACHE) == verdict


def test_a_ttl_of_nothing_is_never_fresh() -> None:
    assert judge(page(settled=False), 0, CacheSettings(live_ttl=0)) == Stale(0)


times = st.floats(-1e6, 1e6)
durations = st.floats(0, 1e5)


@given(
    asked_at=times,
    settled=st.booleans(),
    dead_at=st.none() | times,
    now=times,
    cache=st.builds(
        CacheSettings,
        live_ttl=durations,
        settled_ttl=durations,
        stale_if_error=durations,
        stale_if_error_live=durations,
    ),
)
def test_properties(asked_at: float, settled: bool, dead_at: float | None, now: float, cache: CacheSettings) -> None:
    """Nothing is used past a dead link or its bounds; verdicts only ever go Fresh, Stale, Gone."""
    it = page(asked_at=asked_at, settled=settled, dead_at=dead_at)
    verdict = judge(it, now, cache)
    assert fresh_until(it, cache) <= gone_at(it, cache)
    if dead_at is not None and now >= dead_at:
        assert verdict == Gone()
    if isinstance(verdict, Fresh):
        assert verdict.ttl > 0
        assert now < asked_at + (cache.settled_ttl if settled else cache.live_ttl)
    order = {Fresh: 0, Stale: 1, Gone: 2}
    assert order[type(judge(it, now + 1, cache))] >= order[type(verdict)]


def test_age_is_whole_seconds_and_never_negative() -> None:
    assert age(page(asked_at=10), 12.9) == 2
    assert age(page(asked_at=10), 9) == 0
