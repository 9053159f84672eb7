"""A listing as its rows: what explains a change, what does not, and what pages and moments are made of it."""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from proxy.answer.page import Page, parse_page
from proxy.rows.composing import compose, compose_at, outline, shows_latest, write_token
from proxy.rows.envelope import Unfit
from proxy.rows.listing import Listing, advance_listing
from proxy.rows.reading import read_window
from tests.listings import OLD, Spec, after, answer, body, of, question, row


def ids(listing: Listing) -> list[str]:
    return [row.id for row in listing.rows]


@pytest.mark.parametrize(
    ("name", "now", "size", "fault"),
    [
        ("nothing", OLD, 4, None),
        ("one on top", [row(11), *OLD], 4, None),
        ("one between", [OLD[0], row(99), *OLD[1:]], 4, None),
        ("one at the window's edge", [*OLD[:3], row(99), *OLD[3:]], 4, None),
        ("a status", [row(10, "failed"), *OLD[1:]], 4, None),
        ("a charge that is shown", [row(10, cost="7.5"), *OLD[1:]], 4, None),
        ("a new row with a charge", [row(11, cost="3.33"), *OLD], 4, None),
        ("as many as the window holds", [row(13), row(12), row(11), *OLD], 4, None),
        ("more than the window holds", [row(14), row(13), row(12), row(11), *OLD], 4, "overflow"),
        ("a deletion that is shown", OLD[1:], 4, "order"),
        ("a deletion between", [OLD[0], *OLD[2:]], 4, "order"),
        ("a deletion below", OLD[:-1], 4, "entries"),
        ("a deletion below and a new row", [row(11), *OLD[:-1]], 4, "entries"),
        ("a late charge below", [*OLD[:-1], row(1, cost="0.11")], 4, "cost"),
        ("a charge below, against one above", [row(10, cost="0.09"), *OLD[1:-1], row(1, cost="0.11")], 4, "cost"),
        ("a row below that came between", [*OLD[:7], row(99), *OLD[7:]], 4, "entries"),
        ("two that changed places", [OLD[1], OLD[0], *OLD[2:]], 4, "order"),
        ("everything is gone but a new one", [row(11)], 4, "order"),
        ("all of it is shown, and one is gone", OLD[:-1], 50, "order"),
        ("all of it is shown, and one has come at the end", [*OLD, row(0)], 50, "entries"),
    ],
)
def test_a_change_is_explained_only_by_what_the_answer_shows(
    name: str, now: list[Spec], size: int, fault: str | None
) -> None:
    listing, faults = after(answer(OLD), answer(now, page_size=size, at=5.0))
    assert faults == [fault], name
    if fault is None:
        assert ids(listing) == of(now), "what is below is where it was"
        assert [row.cost for row in listing.rows] == [Decimal(cost or 0) for _, _, cost in now]
        assert listing.chain.name == "a"
    else:
        assert ids(listing) == of(now[:size]), "only what is shown is known"
        assert listing.chain.name == "b0"


def test_sums_are_exact() -> None:
    """Beyond the 28 digits of Python's decimals where nothing else is said: rounded after each row, the small ones
    would be lost beside the large one, and not in the total.
    """
    small = [row(number, cost="0.4") for number in (4, 3, 2)]
    with localcontext(prec=100):
        first, second = answer([row(1)]), answer([row(5, cost="1" + "0" * 27), *small, row(1)], at=1.0)
    assert after(first, second)[1] == [None]


def test_a_page_below_extends_what_is_known() -> None:
    listing, faults = after(answer(OLD, page_size=4), answer(OLD, 2, 4), answer(OLD, 3, 4))
    assert faults == [None, None]
    assert ids(listing) == of(OLD)
    assert len(listing.rows) == listing.stamp.total_entries


