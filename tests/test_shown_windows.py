"""Which places of a listing have been shown since a page was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.answer.page import Page
from proxy.answer.record import Stamp
from proxy.known.shown_windows import MOST_WINDOWS, ShownWindows
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question, queue_question


def live(asked_at: float, *, settled: bool = False) -> Page:
    return Page("k", b"{}", '"e"', asked_at, Stamp(1, None), settled=settled, dead_at=None)


def question(page: int = 1, page_size: int = 10, model: str = "m") -> Question:
    return page_question("a" * 16, ListQuery(page=page, page_size=page_size, model=model), credential="default")


QUESTIONS = st.builds(question, st.integers(1, 6), st.integers(1, 20), st.sampled_from(["m", "n"]))


@given(st.lists(st.tuples(QUESTIONS, st.integers(1, 50)), max_size=MOST_WINDOWS), QUESTIONS, st.integers(1, 50))
def test_a_live_page_is_overtaken_by_each_later_answer_that_shows_one_of_its_places(
    shown: list[tuple[Question, int]], asked: Question, asked_at: int
) -> None:
    windows = ShownWindows(10)
    for one, at in shown:
        windows.note(one, float(at))

    def places(one: Question) -> range:
        return range((one.page - 1) * one.page_size, one.page * one.page_size)

    expected = any(
        at > asked_at and one.listing == asked.listing and set(places(one)) & set(places(asked)) for one, at in shown
    )
    assert windows.overtake(asked, live(float(asked_at))) is expected
    assert not windows.overtake(asked, live(float(asked_at), settled=True)), "its rows are what they were"


def test_what_was_shown_last_is_remembered() -> None:
    windows, page = ShownWindows(3), live(1.0)
    for model in "abcd":
        for number in range(2 * MOST_WINDOWS):
            windows.note(question(number + 1, model=model), 2.0 + number)
    assert [windows.overtake(question(2 * MOST_WINDOWS, model=model), page) for model in "abcd"] == [False, *[True] * 3]
    assert not windows.overtake(question(1, model="d"), page), "of each listing, so many places"
    assert not windows.overtake(queue_question("a" * 16, ListQuery(), credential="default"), page), "which has none"
