"""A caller's Cache-Control."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer.directives import NO_DIRECTIVES, Directives, parse_directives
from proxy.answer.freshness import Fresh, Gone, Stale
from proxy.web.hidden import as_of_nothing


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], NO_DIRECTIVES),
        ([""], NO_DIRECTIVES),
        (["no-cache"], Directives(max_age=0)),
        (["NO-CACHE"], Directives(max_age=0)),
        (["max-age=7"], Directives(max_age=7)),
        (['max-age="7"'], Directives(max_age=7)),
        (["max-age=0, no-cache"], Directives(max_age=0)),
        (["max-age=9", "only-if-cached"], Directives(max_age=9, only_if_cached=True)),
        (["min-fresh=3,max-stale=20"], Directives(min_fresh=3, max_stale=20)),
        (["max-stale"], Directives(max_stale=math.inf)),
        (["max-age=-1"], NO_DIRECTIVES),
        (["max-age=1.5"], NO_DIRECTIVES),
        (["max-age=x, min-fresh="], NO_DIRECTIVES),
        (["max-age=" + "9" * 40], Directives(max_age=2**31)),
        (["max-stale=99999999999, min-fresh=99999999999"], Directives(max_stale=2**31, min_fresh=2**31)),
        (["no-store, no-transform, unknown, =, ;;"], NO_DIRECTIVES),
        (["stale-if-error=4"], Directives(stale_if_error=4)),
        (["stale-if-error=0"], Directives(stale_if_error=0)),
        (["x_no-cache"], NO_DIRECTIVES),
        ([r'foo="a\", no-cache"'], NO_DIRECTIVES),
        ([r'foo="\\", no-cache'], Directives(max_age=0)),
    ],
)
def test_every_form_of_cache_control_is_read(values: list[str], expected: Directives) -> None:
    assert parse_directives(values) == expected


def test_pragma_counts_only_without_cache_control() -> None:
    assert parse_directives([], ["no-cache"]) == Directives(max_age=0)
    assert parse_directives(["max-age=5"], ["no-cache"]) == Directives(max_age=5)


@pytest.mark.parametrize("pragma", ["max-age=5", "only-if-cached", "min-fresh=9, max-stale", "x-no-cache", ""])
def test_pragma_knows_nothing_but_no_cache(pragma: str) -> None:
    assert parse_directives([], [pragma]) == NO_DIRECTIVES
    assert parse_directives([], ["No-Cache", pragma]) == Directives(max_age=0)


@pytest.mark.parametrize(
    ("directives", "verdict", "accepted"),
    [
        (NO_DIRECTIVES, Fresh(0.1, 4.9), True),
        (NO_DIRECTIVES, Stale(0, 5), False),
        (NO_DIRECTIVES, Gone(), False),
        (Directives(max_age=3), Fresh(2, 3), True),
        (Directives(max_age=3), Fresh(1.9, 3.1), False),
        (Directives(max_age=0), Fresh(4.6, 0.4), True),  # younger than min_refresh is fresh for anybody
        (Directives(max_age=0), Fresh(4.4, 0.6), False),
        (Directives(min_fresh=3), Fresh(3, 2), True),
        (Directives(min_fresh=3), Fresh(2.9, 2.1), False),
        (Directives(min_fresh=9), Fresh(4.8, 0.2), True),
        (Directives(max_stale=10), Stale(-9, 14), True),
        (Directives(max_stale=10), Stale(-10, 15), False),
        (Directives(max_stale=math.inf), Stale(-1e6, 1e6), True),
        (Directives(max_stale=math.inf, max_age=8), Stale(-4, 9), False),
        (Directives(max_stale=math.inf, max_age=9), Stale(-4, 9), True),
        (Directives(max_stale=math.inf), Gone(), False),
    ],
)
def test_a_page_is_accepted_as_far_as_the_directives_allow(
    directives: Directives, verdict: Fresh | Stale | Gone, accepted: bool
) -> None:
    assert directives.accept(verdict, 0.5) is accepted


@pytest.mark.parametrize(
    ("directives", "verdict", "accepted"),
    [
        (NO_DIRECTIVES, Stale(-1e6, 1e6), True),
        (NO_DIRECTIVES, Fresh(2, 3), True),
        (Directives(stale_if_error=1), Stale(-0.5, 5.5), True),
        (Directives(stale_if_error=1), Stale(-1, 6), False),
        (Directives(stale_if_error=1), Fresh(2, 3), True),
        (Directives(stale_if_error=0), Fresh(2, 3), False),
    ],
)
def test_a_stand_in_is_accepted_within_stale_if_error(
    directives: Directives, verdict: Fresh | Stale, accepted: bool
) -> None:
    assert directives.accept_instead(verdict) is accepted


@pytest.mark.parametrize(
    "asked", [NO_DIRECTIVES, Directives(max_stale=math.inf), Directives(max_stale=9, stale_if_error=9)]
)
def test_what_is_to_be_as_nothing_is_never_accepted_stale(asked: Directives) -> None:
    """There is no stale 404: whoever wants nothing newer than what is hidden would learn that it is there."""
    hidden = Stale(-0.5, 3600.5)
    assert not as_of_nothing(asked, 1.0).accept(hidden, 0.5)
    assert not as_of_nothing(asked, 1.0).accept_instead(hidden)


@pytest.mark.parametrize("live_ttl", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("age", [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 1.25, 1.5, 2.0, 60.0])
@pytest.mark.parametrize(
    "asked",
    [
        NO_DIRECTIVES,
        *(Directives(min_fresh=seconds) for seconds in (0.5, 0.75, 1.5, 2.0, 2**31)),
        *(Directives(max_age=seconds) for seconds in (0.0, 0.5, 1.25, 2**31)),
        Directives(max_age=1.25, min_fresh=1.5),
        Directives(max_stale=math.inf),
    ],
)
def test_what_is_to_be_as_nothing_is_accepted_as_a_kept_404(asked: Directives, age: float, live_ttl: float) -> None:
    """Else a caller's wishes would tell a generation that is hidden, and fresh for hours, from none."""
    nothing = Fresh(live_ttl - age, age) if age < live_ttl else Gone()
    for hidden in (Fresh(3600.0 - age, age), Fresh(0.1, age)):
        assert as_of_nothing(asked, live_ttl).accept(hidden, 0.5) is asked.accept(nothing, 0.5)


@given(st.lists(st.text(max_size=40), max_size=4), st.lists(st.text(max_size=20), max_size=2))
def test_any_text_is_survived(values: list[str], pragma: list[str]) -> None:
    found = parse_directives(values, pragma)
    assert found.max_age >= 0
    assert found.min_fresh >= 0
    assert found.max_stale >= 0
