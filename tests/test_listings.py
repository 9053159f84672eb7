"""Listings in memory: bounded by bytes, and what they say of a generation."""

from __future__ import annotations

from proxy.known.listings import Listings
from proxy.rows.listing import Listing
from tests.test_listing import Spec, after, answer, of, row


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