def test_a_page_that_does_not_adjoin_says_nothing_of_the_rows_above() -> None:
    listing, faults = after(answer(OLD, page_size=3), answer(OLD, 3, 3, at=7.0))
    assert (ids(listing), faults, listing.asked_at) == (of(OLD[:3]), [None], 0.0)
    listing, _ = after(answer(OLD, 2, 3))
    assert ids(listing) == []


def test_a_page_below_of_another_moment_waits_for_the_top() -> None:
    """What came above it is not shown; the next answer from the top explains both."""
    now = [row(11), *OLD]
    before, _ = after(answer(OLD))
    listing, faults = after(answer(OLD), answer(now, 2, 4, at=5.0))
    assert (ids(listing), listing.asked_at, faults) == (ids(before), 0.0, [None])
    listing, faults = after(answer(OLD), answer(now, 2, 4, at=5.0), answer(now, page_size=4, at=6.0))
    assert (ids(listing), faults) == (of(now), [None, None])


def test_the_same_totals_after_others_are_not_the_same_moment() -> None:
    """One more came and went, below: its record has moved twice (since), and what is below is not vouched for."""
    moved = [*OLD[:5], row(99), *OLD[5:9]]
    listing, faults = after(answer(OLD, page_size=5), answer(moved, 2, 5, at=9.0), since=8.0)
    assert ids(listing) == of(OLD[:5])
    assert (listing.asked_at, faults) == (0.0, [None])


@pytest.mark.parametrize("more", [[], [row(11)], [row(12), row(11)]])
def test_a_page_below_in_another_order_ends_the_chain(more: list[Spec]) -> None:
    """At its own moment or at a later one; else the next answer from the top would confirm the order of before."""
    other = [*more, *OLD[:5], OLD[6], OLD[5], *OLD[7:]]
    listing, faults = after(answer(OLD), answer(other, 2, 4, at=5.0), answer(other, page_size=4, at=6.0))
    assert faults[0] == "order"
    assert ids(listing) == of(other[:4])


def test_a_page_below_whose_rows_were_above_explains_nothing_even_where_the_totals_fit() -> None:
    """It would be taken for a new row, and every page composed of the listing would show it twice."""
    other = [row(11), OLD[0], OLD[2], OLD[3], OLD[1], *OLD[4:]]
    listing, faults = after(answer(OLD), answer(other, 2, 4, at=5.0))
    assert (ids(listing), faults) == ([], ["order"])


def test_the_same_totals_in_another_order_after_others_leave_nothing_known() -> None:
    other = [*OLD[:5], OLD[6], OLD[5], *OLD[7:]]
    listing, faults = after(answer(OLD), answer(other, 2, 4, at=9.0), since=8.0)
    assert (ids(listing), faults) == ([], ["order"])


def test_with_rows_in_flight_below_the_window_nothing_is_composed() -> None:
    """Whether they still were in flight when what the window shows came to be is not known."""
    rows = [*OLD[:8], row(2, "processing", None), OLD[9]]
    listing, _ = after(answer(rows), answer([row(11), *rows], page_size=4, at=5.0))
    assert [row.asked_at for row in listing.rows] == [5.0] * 4 + [0.0] * 7
    assert outline(question(1, 50), listing, purged_at=0.0, confirmed_at=5.0) is None
    page = outline(question(1, 50), listing, purged_at=0.0, confirmed_at=0.0)
    assert page is not None
    assert (page.asked_at, page.seen_at, page.settled) == (5.0, 0.0, False)
    above = outline(question(1, 3), listing, purged_at=0.0, confirmed_at=5.0)
    assert above is not None
    assert (above.seen_at, above.settled) == (5.0, True)
    assert outline(question(1, 50), listing, purged_at=1.0, confirmed_at=0.0) is None, "rows that are purged"


