"""What a connection makes of the bytes that come, in whatever parts: the same as h11, another parser of HTTP/1.1."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass

import h11
import httpx
from hypothesis import given
from hypothesis import strategies as st

from proxy.hub.connection import Connection
from proxy.hub.incoming import Incoming

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
VALUE = st.text(" !#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[]^_`abcxyz{|}~é", max_size=30).map(
    lambda text: text.strip().encode()
)
NAMED = st.tuples(TOKEN.filter(lambda name: name not in {b"connection", b"te", b"upgrade", b"trailer"}), VALUE)
FRAMES = ("length", "chunked", "end")


class Pipe(asyncio.Transport):
    """The end of a connection at which the test is."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


@dataclass
class Stream:
    """Bytes of an answer, and where what came in them ends."""

    raw: bytes
    ends: bool


@st.composite
def answers(draw: st.DrawFn) -> Stream:
    status = draw(st.sampled_from([200, 204, 304, 404, 429, 503]))
    body, frame = draw(st.binary(max_size=200)), draw(st.sampled_from(FRAMES))
    parts = b"".join(
        b"HTTP/1.1 %d x\r\nlink: y\r\n\r\n" % interim
        for interim in draw(st.lists(st.sampled_from([100, 103]), max_size=2))
    )
    lines = draw(st.lists(NAMED, max_size=5))
    bodiless = status in {204, 304}
    if bodiless:
        content = b""
    elif frame == "length":
        lines, content = [*lines, (b"Content-Length", b"%d" % len(body))], body
    elif frame == "chunked":
        lines = [*lines, (b"Transfer-Encoding", b"chunked")]
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        chunks = [body[i:j] for i, j in zip([0, *cuts], [*cuts, len(body)], strict=True) if i < j]
        content = b"".join(b"%x%s\r\n%s\r\n" % (len(one), draw(st.sampled_from([b"", b";a=b"])), one) for one in chunks)
        content += b"0\r\n" + b"".join(b"%s: %s\r\n" % one for one in draw(st.lists(NAMED, max_size=2))) + b"\r\n"
    else:
        content = body
    close = draw(st.booleans())
    head = b"".join(b"%s: %s\r\n" % one for one in [*lines, *([(b"connection", b"close")] if close else [])])
    raw = parts + b"HTTP/1.1 %d A reason\r\n%s\r\n" % (status, head) + content
    return Stream(raw, ends=frame == "end" and not bodiless)


@dataclass
class Read:
    """What was made of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    reusable: bool


def by_h11(stream: Stream) -> Read:
    ours = h11.Connection(h11.CLIENT)
    ours.send(h11.Request(method="GET", target="/", headers=[("host", "hub.test")]))
    ours.send(h11.EndOfMessage())
    ours.receive_data(stream.raw)
    if stream.ends:
        ours.receive_data(b"")
    status, headers, body = 0, [], b""
    while not isinstance(event := ours.next_event(), h11.EndOfMessage):
        match event:
            case h11.Response():
                status, headers = event.status_code, list(event.headers.raw_items())
            case h11.Data():
                body += event.data
            case h11.InformationalResponse():
                pass
            case _:
                raise AssertionError(event)
    kept = not stream.ends and ours.our_state is h11.DONE and ours.their_state is h11.DONE
    return Read(status, headers, body, kept)


async def by_connection(stream: Stream, cuts: list[int]) -> Read:
    free: list[bool] = []
    connection = Connection(lambda _, reusable: free.append(reusable))
    connection.connection_made(Pipe())
    asking = asyncio.create_task(connection.ask(b"GET / HTTP/1.1\r\n\r\n", until=math.inf, silence=math.inf))
    await asyncio.sleep(0)
    edges = sorted({min(cut, len(stream.raw)) for cut in cuts} | {0, len(stream.raw)})
    for start, end in itertools.pairwise(edges):
        connection.data_received(stream.raw[start:end])
    if stream.ends:
        connection.eof_received()
        connection.connection_lost(None)
    response = await asking
    body = b"".join([part async for part in response.aiter_raw()])
    assert isinstance(response.stream, Incoming)
    return Read(response.status_code, response.stream.headers, body, free[0])


@given(answers(), st.lists(st.integers(0, 600), max_size=8))
def test_an_answer_is_read_as_h11_reads_it(stream: Stream, cuts: list[int]) -> None:
    assert asyncio.run(by_connection(stream, cuts)) == by_h11(stream)


@given(answers(), st.integers(0, 600), st.binary(max_size=50))
def test_what_is_cut_off_or_spoilt_is_an_error_and_nothing_else(stream: Stream, at: int, instead: bytes) -> None:
    """Whatever comes: an answer that is whole, or one of httpx' errors, and the connection is free once."""

    async def scenario() -> None:
        spoilt = stream.raw[: min(at, len(stream.raw))] + instead
        free: list[bool] = []
        connection, pipe = Connection(lambda _, reusable: free.append(reusable)), Pipe()
        connection.connection_made(pipe)
        asking = asyncio.create_task(connection.ask(b"GET / HTTP/1.1\r\n\r\n", until=math.inf, silence=math.inf))
        await asyncio.sleep(0)
        connection.data_received(spoilt)
        connection.eof_received()
        connection.connection_lost(None)
        try:
            response = await asking
            async for _ in response.aiter_raw():
                pass
        except httpx.TransportError:
            pass
        assert free
        assert pipe.closed or free[0]

    asyncio.run(scenario())
