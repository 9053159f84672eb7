"""Which question the hub is asked, so that one answer serves the most."""

from __future__ import annotations

import pytest

from proxy.questions.query import ListQuery
from proxy.questions.question import page_question, top_of
from proxy.rows.windows import to_ask
from tests.listings import OLD, after, answer, question, row

LONG = [row(number) for number in range(400, 0, -1)]
LIVE = [*LONG[:70], row(9999, "processing", None), *LONG[70:]]


@pytest.mark.parametrize(
    ("name", "rows", "known", "asked", "wanted", "expected"),
    [
        ("nothing is known", LONG, 0, (1, 50), [(1, 50), (2, 50)], (1, 50)),
        ("nothing else is wanted", LONG, 400, (2, 50), [(2, 50)], (2, 50)),
        ("the usual page confirms the others", LONG, 400, (3, 50), [(1, 50), (3, 50)], (1, 50)),
        ("and is asked for itself", LONG, 400, (1, 50), [(1, 50), (3, 50)], (1, 50)),
        ("a small page shares it", LONG, 400, (1, 20), [(1, 20), (2, 20)], (1, 50)),
        ("what is near is shown", LONG, 400, (1, 50), [(1, 50), (2, 50)], (1, 100)),
        ("a large page shows as much", LONG, 400, (1, 200), [(1, 200), (2, 50)], (1, 200)),
        ("rows in flight have to be shown", LIVE, 400, (1, 50), [(1, 50), (3, 50)], (1, 100)),
        ("the next page extends what is known", LONG, 50, (2, 50), [(1, 50), (2, 50)], (2, 50)),
        ("several that are not known, at once", LONG, 50, (2, 50), [(1, 50), (2, 50), (3, 50)], (1, 150)),
        ("but not too many rows", LONG, 50, (7, 50), [(1, 50), (6, 50), (7, 50)], (7, 50)),
        ("past the end", LONG, 400, (9, 50), [(1, 50), (9, 50)], (9, 50)),
        ("all is known of a short one", OLD, 10, (1, 50), [(1, 50), (1, 5)], (1, 50)),
    ],
)
def test_the_hub_is_asked_for_what_serves_the_most(
    name: str,
    rows: list[tuple[str, str, str | None]],
    known: int,
    asked: tuple[int, int],
    wanted: list[tuple[int, int]],
    expected: tuple[int, int],
) -> None:
    listing = after(answer(rows, page_size=known))[0] if known else None
    target = to_ask(question(*asked), listing, wanted)
    assert (target.page, target.page_size) == expected, name


def test_large_rows_make_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = after(answer(LONG, page_size=400))[0]
    size = sum(len(row.text) for row in listing.rows) // 400
    monkeypatch.setattr("proxy.rows.windows.MAX_WINDOW_BYTES", 70 * size)
    assert to_ask(question(1, 50), listing, [(1, 50), (2, 50)]).query == question(1, 50).query
    assert to_ask(question(2, 50), listing, [(1, 50), (2, 50)]).query == question(2, 50).query
    assert to_ask(question(3, 50), listing, [(1, 50), (3, 50)]).query == question(1, 50).query


def test_rows_in_flight_too_deep_for_a_window_are_asked_for_themselves() -> None:
    rows = [*LONG[:340], row(9999, "processing", None), *LONG[340:]]
    listing = after(answer(rows, page_size=400))[0]
    target = to_ask(question(7, 50), listing, [(1, 50), (7, 50)])
    assert (target.page, target.page_size) == (7, 50)
    other = to_ask(question(6, 50), listing, [(1, 50), (6, 50)])
    assert (other.page, other.page_size) == (1, 50)


def test_the_top_of_a_listing_is_a_question_like_any_other() -> None:
    for query in (ListQuery(namespace="ä&b", status="failed", page=3), ListQuery(page=2, page_size=7)):
        asked = page_question("c", query)
        top = ListQuery(namespace=query.namespace, status=query.status, page_size=100)
        assert top_of(asked, 100) == page_question("c", top)
