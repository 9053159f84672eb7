"""Listings in memory: bounded by bytes, and what they say of a generation."""

from __future__ import annotations

import pytest

from proxy.known.listings import ROW_OVERHEAD, Listings
from proxy.rows.listing import Listing
from tests.listings import OLD, Spec, after, answer, of, row


def listing(*rows: Spec) -> Listing:
    made, _ = after(answer(rows))
    return made


def said(listings: Listings, spec: Spec) -> bytes | None:
    found = listings.row(*of([spec]))
    return None if found is None else found.text


def test_a_generation_is_told_of_as_the_listings_change() -> None:
    listings = Listings(2**20)
    running, ended, other = row(1, "processing"), row(1), row(2)
    assert said(listings, running) is None
    listings.put("a", listing(running))
    before = said(listings, running)
    assert before is not None
    assert b"processing" in before
    assert said(listings, other) is None
    listings.put("a", listing(ended, other))
    assert said(listings, ended) not in (None, before)
    assert said(listings, other) is not None
    listings.forget("a")
    assert said(listings, ended) is None


def test_what_was_used_the_longest_ago_goes_first() -> None:
    one = listing(row(1))
    listings = Listings(10**9)
    listings.put("a", one)
    listings.limit = 2 * listings.bytes
    listings.put("b", one)
    assert listings.get("a")
    listings.put("c", one)
    assert [listings.get(key) is not None for key in "abc"] == [True, False, True]
    assert listings.bytes == listings.limit
    listings.forget("a")
    listings.forget("c")
    assert (listings.bytes, len(listings)) == (0, 0)


def test_a_listing_that_alone_is_too_large_is_not_kept() -> None:
    listings = Listings(100)
    listings.put("a", listing(row(1)))
    assert listings.get("a") is None
    assert listings.bytes == 0


def test_what_can_be_returned_to_counts_as_well() -> None:
    made, _ = after(answer(OLD), answer(OLD[:-1], at=5.0))
    assert made.ended
    listings = Listings(10**9)
    listings.put("a", made)
    rows = [*made.rows, *made.ended[0].rows]
    assert len(rows) == 19
    assert listings.bytes == sum(len(one.text) + ROW_OVERHEAD for one in rows)


def test_of_versions_too_those_go_first_that_were_used_the_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.known.listings.VERSIONS", 2)
    listings, one = Listings(10**9), listing(row(1))
    for key, version in (("a", "1.aa"), ("b", "1.bb"), ("a", "2.aa"), ("c", "1.cc")):
        listings.agree(key, one, version)
    assert [listings.agreed_version(key) for key in "abc"] == ["2.aa", "", "1.cc"]
    listings.put("a", one)
    assert (listings.agreed_version("a"), listings.version("a")) == ("", "2.aa"), "Redis has it, but not this"
