"""Event streams, in pieces of every size, and without an end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.hub.sse import Event, Parser, StreamFault, greet, hint, write


def parsed(*chunks: bytes) -> list[Event]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\n", [Event("message", "one")]),
        (b"event: done\ndata: one\n\n", [Event("done", "one")]),
        (b"event: done\r\ndata: one\r\ndata: two\r\n\r\n", [Event("done", "one\ntwo")]),
        (b"data: one\r\rdata: two\r\n\r\n", [Event("message", "one"), Event("message", "two")]),
        (b"data: one\ndata:two\ndata:  three\n\n", [Event("message", "one\ntwo\n three")]),
        (b"data\n\ndata\ndata\n\n", [Event("message", ""), Event("message", "\n")]),
        (b": keep-alive\n\n:\n\n::\n\n", []),
        (b"event: nothing\n\ndata: one\n\n", [Event("message", "one")]),
        (
            b"id: 7\ndata: one\n\ndata: two\n\nid\ndata: three\n\n",
            [Event("message", "one", "7"), Event("message", "two", "7"), Event("message", "three")],
        ),
        (b"id: 7\n\ndata: one\n\n", [Event("message", "one", "7")]),
        (b"id: 7\0\ndata: one\n\n", [Event("message", "one")]),
        (b"retry: 10\nunknown: field\n data: no field\ndata: one\n\n", [Event("message", "one")]),
        (b"\xef\xbb\xbfdata: one\n\n\xef\xbb\xbfdata: two\n\n", [Event("message", "one")]),
        (b"data: \xff\xfe\n\n", [Event("message", "\N{REPLACEMENT CHARACTER}" * 2)]),
        (b"data: one\n", []),
        (b"", []),
    ],
)
def test_a_stream_is_parsed_the_same_in_pieces_of_any_size(stream: bytes, events: list[Event]) -> None:
    assert parsed(stream) == events
    assert parsed(*(bytes([byte]) for byte in stream)) == events


LINES = st.sampled_from(
    [
        b"data: one",
        b"data",
        b"data:\xc3\xa9",
        b"event: e",
        b"id: 1",
        b": x",
        b"",
        b"",
        b"retry: 1",
        b"\xff",
        b"data: {}",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(0, 400)))
@example([(b"event: e", b"\r\n"), (b"data: one", b"\r\n"), (b"", b"\r\n")], [9])
def test_where_a_stream_is_cut_says_nothing(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert parsed(*pieces) == parsed(stream)


@given(st.lists(st.binary(max_size=40)))
def test_nothing_but_a_stream_fault_comes_of_garbage(chunks: list[bytes]) -> None:
    for event in parsed(*chunks):
        assert "\r" not in event.data


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r")),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")),
)
def test_what_is_written_is_read(data: str, event_id: str) -> None:
    event = Event("done", data, event_id)
    assert parsed(greet("", 2.0), write(event), hint(0.5)) == [event]


@pytest.mark.parametrize("chunk", [b"x" * 1000, b": " + b"x" * 998])
def test_a_line_without_an_end_is_a_fault(chunk: bytes) -> None:
    parser = Parser(max_line=100_000)
    for _ in range(100):
        assert list(parser.feed(chunk)) == []
    with pytest.raises(StreamFault, match="100000 bytes"):
        list(parser.feed(chunk))
    assert len(parser._line) <= 101_000


def test_an_event_without_an_end_is_a_fault() -> None:
    parser = Parser(max_data=100_000)
    line = b"data:" + b"x" * 999 + b"\n"
    for _ in range(100):
        assert list(parser.feed(line)) == []
    with pytest.raises(StreamFault, match="100000 bytes of data"):
        list(parser.feed(line))


def test_what_came_before_a_fault_counts() -> None:
    events = Parser(max_line=100).feed(b"data: one\n\n" + b"x" * 101)
    assert next(events) == Event("message", "one")
    with pytest.raises(StreamFault):
        next(events)
