"""What the hub has refused to show."""

from __future__ import annotations

import pytest

from proxy.known.withdrawn import PAUSE, Withdrawn
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from tests.support import NOW

LISTING, OTHER = (page_question("c", ListQuery(model=model)) for model in ("m", "n"))


def test_a_401_is_about_all_that_the_token_shows_a_403_about_one_listing() -> None:
    withdrawn = Withdrawn()
    withdrawn.add(LISTING, 403, NOW)
    assert (withdrawn.since(LISTING), withdrawn.since(OTHER)) == (NOW, 0.0)
    withdrawn.add(LISTING, 401, NOW + 1)
    assert withdrawn.since(LISTING) == withdrawn.since(OTHER) == NOW + 1


def test_a_crowd_in_the_pause_after_a_401_is_one_change() -> None:
    """Each change has all pages judged anew."""
    withdrawn = Withdrawn()
    for number in range(10):
        withdrawn.left_alone(LISTING, NOW + number * PAUSE / 10)
    assert (withdrawn.since(OTHER), withdrawn.changes) == (NOW, 1)
    withdrawn.left_alone(OTHER, NOW + 2 * PAUSE)
    assert (withdrawn.since(LISTING), withdrawn.changes) == (NOW + 2 * PAUSE, 2)


def test_the_oldest_refusals_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.known.withdrawn.REMEMBERED", 2)
    withdrawn = Withdrawn()
    third = page_question("c", ListQuery(model="o"))
    for number, question in enumerate((LISTING, OTHER, LISTING, third)):
        withdrawn.add(question, 403, NOW + number)
    assert [withdrawn.since(question) for question in (LISTING, OTHER, third)] == [NOW + 2, 0.0, NOW + 3]


def test_a_refusal_of_before_takes_nothing_back() -> None:
    """Of two that overlap, the one that was asked for first may come last."""
    for status in (401, 403):
        withdrawn = Withdrawn()
        withdrawn.add(LISTING, status, NOW + 1)
        withdrawn.add(LISTING, status, NOW)
        assert withdrawn.since(LISTING) == NOW + 1
