"""Pages and records in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.known import memory as memory_module
from proxy.known.cached_page import NO_LIFETIME
from proxy.known.memory import MAX_UNKEPT, OVERHEAD, Memory
from proxy.known.second_chance import CHANCES

KIB = 1024
A, B = Stamp(1, None), Stamp(2, None)


def page(key: str, size: int = KIB, asked_at: float = 0.0, stamp: Stamp = A) -> Page:
    return Page(key, bytes(size), '"e"', asked_at, stamp, settled=True, dead_at=None)


def record(stamp: Stamp = A, received_at: float = 1.0) -> Record:
    return Record(stamp, 0.0, received_at, received_at)


def memory(limit: int = 100 * KIB) -> Memory:
    made = Memory(limit)
    made.learn("l", record())
    return made


def test_what_is_not_used_goes_first() -> None:
    it = memory(3 * (KIB + OVERHEAD))
    for key in "abc":
        assert it.put("l", page(key))
    assert it.get("a")
    it.put("l", page("d"))
    assert [it.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_where_all_are_used_the_one_that_came_first_goes() -> None:
    it = memory(40 * (KIB + OVERHEAD))
    names = [f"p{number}" for number in range(40)]
    for key in names:
        it.put("l", page(key))
    for key in names:
        it.get(key)
    it.put("l", page("new"))
    assert [key for key in [*names, "new"] if it._pages.get(key) is None] == [names[CHANCES]], "after CHANCES others"


def test_a_newer_page_is_not_replaced_by_an_older_one() -> None:
    it = memory()
    it.put("l", page("a", asked_at=2))
    assert not it.put("l", page("a", asked_at=1))
    kept = it.get("a")
    assert kept is not None
    assert kept.page.asked_at == 2


def test_what_does_not_fit_is_not_kept_and_displaces_nothing() -> None:
    it = memory(4 * KIB)
    it.put("l", page("a"))
    assert not it.put("l", page("b", 5 * KIB))
    assert it.get("a")


def test_what_was_heard_of_a_listing_counts_though_nothing_of_it_was_kept() -> None:
    """A look into Redis that was under way may say what was before; so may a Redis that has lost what it took."""
    it = memory()
    it.learn_from_news("new", record(B, 2.0))
    assert it.record("new", suspect=True) is None, "of no use before it is asked for"
    assert it.learn("new", record()) == record(B, 2.0)
    assert not it.put("new", page("a"))
    it.learn_from_news("another", record(B, 2.0))
    assert it.learn("another", record(A, 3.0)) == record(A, 3.0)


def test_no_more_is_remembered_of_what_was_heard_than_so_much() -> None:
    it = memory()
    for number in range(MAX_UNKEPT + 1):
        it.learn_from_news(f"l{number}", record(B, 2.0))
    assert it.learn("l0", record()) == record()
    assert it.learn("l1", record()) == record(B, 2.0)


def test_the_latest_that_was_heard_counts_and_is_the_last_to_go() -> None:
    it = memory()
    it.learn_from_news("l0", record(B, 3.0))
    for number in range(MAX_UNKEPT - 1):
        it.learn_from_news(f"other {number}", record())
    it.learn_from_news("l0", record(A, 2.0))
    it.learn_from_news("one more", record())
    assert it.learn("l0", record()) == record(B, 3.0)


def test_a_moved_listing_loses_its_pages_at_once() -> None:
    it = memory()
    it.learn("other", record())
    for key in "abc":
        it.put("l", page(key))
    it.put("other", page("o"))
    it.learn("l", record(B, 2.0))
    assert [it.get(key) is not None for key in "abco"] == [False, False, False, True]
    assert not it.put("l", page("a")), "what is of the older moment is not kept"
    assert it.put("l", page("a", asked_at=2.0, stamp=B))


@pytest.mark.parametrize("how", ["confirmed", "suspected"])
@pytest.mark.parametrize("few", [1, 2])
def test_with_a_listing_its_pages_are_judged_anew_and_no_others(
    monkeypatch: pytest.MonkeyPatch, how: str, few: int
) -> None:
    """Unless they are too many to be told, one by one: then all pages of all listings are."""
    monkeypatch.setattr(memory_module, "ONE_BY_ONE_LIMIT", few)
    it = memory()
    it.learn("other", record())
    for listing, key in (("l", "a"), ("l", "b"), ("other", "c")):
        it.put(listing, page(key))
        it._pages[key].reckon(NO_LIFETIME, it.changes)
    if how == "confirmed":
        it.learn("l", record(received_at=2.0))
    else:
        it.suspect("l")
    outdated = [key for key in "abc" if it._pages[key].changes_seen != it.changes]
    assert outdated == (["a", "b"] if few == 2 else ["a", "b", "c"])


def test_records_only_move_forward() -> None:
    it = memory()
    later = it.learn("l", record(B, 3.0))
    assert it.learn("l", record(A, 2.0)) == later
    assert it.record("l") == later


def test_news_of_what_is_not_kept_is_not_kept() -> None:
    it = memory()
    it.learn_from_news("elsewhere", record())
    assert it.record("elsewhere") is None
    it.learn_from_news("l", record(B, 2.0))
    assert it.record("l") == record(B, 2.0)


def test_after_a_gap_nothing_is_trusted_until_it_is_learned_anew() -> None:
    it = memory()
    it.suspect_all()
    assert it.record("l") is None
    assert it.record("l", suspect=True) == record()
    it.learn("l", record())
    assert it.record("l") == record()
    it.suspect("l")
    assert it.record("l") is None


def test_what_was_learned_in_a_partition_is_not_vouched_for_by_an_older_record() -> None:
    it = memory()
    it.learn("l", record(B, 5.0))
    it.suspect_all()
    assert it.learn("l", record(A, 4.0)) == record(B, 5.0)
    assert it.record("l") is None


def test_records_are_bounded() -> None:
    """By as many bytes as pages: a listing whose pages are gone still has a record."""
    it = Memory(100 * KIB)
    for number in range(3 * it.most_listings):
        it.learn(f"l{number}", record())
        it.put(f"l{number}", page(f"k{number}", size=0))
    assert len(it._listings) == it.most_listings == 100
    assert it.bytes <= 100 * KIB


def test_a_long_key_counts() -> None:
    """Callers make up filters: 12 KB of them, with an answer of 200 bytes, were charged 840."""
    it = memory()
    it.put("l", page("k", size=0))
    short = it.bytes
    it.put("l", page("k" * 12 * KIB, size=0))
    assert it.bytes >= 2 * short + 11 * KIB


def test_the_record_that_was_learned_the_longest_ago_goes_first() -> None:
    it = Memory(2 * KIB)
    assert it.most_listings == 2
    for listing in "abac":
        it.learn(listing, record())
    assert [it.record(listing) is not None for listing in "abc"] == [True, False, True]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6 * KIB), st.integers(0, 9)), max_size=60))
def test_bytes_are_those_of_the_pages_kept(steps: list[tuple[str, int, int]]) -> None:
    it = Memory(12 * KIB)
    for number, (key, size, dice) in enumerate(steps):
        listing = "l" if key in "abc" else "m"
        stamp = Stamp(dice, None) if dice > 7 else A
        it.learn(listing, record(stamp, float(number)))
        it.put(listing, page(key, size, asked_at=float(number), stamp=stamp))
        if dice == 0:
            it.forget(listing)
        kept = [found.page for name in "abcdef" if (found := it.get(name))]
        assert it.bytes == sum(len(found.body) + OVERHEAD for found in kept) <= 12 * KIB
        assert len(it) == len(kept)
