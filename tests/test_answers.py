"""Conditional requests and Cache-Status."""

from __future__ import annotations

import pytest

from proxy.answer.outcome import Hit, Miss, Outcome, StaleHit
from proxy.answer.page import Page
from proxy.answer.record import Stamp
from proxy.errors import HubFailed, HubUnreachable, InvalidParameter
from proxy.web.answers import cache_status, error_cache_status, etags_in, matching_etag, page_headers

PAGE = Page("k", b"{}", '"abc"', 100.0, Stamp(0, None), settled=True, dead_at=None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        (['"abc"'], True),
        (['W/"abc"'], True),
        (["*"], True),
        ([" * "], True),
        (['"x", "abc"'], True),
        (['"x",W/"abc" , "y"'], True),
        (['"x"', '"abc"'], True),
        (['"x"'], False),
        (["abc"], False),
        (['"ABC"'], False),
        (['"abc'], False),
        (['"xabc"'], False),
        (['"x,"abc","y"'], False),
        (['foo"abc"bar'], False),
        (['"x", foo"abc"'], False),
        (['"x",, "abc",'], True),
        ([""], False),
    ],
)
def test_if_none_match_compares_tags_weakly(values: list[str], expected: bool) -> None:
    assert (matching_etag('"abc"', None, etags_in(values)) == '"abc"') is expected


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Hit(PAGE, 0.0, 4.9, "memory"), "generations-proxy; hit; ttl=4; detail=memory"),
        (Hit(PAGE, 0.0, 0.2, "redis"), "generations-proxy; hit; ttl=0; detail=redis"),
        (StaleHit(PAGE, 17.1, -12.1, "hub_timeout"), "generations-proxy; hit; ttl=-13; detail=stale-hub_timeout"),
        (Miss(PAGE, 0.0, 5.0, "uri-miss", True), "generations-proxy; fwd=uri-miss; fwd-status=200; stored; ttl=5"),
        (
            Miss(PAGE, 0.0, 1.0, "stale", True, collapsed=True),
            "generations-proxy; fwd=stale; fwd-status=200; stored; collapsed; ttl=1",
        ),
        (Miss(PAGE, 0.0, -3.0, "uri-miss", False), "generations-proxy; fwd=uri-miss; fwd-status=200; ttl=-3"),
    ],
)
def test_cache_status_says_what_became_of_a_question(outcome: Outcome, text: str) -> None:
    assert cache_status(outcome) == text


def test_cache_status_says_what_an_error_was() -> None:
    assert error_cache_status(HubUnreachable("")) == "generations-proxy; fwd=miss; detail=hub_unreachable"
    assert (
        error_cache_status(HubFailed("", hub_status=500))
        == "generations-proxy; fwd=miss; fwd-status=500; detail=hub_failed"
    )
    assert error_cache_status(InvalidParameter("page", "")) == "generations-proxy; detail=invalid_parameter"


def test_a_page_has_the_headers_that_caches_go_by() -> None:
    assert page_headers(Hit(PAGE, 3.7, 1.0, "memory"), PAGE.etag) == {
        "cache-control": "private, no-cache",
        "etag": '"abc"',
        "age": "3",
        "vary": "Accept-Encoding, Authorization, Listing-Moment, X-API-Key",
        "cache-status": "generations-proxy; hit; ttl=1; detail=memory",
    }
