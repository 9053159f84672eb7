"""The query string: what is refused, what is the same question, and that the hub gets only what was parsed."""

from __future__ import annotations

import random
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract import MEDIA_TYPES, STATUSES
from proxy.errors import InvalidParameter
from proxy.questions.query import MAX_FILTER, MAX_PAGE, MAX_RAW, PARAMETERS, ListQuery, parse
from tests.bad_queries import BAD_QUERIES


@pytest.mark.parametrize(("raw", "parameter"), BAD_QUERIES, ids=lambda value: repr(value)[:40])
def test_bad_query_names_the_parameter(raw: bytes, parameter: str) -> None:
    """Each fault is refused with the parameter's name, in a text that is short and says what is allowed."""
    with pytest.raises(InvalidParameter) as caught:
        parse(raw)
    assert caught.value.parameter == parameter
    assert (
        "allowed" in caught.value.detail or "known are" in caught.value.detail or "at most once" in caught.value.detail
    )
    assert len(caught.value.detail) < 400
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"status=done", f"allowed are {', '.join(STATUSES)}."),
        (b"media_type=", f"allowed are {', '.join(MEDIA_TYPES)}, or leave it out."),
        (b"page_size=1001", "allowed is a whole number from 1 to 1000,"),
        (b"folder=a%00", "U+0000; allowed are 1 to 256 characters without control characters."),
        (b"model=" + b"a" * 257, "has 257 characters; allowed are 1 to 256 characters"),
        (b"page=1&", f"without a name (a stray '&' or '='); known are {', '.join(PARAMETERS)}."),
        (b"nothing=1", f"'nothing' is not a parameter; known are {', '.join(PARAMETERS)}."),
        (b"namespace=ox%zzy", "has a broken escape '%zz' "),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_is_allowed(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(raw)
    assert said in caught.value.detail


def test_the_largest_values_are_just_allowed() -> None:
    longest = "é" * MAX_FILTER
    assert parse(f"page={MAX_PAGE}&page_size=1000&model={quote(longest)}".encode()) == ListQuery(
        model=longest, page=MAX_PAGE, page_size=1000
    )


def test_there_are_enough_bad_queries() -> None:
    assert len({raw for raw, _ in BAD_QUERIES}) >= 60


def test_unknown_name_suggests_the_right_one() -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'page_size'"):
        parse(b"pagesize=10")


@pytest.mark.parametrize(
    "raw",
    [
        b"namespace=ox&page_size=50&page=1&status=failed",
        b"status=failed&namespace=ox",
        b"namespace=%6f%78&status=failed",
        b"namespace=%6F%78&status=failed",
        b"n%61mespace=ox&status=failed",
        b"status=%66ailed&namespace=ox&page=1",
        b"page=%31&namespace=ox&status=failed",
        b"page_size=50&status=failed&namespace=ox",
        b"page_size=%35%30&status=failed&namespace=o%78",
        b"page=1&page_size=50&status=failed&namespace=ox",
        b"st%61tus=failed&namespace=ox&p%61ge=1",
    ],
)
def test_equivalent_spellings_are_one_question(raw: bytes) -> None:
    assert parse(raw) == ListQuery(namespace="ox", status="failed")
    assert parse(raw).canonical == "namespace=ox&status=failed&page=1&page_size=50"


def test_plus_and_escape_are_the_same_space() -> None:
    assert parse(b"folder=a+b") == parse(b"folder=a%20b") == ListQuery(folder="a b")
    assert parse(b"folder=a%2Bb") == ListQuery(folder="a+b")


def test_raw_utf8_is_its_escapes() -> None:
    assert parse("folder=größe".encode()) == parse(quote("folder=größe", safe="=").encode())


def test_an_empty_query_is_all_defaults() -> None:
    assert parse(b"") == ListQuery()
    assert parse(b"").canonical == "page=1&page_size=50"


texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=MAX_FILTER)
queries = st.builds(
    ListQuery,
    namespace=st.none() | texts,
    model=st.none() | texts,
    media_type=st.none() | st.sampled_from(MEDIA_TYPES),
    status=st.none() | st.sampled_from(STATUSES),
    repo=st.none() | texts,
    folder=st.none() | texts,
    page=st.integers(1, MAX_PAGE),
    page_size=st.integers(1, 1000),
)


def spell(query: ListQuery, chance: random.Random) -> bytes:
    """One of the many ways to write a question."""

    def escape(text: str) -> bytes:
        written = bytearray()
        for byte in text.encode():
            plain = chr(byte).isalnum() and byte < 128
            if plain and chance.random() < 0.7:
                written.append(byte)
            elif byte == 0x20 and chance.random() < 0.5:
                written += b"+"
            else:
                written += (b"%%%02X" if chance.random() < 0.5 else b"%%%02x") % byte
        return bytes(written)

    default = ListQuery()
    pairs = []
    for name in PARAMETERS:
        value = getattr(query, name)
        if value is not None and (value != getattr(default, name) or chance.random() < 0.5):
            pairs.append(escape(name) + b"=" + escape(str(value)))
    chance.shuffle(pairs)
    return b"&".join(pairs)


@given(queries, st.randoms(use_true_random=False))
def test_every_spelling_parses_to_the_question(query: ListQuery, chance: random.Random) -> None:
    """Equal questions have equal keys, however they are written."""
    raw = spell(query, chance)
    assert len(raw) <= MAX_RAW
    assert parse(raw) == query
    assert parse(raw).canonical == query.canonical


@given(queries, queries)
def test_keys_are_equal_exactly_for_equal_questions(one: ListQuery, other: ListQuery) -> None:
    assert (one.canonical == other.canonical) == (one == other)
    same_filters = [getattr(one, n) for n in PARAMETERS[:6]] == [getattr(other, n) for n in PARAMETERS[:6]]
    assert (one.listing == other.listing) == same_filters


@given(queries)
def test_the_rebuilt_query_parses_to_itself(query: ListQuery) -> None:
    assert parse(query.canonical.encode("ascii")) == query
    pairs = dict(parse_qsl(query.canonical, strict_parsing=True))
    assert pairs == {n: str(getattr(query, n)) for n in PARAMETERS if getattr(query, n) is not None}


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    try:
        query = parse(raw)
    except InvalidParameter as error:
        assert error.detail  # noqa: PT017
    else:
        assert parse(query.canonical.encode()) == query
