"""Judging the body of a 200."""

from __future__ import annotations

import contextlib
import json
import re
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer.lenient_json import MAX_LEVELS, _shallow, decode_leniently
from proxy.answer.page import namespace_of, parse_page
from proxy.answer.record import Stamp
from proxy.contract import TERMINAL_STATUSES
from proxy.errors import HubAnswerCutOff, HubAnswerNotAPage, HubAnswerNotJSON, HubError
from proxy.questions.query import ListQuery
from proxy.questions.question import generation_question, page_question, queue_question
from proxy.rows.envelope import Unfit
from proxy.rows.reading import read_row, read_window

QUESTION = page_question("c", ListQuery())
ID = "6b9e4d0c-0f5a-4a56-9d6b-1f0f2f6a2f10"

ENVELOPE: dict[str, Any] = {
    "count": 0,
    "generations": [],
    "page_number": 1,
    "page_size": 50,
    "total_pages": 1,
    "total_entries": 7,
    "total_cost": "1.20",
}


def body(**members: Any) -> bytes:
    return json.dumps({**ENVELOPE, **members}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in ENVELOPE.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("statuses", "settled"),
    [
        ([], True),
        (["succeeded"], True),
        (["succeeded", "failed", "cancelled"], True),
        (["succeeded", "processing"], False),
        (["queued"], False),
        (["paused"], False),  # a status that no contract lists is in flight
        (["Succeeded"], False),
        ([None], False),
    ],
)
def test_a_page_is_settled_if_all_its_rows_are_terminal(statuses: list[str | None], settled: bool) -> None:
    rows = [{"status": status, "prompt": {"status": "queued"}} for status in statuses]
    assert parse_page(QUESTION, body(generations=rows), 1.0).settled is settled


def test_a_row_without_a_status_is_in_flight() -> None:
    assert parse_page(QUESTION, body(generations=[{}]), 1.0).settled is False


def test_a_page_is_kept_as_it_came_with_its_stamp() -> None:
    raw = body(later="a member of the future")
    page = parse_page(QUESTION, raw, 12.5)
    assert (page.key, page.body, page.asked_at) == (QUESTION.key, raw, 12.5)
    assert page.stamp == Stamp(7, "1.20")
    assert page.etag.startswith('"')
    assert page.etag.endswith('"')
    assert page.etag != parse_page(QUESTION, raw + b" ", 12.5).etag


def test_total_cost_may_be_null() -> None:
    assert parse_page(QUESTION, body(total_cost=None), 0.0).stamp == Stamp(7, None)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", HubAnswerNotJSON),
        (b"<html>", HubAnswerNotJSON),
        (b"{'a': 1}", HubAnswerNotJSON),
        (b"\xef\xbb\xbf" + body(), HubAnswerNotJSON),
        (body() + b"{}", HubAnswerNotJSON),
        (body(x="?").replace(b"?", b"\xff"), HubAnswerNotJSON),
        (body()[:-1], HubAnswerCutOff),
        (body()[:25], HubAnswerCutOff),
        (b"[]", HubAnswerNotAPage),
        (b"null", HubAnswerNotAPage),
        (b"7", HubAnswerNotAPage),
        (b'"page"', HubAnswerNotAPage),
        (b'{"error": {"type": "x"}}', HubAnswerNotAPage),
        (body(generations={}), HubAnswerNotAPage),
        (body(generations=[1]), HubAnswerNotAPage),
        (body(total_entries="7"), HubAnswerNotAPage),
        (body(total_cost=[1.2]), HubAnswerNotAPage),
        (body(total_cost={"usd": 1.2}), HubAnswerNotAPage),
        (body(total_cost=True), HubAnswerNotAPage),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", HubAnswerNotAPage),
        *((without(name), HubAnswerNotAPage) for name in ENVELOPE),
    ],
)
def test_what_is_no_page_is_refused_by_its_fault(raw: bytes, error: type[HubError]) -> None:
    with pytest.raises(error) as caught:
        parse_page(QUESTION, raw, 0.0)
    assert type(caught.value) is error
    assert caught.value.hub_status == 200


ROW = f'{{"generation_id": "{ID}", "status": STATUS, "prompt": "x", "cost": null}}'


