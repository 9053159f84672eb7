"""What callers have asked lately: it passes, it is bounded, and it may be somewhat coarse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.questions.demand import (
    BATCH_SECONDS,
    DEMAND_SECONDS,
    MAX_IN_DEMAND,
    MAX_LISTINGS,
    MAX_PER_LISTING,
    MAX_REMEMBERED,
    TICK,
    Demand,
)
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.text_cache import MAX_CHARACTERS
from tests.support import Clock


def question(listing: int, page: int = 1) -> Question:
    return page_question("c", ListQuery(model=f"m{listing}", page=page))


def test_demand_passes() -> None:
    clock = Clock()
    demand = Demand(clock)
    demand.note(question(1, 1))
    clock.advance(DEMAND_SECONDS)
    demand.note(question(1, 2))
    demand.note(question(2, 1))
    assert list(demand.in_demand()) == [question(2, 1), question(1, 2), question(1, 1)]
    assert demand.has(question(1, 1))
    clock.advance(0.5)
    assert list(demand.in_demand()) == [question(2, 1), question(1, 2)]
    assert not demand.has(question(1, 1))
    assert not demand.has(question(3))
    assert [page for page, _ in demand.pages(question(1).listing)] == [1, 2]
    clock.advance(BATCH_SECONDS - DEMAND_SECONDS - 0.5)
    assert [page for page, _ in demand.pages(question(1).listing)] == [2]
    assert demand.pages(question(3).listing) == []


def test_demand_is_bounded() -> None:
    clock = Clock()
    demand = Demand(clock)
    for page in range(1, MAX_PER_LISTING + 9):
        demand.note(question(0, page))
    assert [page for page, _ in demand.pages(question(0).listing)] == list(range(1, MAX_PER_LISTING + 1)), (
        "enough for a while"
    )
    clock.advance(2 * TICK)
    for page in range(MAX_PER_LISTING + 9, MAX_PER_LISTING + 19):
        demand.note(question(0, page))
    assert [page for page, _ in demand.pages(question(0).listing)] == [
        *range(11, MAX_PER_LISTING + 1),
        *range(MAX_PER_LISTING + 9, MAX_PER_LISTING + 19),
    ]
    for listing in range(1, MAX_LISTINGS + 5):
        demand.note(question(listing))
    assert demand.pages(question(0).listing) == []
    assert len(list(demand.in_demand())) == MAX_IN_DEMAND
    for listing in range(MAX_LISTINGS):
        for page in range(1, 5):
            demand.note(question(listing, page))
    assert sum(map(len, demand._asked.values())) == demand._count == MAX_REMEMBERED


def test_a_question_of_a_length_that_nobody_needs_is_not_in_demand() -> None:
    demand = Demand(Clock())
    demand.note(long := page_question("c", ListQuery(model="m" * 256, folder="f" * 256, repo="\N{PILE OF POO}" * 100)))
    assert len(long.key) > MAX_CHARACTERS
    assert not demand.has(long)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.floats(0, 2))))
def test_it_is_as_if_each_question_were_noted(steps: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    demand = Demand(clock)
    asked: dict[str, float] = {}
    for listing, page, passes in steps:
        clock.advance(passes)
        demand.note(question(listing, page))
        asked[question(listing, page).key] = clock()
    lately = [one.key for one in demand.in_demand()]
    assert len(lately) == len(set(lately))
    for key, at in asked.items():
        if at > clock() - DEMAND_SECONDS + TICK:
            assert key in lately
        if at < clock() - DEMAND_SECONDS:
            assert key not in lately