@given(st.sets(st.integers(0, 9)), st.integers(1, 10), st.integers(1, 3), st.sampled_from([3, 4, 10]))
def test_a_page_shows_the_latest_if_what_was_shown_since_is_in_it(
    changed: set[int], top: int, page: int, size: int
) -> None:
    """Of its own rows; what the latest answer does not show of them may be as it was."""
    before = [row(number, "queued") for number in range(10, 0, -1)]
    now = [row(number, "processing" if at in changed else "queued") for at, number in enumerate(range(10, 0, -1))]
    asked = question(page, size)
    kept = parse_page(asked, body(before, page, size), 1.0)
    listing, _ = after(answer(before), answer(now, page_size=top, at=2.0))
    shown = range((page - 1) * size, min(page * size, top))
    assert shows_latest(listing, asked, kept, 1.0) == changed.isdisjoint(shown)
    assert shows_latest(listing, asked, kept, 2.0)


@pytest.mark.parametrize(
    "text", [b"{}", b'{"generations": []}', b'{"generations": ' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_what_has_not_as_many_rows_does_not_show_the_latest(text: bytes) -> None:
    kept = Page(question().key, text, "", 1.0, answer(OLD).stamp, settled=False, dead_at=None)
    assert not shows_latest(after(answer(OLD, at=2.0))[0], question(), kept, 1.0)


def test_an_answer_that_was_asked_for_earlier_takes_nothing_back() -> None:
    shown = [row(10, "processing", None), *OLD[1:]]
    listing, _ = after(answer(shown, at=5.0), answer(shown, page_size=4, at=3.0))
    assert [row.asked_at for row in listing.rows] == [5.0] * 10
    assert listing.asked_at == 5.0


def test_no_more_is_kept_than_the_depth() -> None:
    listing, _ = after(answer(OLD, page_size=4), answer([row(11), *OLD], page_size=50), depth=6)
    assert ids(listing) == of([row(11), *OLD])[:6]
    assert len(listing.rows) < listing.stamp.total_entries


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(answer(OLD).rows[0].text)
    monkeypatch.setattr("proxy.rows.listing.MAX_BYTES", 3 * size)
    listing, _ = after(answer(OLD))
    assert ids(listing) == of(OLD[:3])
    listing, faults = after(answer(OLD), answer([row(11), *OLD], page_size=4, at=1.0))
    assert (ids(listing), faults) == (of([row(11), *OLD[:2]]), [None])


def test_moments_can_be_returned_to() -> None:
    now, later = [row(11), *OLD], [row(12), row(11), OLD[0], row(99), *OLD[1:]]
    listing, _ = after(answer(OLD), answer(now, page_size=4, at=5.0), answer(later, page_size=4, at=6.0))
    for rows in (OLD, now, later):
        token = write_token("a", answer(rows).stamp)
        page = compose_at(question(1, 50), listing, token, asked_since=0.0)
        assert page is not None
        assert json.loads(page.body) == json.loads(body(rows))
        assert page.moment == token
    assert compose_at(question(1, 50), listing, write_token("a", answer(OLD[1:]).stamp), asked_since=0.0) is None
    assert compose_at(question(1, 50), listing, write_token("z", answer(now).stamp), asked_since=0.0) is None


def test_a_moment_can_be_returned_to_after_its_chain_has_ended() -> None:
    listing, faults = after(answer(OLD), answer(OLD[:-1], at=5.0))
    assert faults == ["order"]
    token = write_token("a", answer(OLD).stamp)
    page = compose_at(question(2, 5), listing, token, asked_since=0.0)
    assert page is not None
    assert json.loads(page.body) == json.loads(body(OLD, 2, 5))
    listing, _ = advance_listing(listing, answer(OLD[:-1], at=160.0), 160.0, since=0.0, name="c", depth=99)
    assert compose_at(question(2, 5), listing, token, asked_since=0.0) is None


def test_a_moment_of_a_chain_that_has_ended_has_its_rows_in_their_latest_state() -> None:
    begun = [row(10, "processing", None), *OLD[1:]]
    listing, faults = after(answer(begun), answer(OLD[:-1], at=5.0))
    assert faults == ["order"]
    page = compose_at(question(1, 3), listing, write_token("a", answer(begun).stamp), asked_since=0.0)
    assert page is not None
    assert [shown["status"] for shown in json.loads(page.body)["generations"]] == ["succeeded"] * 3


def test_of_a_moment_no_row_is_shown_that_was_seen_before_what_withdrew_it() -> None:
    """A purge, or a refusal: one row of before is enough that the page is not shown."""
    listing, _ = after(answer(OLD), answer(OLD, page_size=4, at=5.0))
    token = write_token("a", answer(OLD).stamp)
    assert compose_at(question(1, 4), listing, token, asked_since=1.0) is not None
    assert compose_at(question(1, 5), listing, token, asked_since=1.0) is None


def test_moments_pass() -> None:
    now = [row(11), *OLD]
    listing, _ = after(answer(OLD), answer(now, at=100.0), answer(now, at=240.0))
    assert compose_at(question(), listing, write_token("a", answer(OLD).stamp), asked_since=0.0) is not None
    listing, _ = advance_listing(listing, answer(now, at=251.0), 251.0, since=0.0, name="c", depth=99)
    assert compose_at(question(), listing, write_token("a", answer(OLD).stamp), asked_since=0.0) is None


@pytest.mark.parametrize("extra", ["", '"count": 10, ', '"more": {"count": 1, "generations": [{}], "page_size": 2}, '])
@pytest.mark.parametrize("glue", [", ", ",", ",\n    "])
def test_composed_is_what_the_hub_would_have_said(extra: str, glue: str) -> None:
    if extra.startswith('"count"'):
        with pytest.raises(Unfit, match="envelope"):
            answer(OLD, extra=extra, glue=glue)
        return
    listing, _ = after(answer(OLD, extra=extra, glue=glue))
    for size in (1, 3, 4, 9, 10, 11, 50, 1000):
        for number in range(1, math.ceil(10 / size) + 1):
            page = compose(question(number, size), listing)
            assert page is not None
            assert page.body == body(OLD, number, size, extra=extra, glue=glue)
        assert compose(question(math.ceil(10 / size) + 1, size), listing) is None, "past the end, who knows"


@pytest.mark.parametrize("glue", [",", ", ", ",\n    "])
def test_one_row_does_not_show_what_stands_between_rows(glue: str) -> None:
    """It is as it was where all else is: a guess would be other bytes than the hub's."""
    listing, _ = after(answer(OLD, glue=glue), answer(OLD, page_size=1, at=5.0, glue=glue))
    for size in (1, 4, 50):
        page = compose(question(1, size), listing)
        assert page is not None
        assert page.body == body(OLD, 1, size, glue=glue)
    newer = [row(12), row(11), *OLD]
    listing, faults = after(answer(OLD, glue=glue), answer(newer, page_size=1, at=5.0, glue=glue))
    assert faults[-1] is not None
    past = compose_at(question(1, 4), listing, write_token("a", answer(OLD).stamp), asked_since=0.0)
    assert past is not None
    assert past.body == body(OLD, 1, 4, glue=glue)


def test_of_rows_with_nothing_known_between_them_no_page_is_composed() -> None:
    """Neither of those that were seen one by one, nor after the hub has begun to write in another way."""
    first = answer(OLD, page_size=1)
    other = answer(OLD, page_size=1, at=5.0, extra='"more": 1, ')
    for listing in (
        after(first)[0],
        after(first, answer(OLD, 2, 1, at=5.0))[0],
        after(answer(OLD), other)[0],
        after(answer(OLD[1:]), answer([row(12), *OLD], page_size=1, at=5.0, extra='"more": 1, '))[0],
    ):
        assert all(len(chain.rows) <= 1 for chain in (listing.chain, *listing.ended))
        assert compose(question(1, 2), listing) is None
        assert compose(question(1, 1), listing) is not None
    again, _ = after(answer(OLD), other, answer(OLD, at=6.0, extra='"more": 1, ', glue=","))
    page = compose(question(1, 4), again)
    assert page is not None
    assert page.body == body(OLD, 1, 4, extra='"more": 1, ', glue=",")


def test_tags_tell_pages_apart() -> None:
    listing, _ = after(answer(OLD))
    changed, _ = after(answer([row(10, cost="0.1"), *OLD[1:]]))
    pages = [compose(question(1, size), one) for one in (listing, changed) for size in (1, 2, 50)]
    tags = [page.etag for page in pages if page is not None]
    assert len(set(tags)) == 6
    again = compose(question(1, 2), after(answer(OLD))[0])
    assert again is not None
    assert again.etag == tags[1], "the same bytes, the same tag"
    sent = parse_page(question(1, 2), body(OLD, 1, 2), 1.0)
    assert (again.body, again.etag) == (sent.body, sent.etag), "also where another replica had them of the hub itself"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ((b'"count": 10', b'"count": 9'), "numbers"),
        ((b'"page_size": 50', b'"page_size": 25'), "numbers"),
        ((b'"page_number": 1', b'"page_number": 2'), "numbers"),
        ((b'"total_pages": 1', b'"total_pages": 2'), "numbers"),
        ((b'"total_entries": 10', b'"total_entries": 11'), "numbers"),
        ((b'"g1"', b'"g2"'), "twice"),
        ((b'"generation_id": "g1"', b'"id": "g1"'), "row"),
        ((b'"generation_id": "g1"', b'"generation_id": 1'), "row"),
        ((b'"cost": "0.10"', b'"cost": "ten"'), "amount"),
        ((b'"cost": "0.10"', b'"cost": "NaN"'), "amount"),
        ((b'"cost": "0.10"', b'"cost": "1e1000000"'), "amount"),
        ((b'"cost": "0.10"', b'"cost": "1e-1000000"'), "amount"),
        ((b'"total_cost": "1.00"', b'"total_cost": "1,00"'), "amount"),
        ((b"}, {", b"},  {"), "envelope"),
    ],
)
def test_nothing_is_composed_of_an_answer_that_contradicts_itself(spoil: tuple[bytes, bytes], reason: str) -> None:
    spoiled = body(OLD).replace(*spoil, 1)
    asked = question()
    with pytest.raises(Unfit, match=reason):
        read_window(asked, parse_page(asked, spoiled, 0.0))