@pytest.mark.parametrize("status", ["3", "0.5", "true", '{"status": "succeeded"}', '["succeeded"]', "null"])
@pytest.mark.parametrize("kind", ["page", "queue", "generation", "queued"])
def test_a_status_that_is_no_text_is_one_that_no_contract_lists(kind: str, status: str) -> None:
    """Any one row like that lost the page to all who see it."""
    row, other = ROW.replace("STATUS", status), ROW.replace("STATUS", '"succeeded"').replace(ID, "another")
    totals = '"page_number": 1, "page_size": 50, "total_pages": 1, "total_entries": 2, "total_cost": null'
    body = {
        "page": f'{{"status": "success", "count": 2, {totals}, "generations": [{other},\n{row} ]}}',
        "queue": f'{{"count": 2, "generations": [{other}, {row}]}}',
        "generation": f'{{"status": "success", "generation": {row}}}',
        "queued": row,
    }[kind].encode()
    question = {
        "page": page_question("c", ListQuery()),
        "queue": queue_question("c", ListQuery(status="succeeded")),
        "generation": generation_question("c", "generation", ID),
        "queued": generation_question("c", "queued", ID),
    }[kind]
    page = parse_page(question, body, 1.0)
    assert (page.body, page.settled) == (body, False)
    if kind == "page":
        assert [row.settled for row in read_window(question, page).rows] == [True, False]


STATUSES = ['"succeeded"', '"queued"', '"paused"', "null", "3", "0.5", "true", '{"status": "failed"}', "[]"]
MEMBERS = st.lists(st.sampled_from(STATUSES), max_size=4).flatmap(
    lambda statuses: st.permutations([*(f'"status": {status}' for status in statuses), f'"generation_id": "{ID}"'])
)


@given(st.lists(MEMBERS, max_size=4))
def test_of_members_of_one_name_the_last_counts(rows: list[list[str]]) -> None:
    """As for most who read JSON (RFC 8259 §4); the others may be anything."""
    texts = ["{" + ", ".join(members) + "}" for members in rows]
    text = body(generations=[]).replace(b"[]", f"[{', '.join(texts)}]".encode())
    last = [row.get("status") for row in json.loads(text)["generations"]]
    settled = [isinstance(status, str) and status in TERMINAL_STATUSES for status in last]
    page = parse_page(QUESTION, text, 1.0)
    assert (page.body, page.settled) == (text, all(settled))
    assert [read_row(row.encode(), 1.0, None).settled for row in texts] == settled


@pytest.mark.parametrize("name", ["count", "generations", "total_entries", "total_cost"])
def test_so_it_does_around_the_rows(name: str) -> None:
    text = body().replace(b"{", b'{"%s": {}, ' % name.encode(), 1)
    assert parse_page(QUESTION, text, 1.0).stamp == Stamp(7, "1.20")


JSON_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(JSON_NUMBERS, st.sampled_from(["", " ", "\n"]))
def test_a_total_cost_that_is_a_number_is_what_stands_in_the_body(number: str, white: str) -> None:
    """The contract has a decimal as text; such a hub made every page an error."""
    row = ROW.replace("STATUS", '"succeeded"')
    text = body(generations=[0], count=1, total_entries=1, total_cost=[])
    text = text.replace(b"[0]", f"[{row}]".encode()).replace(b"[]", f"{white}{number}{white}".encode())
    page = parse_page(QUESTION, text, 1.0)
    assert (page.body, page.stamp, page.settled) == (text, Stamp(1, number), True)
    with pytest.raises(Unfit, match=r"envelope|amount"):  # nothing is composed of it, which would be spelled otherwise
        read_window(QUESTION, page)


@given(st.text())
def test_a_total_cost_that_is_a_text_is_that(cost: str) -> None:
    assert parse_page(QUESTION, body(total_cost=cost), 1.0).stamp == Stamp(7, cost)


@pytest.mark.parametrize("number", ["01", "1.", ".5", "+1", "1e", "0x1", "Infinity", "NaN", "1_0", "1 2"])
def test_a_total_cost_that_is_no_json_is_no_number(number: str) -> None:
    with pytest.raises(HubAnswerNotJSON):
        parse_page(QUESTION, body(total_cost=None).replace(b"null", number.encode()), 1.0)


