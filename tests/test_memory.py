"""The LRU of pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.memory import OVERHEAD, Memory
from proxy.page import Page, Stamp

KIB = 1024


def page(key: str, size: int = KIB, asked_at: float = 0.0) -> Page:
    return Page(key, bytes(size), '"e"', asked_at, Stamp(0, None), settled=True, dead_at=None)


def test_least_recently_used_goes_first() -> None:
    memory = Memory(3 * (KIB + OVERHEAD))
    for key in "abc":
        assert memory.put(page(key))
    assert memory.get("a")
    memory.put(page("d"))
    assert [memory.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_a_newer_page_is_not_replaced_by_an_older_one() -> None:
    memory = Memory(100 * KIB)
    memory.put(page("a", asked_at=2))
    assert not memory.put(page("a", asked_at=1))
    kept = memory.get("a")
    assert kept is not None
    assert kept.asked_at == 2


def test_what_does_not_fit_is_not_kept_and_displaces_nothing() -> None:
    memory = Memory(4 * KIB)
    memory.put(page("a"))
    assert not memory.put(page("b", 5 * KIB))
    assert memory.get("a")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6 * KIB), st.booleans()), max_size=60))
def test_bytes_are_those_of_the_pages_kept(steps: list[tuple[str, int, bool]]) -> None:
    memory = Memory(12 * KIB)
    for key, size, drop in steps:
        memory.drop(key) if drop else memory.put(page(key, size))
        kept = [found for name in "abcdef" if (found := memory.get(name))]
        assert memory.bytes == sum(len(found.body) + OVERHEAD for found in kept) <= 12 * KIB
        assert len(memory) == len(kept)
