"""How a listing's record moves forward: by table, by property, and in Lua as in Python."""

from __future__ import annotations

from typing import TypeAlias

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp, advance_record
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.redis.stored import read_record, write_stamp
from proxy.secret import Secret
from tests.support import RedisServer

A, B = Stamp(1, None), Stamp(2, "0.10")


@pytest.mark.parametrize(
    ("record", "answer", "expected"),
    [
        # Nothing known: whatever comes is the truth.
        (None, (A, 5, 6), (Record(A, 0, 5, 6), "moved")),
        # The same stamp confirms; the latest question counts, in whatever order answers come.
        (Record(A, 0, 5, 6), (A, 7, 8), (Record(A, 0, 7, 8, 2), "confirmed")),
        (Record(A, 0, 7, 8), (A, 5, 9), (Record(A, 0, 7, 9, 2), "confirmed")),
        # Another stamp, asked for after all that was known had come: the listing moved.
        (Record(A, 0, 5, 6), (B, 6, 8), (Record(B, 6, 6, 8, 2), "moved")),
        # Another stamp, asked for before: either may be the older moment.
        (Record(A, 0, 5, 6), (B, 5.5, 8), (Record(A, 0, 5, 6), "behind")),
        (Record(B, 6, 6, 8), (A, 4, 9), (Record(B, 6, 6, 8), "behind")),
        # Back to the first stamp: what was asked for before is not of this moment, equal as it looks.
        (Record(B, 6, 6, 8), (A, 9, 10), (Record(A, 8, 9, 10, 2), "moved")),
        (Record(A, 8, 9, 10), (A, 5, 11), (Record(A, 8, 9, 10), "behind")),
        # Two replicas' clocks may disagree; records still follow one another.
        (Record(A, 0, 5, 6), (A, 5, 5.5), (Record(A, 0, 5, 6, 2), "confirmed")),
    ],
)
def test_each_answer_moves_a_record_as_the_table_says(
    record: Record | None, answer: tuple[Stamp, float, float], expected: tuple[Record, str]
) -> None:
    assert advance_record(record, *answer) == expected


def test_what_contradicts_confirms_nothing() -> None:
    """Pages of before are retired though the totals are the same; not by an answer that may be of before itself."""
    known = Record(A, 0, 5, 6)
    assert advance_record(known, A, 6, 8, contradicts=True) == (Record(A, 6, 6, 8, 2), "moved")
    assert advance_record(known, A, 5.5, 8, contradicts=True) == (known, "behind")


moments = st.integers(0, 40)
stamps = st.builds(Stamp, st.integers(0, 3), st.none() | st.sampled_from(["0", "0.10", "a b", ""]))
Answer: TypeAlias = tuple[Stamp, float, float, bool]
"""Its stamp, when it was asked for and when it came, and whether it contradicts what was known."""
answers = st.lists(
    st.tuples(stamps, moments, st.integers(0, 10), st.booleans()).map(
        lambda a: (a[0], float(a[1]), float(a[1] + a[2]), a[3])
    ),
    max_size=12,
)


@given(answers)
def test_records_only_move_forward(given_answers: list[Answer]) -> None:
    record: Record | None = None
    for stamp, asked_at, received_at, contradicts in given_answers:
        before = record
        record, learned = advance_record(record, stamp, asked_at, received_at, contradicts=contradicts)
        if learned == "behind":
            assert record is before
            continue
        assert record.stamp == stamp
        assert record.confirmed_at >= asked_at
        if before is not None:
            assert record.is_after(before)
            assert not before.is_after(record)
            assert record.since >= before.since
            confirmed = stamp == before.stamp and asked_at >= before.since and not contradicts
            assert learned == ("confirmed" if confirmed else "moved")
            assert record.since == (before.since if confirmed else asked_at if contradicts else before.received_at)
            assert learned == "confirmed" or asked_at >= before.received_at, "a move is never guessed"


def as_in_redis(record: Record | None) -> tuple[object, ...] | None:
    if record is None:
        return None
    return (
        record.stamp,
        *(round(at * 1e6) for at in (record.since, record.confirmed_at, record.received_at)),
        record.version,
    )


async def both_ways(shared: Shared, namespace: str, given_answers: list[Answer]) -> None:
    question = page_question("c", ListQuery(namespace=namespace))
    record: Record | None = None
    kept: Page | None = None
    for stamp, asked_at, received_at, contradicts in given_answers:
        page = Page(question.key, b"{}", '"e"', asked_at, stamp, settled=True, dead_at=None)
        record, learned = advance_record(record, stamp, asked_at, received_at, contradicts=contradicts)
        result = await shared.store(
            question, page, received_at=received_at, keep_page=60, keep_record=60, contradicts=contradicts
        )
        assert isinstance(result, tuple)
        assert (as_in_redis(result[0]), result[1]) == (as_in_redis(record), learned)
        found = await shared.look_up(question)
        assert found is not None
        assert as_in_redis(found.record) == as_in_redis(record)
        if learned != "behind" and (kept is None or kept.asked_at <= page.asked_at):
            kept = page
        assert found.page == kept, "a live one that was asked for later shows more"


@given(answers)
async def test_lua_learns_as_python_does(given_answers: list[Answer]) -> None:
    await both_ways(Shared(RedisLink(fakeredis.FakeAsyncRedis(), 5.0)), "ox", given_answers)


async def test_a_real_redis_learns_as_python_does(redis_server: RedisServer) -> None:
    client = connect(Secret(redis_server.url))
    shared = Shared(RedisLink(client, 5.0))

    @settings(max_examples=50, deadline=None)
    @given(answers)
    def cases(given_answers: list[Answer]) -> None:
        collected.append([(s, a + 1.7e9, h + 1.7e9, c) for s, a, h, c in given_answers])

    collected: list[list[Answer]] = []
    cases()
    for number, case in enumerate(collected):
        await both_ways(shared, f"case-{number}", case)
    await client.aclose()


@given(stamps, stamps)
def test_stamps_as_text_are_equal_exactly_for_equal_stamps(one: Stamp, other: Stamp) -> None:
    assert (write_stamp(one) == write_stamp(other)) == (one == other)
    assert read_record(f"1 2 3 4 {write_stamp(one)}".encode()).stamp == one


@pytest.mark.parametrize("raw", [b"", b"1 2 3 4", b"a b c d 1 n", b"1 2 3 4 x n", b"\xff"])
def test_what_is_no_record_is_not_read_as_one(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_record(raw)