NUMBERS = ["count", "page_number", "page_size", "total_pages", "total_entries"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("spelling", ["7.0", "7e0", "7E+0", "0.7E1", "70e-1", "7.000"])
def test_whole_numbers_are_whole_however_they_are_spelled(name: str, spelling: str) -> None:
    """For JSON, and for JSON Schema from draft 6 on."""
    number, entries = (1, 7) if name == "total_entries" else (7, 49)
    question = page_question("c", ListQuery(page=number, page_size=7))
    rows = [{"generation_id": f"g{row}", "status": "succeeded"} for row in range(7)]
    places = {"page_number": number, "page_size": 7, "total_pages": number, "total_entries": entries}
    plain = body(count=7, generations=rows, **places)
    assert len(read_window(question, parse_page(question, plain, 1.0)).rows) == 7
    text = plain.replace(f'"{name}": 7'.encode(), f'"{name}": {spelling}'.encode())
    page = parse_page(question, text, 1.0)
    assert (page.body, page.stamp) == (text, Stamp(entries, "1.20"))
    assert text != plain
    with pytest.raises(Unfit, match=r"row|envelope"):  # nothing is composed of it, which would be spelled otherwise
        read_window(question, page)


@pytest.mark.parametrize(
    "spelling",
    [
        "true",
        "1.5",
        "7e-1",
        '"7"',
        "null",
        "1e400",
        "1e16",
        "9007199254740993.0",
        "1e-999999999",
        "0." + "0" * 9999 + "1",
    ],
)
def test_what_is_no_whole_number_is_none(spelling: str) -> None:
    text = json.dumps({**ENVELOPE, "total_entries": -1}).replace("-1", spelling).encode()
    with pytest.raises(HubAnswerNotAPage):
        parse_page(QUESTION, text, 1.0)


def test_numbers_of_rows_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may have as many as it likes, each of which would cost more than the rest of its row."""
    looked_at: set[str] = set()

    def decimal(text: str) -> Decimal:
        looked_at.add(text)
        return Decimal(text)

    monkeypatch.setattr("proxy.answer.lenient_json.Decimal", decimal)
    row = ROW.replace("STATUS", "3").replace('"prompt": "x"', '"prompt": "x", "seed": 1e999, "count": 1e9')
    assert parse_page(QUESTION, body(generations=[None]).replace(b"null", row.encode()), 1.0).settled is False
    assert not looked_at & {"1e999", "1e9"}


def test_all_that_is_odd_may_be_so_at_once() -> None:
    odd = r'"prompt": "\ud83d", "deep": ' + "[" * 5000 + "]" * 5000
    for row in (ROW.replace("STATUS", "3").replace('"prompt": "x"', odd), f'{{{odd}, "status": {{}}}}'):
        text = body(generations=[None], total_entries=-1).replace(b"null", row.encode()).replace(b"-1", b"7.0")
        page = parse_page(QUESTION, text, 1.0)
        assert (page.body, page.settled, page.stamp) == (text, False, Stamp(7, "1.20"))


def test_rows_within_rows_are_none() -> None:
    """Somebody's parameters may look like an answer, and are read as deep as they go by nobody."""
    deep = b'{"generation": ' * 900 + b"1" + b"}" * 900
    text = body(generations=[None]).replace(
        b"null", b'{"status": 3, "generation": %s, "generations": [%s]}' % (deep, deep)
    )
    assert parse_page(QUESTION, text, 1.0).settled is False


HALVES = [r"\ud83d", r"\ude00", r"\uD83D and \uDE00", r"\ude00\ud83d", r"\ud83d\n\ude00", r"\\\ud83d"]


@pytest.mark.parametrize("text", HALVES)
@pytest.mark.parametrize("kind", ["page", "queue", "generation", "queued"])
def test_halves_of_surrogates_are_json(kind: str, text: str) -> None:
    """RFC 8259 §8.2; msgspec thinks otherwise, even of what it skips."""
    row = f'{{"generation_id": "{ID}", "prompt": "{text}", "status": "succeeded", "target_namespace": "ox"}}'
    totals = '"page_number": 1, "page_size": 50, "total_pages": 1, "total_entries": 1, "total_cost": null'
    body = {
        "page": f'{{"count": 1, {totals}, "generations": [{row}], "last": "{text}"}}',
        "queue": f'{{"count": 1, "generations": [{row}]}}',
        "generation": f'{{"generation": {row}}}',
        "queued": row,
    }[kind].encode()
    json.loads(body)
    question = {
        "page": page_question("c", ListQuery()),
        "queue": queue_question("c", ListQuery()),
        "generation": generation_question("c", "generation", ID),
        "queued": generation_question("c", "queued", ID),
    }[kind]
    page = parse_page(question, body, 0.0)
    assert page.body == body
    if page.single:
        assert namespace_of(question, page) == "ox"


def test_an_escaped_backslash_is_no_surrogate() -> None:
    seen: list[bytes] = []

    def refuse(body: bytes) -> None:
        seen.append(body)
        raise msgspec.DecodeError

    for body in (rb'"\\ud83d"', rb'"\ud83d\ude00"', rb'"\u0041"', b'"'):
        with pytest.raises(msgspec.DecodeError):
            decode_leniently(refuse, body)
    assert len(seen) == 4, "nothing to be lenient with"


DEPTHS = [10, MAX_LEVELS - 1, MAX_LEVELS, MAX_LEVELS + 1, 999, 5000, 100_000]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", [b"[", b'{"a":', b'[{"]\\"[{":['])
def test_a_member_may_be_nested_to_any_depth(depth: int, shape: bytes) -> None:
    """It is what somebody asked the hub for; the page is not lost to all who see the row."""
    begins = re.sub(rb'"(?:\\.|[^"])*"', b"", shape)
    ends = bytes({91: 93, 123: 125}[sign] for sign in reversed(begins) if sign in b"[{")
    deep = shape * depth + b"1" + ends * depth
    row = b'{"generation_id": "%s", "prompt": %s, "status": "succeeded", "target_namespace": "ox"}'
    text = row % (ID.encode(), deep)
    page = parse_page(QUESTION, body(generations=[None]).replace(b"null", text), 1.0)
    assert (page.settled, page.stamp) == (True, Stamp(7, "1.20"))
    single = generation_question("c", "generation", ID)
    shown = parse_page(single, b'{"status": "", "status_message": "", "generation": %s}' % text, 1.0)
    assert namespace_of(single, shown) == "ox"
    whole = body(generations=[None], count=1, total_entries=1, total_cost=None).replace(b"null", text, 1)
    one = parse_page(QUESTION, whole, 1.0)
    if depth < 500:
        assert len(read_window(QUESTION, one).rows) == 1
    else:
        with contextlib.suppress(Unfit):  # nothing is composed of it, where Python goes no deeper
            read_window(QUESTION, one)


@pytest.mark.parametrize("end", [b"", b'"', b"]" * 999, b"}" * 5000, b"]" * 5001])
def test_what_is_nested_deeply_and_no_json_is_refused(end: bytes) -> None:
    text = body(generations=[None]).replace(b"null", b'{"status": "succeeded", "prompt": ' + b"[" * 5000 + end)
    with pytest.raises(HubError):
        parse_page(QUESTION, text, 1.0)


def test_a_text_without_an_end_is_read_once() -> None:
    """However many signs it holds that could begin another."""
    assert _shallow(b"[" * 100 + b'"' + b'\\"[' * 500_000).startswith(b"[" * MAX_LEVELS)


@pytest.mark.parametrize("kind", ["generation", "queued"])
def test_a_generation_is_of_another_moment_when_anything_in_it_has_changed(
    kind: Literal["generation", "queued"],
) -> None:
    """It may still be charged after it has ended; but for its links, which are signed for each answer anew."""

    def stamp(**members: Any) -> Stamp:
        row = {"generation_id": ID, "status": "succeeded", "cost": "0.16", **members}
        shown = {"generation": row} if kind == "generation" else row
        return parse_page(generation_question("c", kind, ID), json.dumps(shown).encode(), 1.0).stamp

    def link(at: int) -> str:
        return f"https://b.example/k.png?X-Amz-Date=20260921T1345{at}Z&X-Amz-Expires=3600&X-Amz-Signature={at}f"

    assert stamp(result_url=link(20)) == stamp(result_url=link(21))
    changed: list[dict[str, Any]] = [{}, {"cost": "9.99"}, {"cost": None}, {"status": "failed"}, {"username": "bo"}]
    assert len({stamp(**members) for members in changed}) == len(changed)