def test_an_empty_answer_shows_no_form() -> None:
    with pytest.raises(Unfit, match="empty"):
        answer([])


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.sampled_from([", ", ",", " ,\n"]))
def test_rows_are_kept_byte_for_byte(texts: list[str], glue: str) -> None:
    """Whatever stands in them: brackets, quotes, escapes, what looks like an envelope."""
    rows = [
        json.dumps({"generation_id": str(n), "status": "failed", "prompt": text, '"generations": [': [[text]]})
        for n, text in enumerate(texts)
    ]
    whole = (
        f'{{"total_cost":null,"x":"]","generations" :[ {glue.join(rows)}\t],"count":{len(rows)},"page_number":1,'
        f'"page_size":50,"total_entries":{len(rows)},"total_pages":1}}'
    ).encode()
    asked = question()
    window = read_window(asked, parse_page(asked, whole, 0.0))
    assert [row.text.decode() for row in window.rows] == rows
    listing = advance_listing(None, window, 0.0, since=0.0, name="a", depth=99)[0]
    page = compose(asked, listing)
    assert page is not None
    assert page.body == whole
    one = compose(question(1, 1), listing)
    assert one is not None
    assert rows[0].encode() in one.body
    assert json.loads(one.body)["count"] == 1


class Rows(RuleBasedStateMachine):
    """A table of rows, and what is learned of it by looks at its pages, in all orders.

    Whatever is composed is what the table said at the moment that it is of, and a walk shows each row once. Amounts
    are powers of two, so that no changes cancel out; a change of places is looked at before anything else happens:
    those two would not be noticed (README: what this rests on).
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.numbers = iter(range(1, 10**6))
        self.table: list[Spec] = []
        self.listing: Listing | None = None
        self.told: dict[str, list[Spec]] = {}
        self.since = 0.0
        self.stamp: object = None

    def new(self, status: str) -> Spec:
        number = next(self.numbers)
        return f"g{number}", status, str(2**number)

    @rule(status=st.sampled_from(["queued", "succeeded", "strange"]))
    def enqueue(self, status: str) -> None:
        self.table.insert(0, self.new(status))

    @precondition(lambda self: self.table)
    @rule(data=st.data(), status=st.sampled_from(["processing", "succeeded"]), charged=st.booleans())
    def change(self, data: st.DataObject, status: str, charged: bool) -> None:
        """A row starts or ends, or is charged late."""
        place = data.draw(st.integers(0, len(self.table) - 1))
        self.table[place] = (self.table[place][0], status, self.new("")[2] if charged else self.table[place][2])

    @precondition(lambda self: self.table)
    @rule(data=st.data())
    def comes_between(self, data: st.DataObject) -> None:
        """As in a listing by status, when what began early ends late."""
        self.table.insert(data.draw(st.integers(0, len(self.table))), self.new("succeeded"))

    @precondition(lambda self: self.table)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.table.pop(data.draw(st.integers(0, len(self.table) - 1)))

    @precondition(lambda self: len(self.table) > 1)
    @rule(place=st.integers(0, 6))
    def change_places(self, place: int) -> None:
        self.look(1, 8)
        self.told.clear()
        self.table[place : place + 2] = reversed(self.table[place : place + 2])
        self.look(1, 8)

    @precondition(lambda self: self.table)
    @rule(page=st.integers(1, 4), page_size=st.sampled_from([1, 2, 3, 5, 8]))
    def look(self, page: int, page_size: int) -> None:
        """The hub answers; as in ``record.advance_record``, other totals than before begin a new time."""
        try:
            window = answer(self.table, page, page_size, self.now)
        except Unfit:
            return
        if window.stamp != self.stamp:
            self.stamp, self.since = window.stamp, self.now - 0.5
        self.listing, _ = advance_listing(
            self.listing, window, self.now, since=self.since, name=f"c{next(self.numbers)}", depth=12
        )
        if self.listing.stamp == window.stamp and self.listing.asked_at == self.now:
            self.told.setdefault(write_token(self.listing.chain.name, window.stamp), list(self.table))
        self.now += 1.0

    @invariant()
    def moments_hold(self) -> None:
        """Every moment that can be returned to: its rows in its order, in their latest known state."""
        if self.listing is None:
            return
        for token, rows in self.told.items():
            pages = [compose_at(question(n, 3), self.listing, token, asked_since=0.0) for n in range(1, 9)]
            seen = [one["generation_id"] for page in pages if page for one in json.loads(page.body)["generations"]]
            assert seen == of(rows)[: len(seen)], "each row once, in the order of the moment"
            totals = {json.loads(page.body)["total_entries"] for page in pages if page}
            assert totals <= {len(rows)}


def test_moments_of_a_table_that_changes_in_every_way() -> None:
    run_state_machine_as_test(Rows)


def test_msgpack_knows_how_to_write_a_row() -> None:
    window = answer(OLD)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(window.rows[0]), type=type(window.rows[0])) == window.rows[0]


def test_an_outline_is_the_page_without_its_body() -> None:
    listing, _ = after(answer(OLD))
    outlined = outline(question(2, 3), listing, purged_at=0.0, confirmed_at=0.0)
    composed = compose(question(2, 3), listing)
    assert isinstance(outlined, Page)
    assert isinstance(composed, Page)
    assert msgspec.structs.replace(composed, body=b"", etag="") == outlined
