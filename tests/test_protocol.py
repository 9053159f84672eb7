"""Requests that are no good HTTP, over sockets: each gets one answer that says so, and holds nothing up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from proxy.settings import Settings
from proxy.simulator import Fault
from proxy.web.protocol import BoundedProtocol
from tests.support import LIST, SocketRig, raw, socket_rig

GET = f"GET {LIST} HTTP/1.1\r\n".encode()
HOST = b"host: x\r\n"
CLOSE = b"connection: close\r\n\r\n"


@pytest.fixture
async def it() -> AsyncIterator[SocketRig]:
    async with socket_rig(Settings()) as joined:
        yield joined


async def connected(it: SocketRig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = it.proxy_url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(int(length.split(b":")[1]))


REFUSED = {
    "no host": (GET + CLOSE, 400, "bad_request"),
    "two hosts": (GET + HOST + HOST + CLOSE, 400, "bad_request"),
    "no host's name": (GET + b"host: a b/<\r\n" + CLOSE, 400, "bad_request"),
    "a fragment": (f"GET {LIST}?namespace=ox#&page=0 HTTP/1.1\r\n".encode() + HOST + CLOSE, 400, "bad_request"),
    "a coding that is unknown": (GET + HOST + b"transfer-encoding: xchunked\r\n" + CLOSE, 400, "bad_request"),
    "no HTTP": (b"nonsense\r\n\r\n", 400, "bad_request"),
    "a long target": (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n" + HOST + CLOSE, 414, "uri_too_long"),
    "one beyond what is parsed": (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + CLOSE, 414, "uri_too_long"),
    "many short lines": (GET + HOST + b"a: b\r\n" * 6000 + CLOSE, 431, "headers_too_large"),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_what_is_refused_is_told_in_the_envelope(it: SocketRig, how: str) -> None:
    request, status, kind = REFUSED[how]
    head, _, body = (await raw(it, request)).partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    said = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert (said["error"]["type"], said["status"], said["status_message"]) == (kind, "error", kind)
    assert said["request_id"] == lines[b"x-request-id"].decode()
    assert lines[b"cache-status"] == f"generations-proxy; detail={kind}".encode()
    assert {b"date", b"vary", b"content-type"} <= set(lines)
    assert lines[b"cache-control"] == b"no-store"
    assert it.hub.journal.count == 0


async def test_http_1_0_needs_no_host(it: SocketRig) -> None:
    assert (await raw(it, f"GET {LIST} HTTP/1.0\r\n\r\n".encode())).startswith(b"HTTP/1.1 200 ")
    assert (await raw(it, GET + b"host:\r\n" + CLOSE)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("known", [False, True])
async def test_a_further_head_that_never_ends_is_a_408(
    it: SocketRig, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr("proxy.web.protocol.HEAD_TIMEOUT", 0.1)
    reader, writer = await connected(it)
    for _ in range(3 if known else 1):
        writer.write(GET + HOST + b"\r\n")
        assert (await one_answer(reader)).startswith(b"HTTP/1.1 200 ")
    writer.write(b"GET /x HTTP/1.1\r\nx:")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("further", [b"garbage\r\n\r\n", b"GET /x HTTP/1.1\r\nx:"])
async def test_what_comes_while_an_answer_is_made_does_not_come_before_it(
    it: SocketRig, monkeypatch: pytest.MonkeyPatch, further: bytes
) -> None:
    monkeypatch.setattr("proxy.web.protocol.HEAD_TIMEOUT", 0.1)
    it.hub.faults.set(Fault(latency=0.4))
    reader, writer = await connected(it)
    writer.write(GET + HOST + b"\r\n")
    await asyncio.sleep(0.05)
    writer.write(further)
    async with asyncio.timeout(5):
        assert (await one_answer(reader)).startswith(b"HTTP/1.1 200 ")
        rest = await reader.read()
    assert rest == b"" or rest.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    writer.close()


async def test_a_connection_by_which_nothing_comes_is_closed(it: SocketRig, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = property(lambda _: 0.1, lambda *_: None)  # set by uvicorn's configuration
    monkeypatch.setattr(BoundedProtocol, "timeout_keep_alive", seconds, raising=False)
    reader, writer = await connected(it)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_white_space_around_a_value_is_none_of_it(it: SocketRig) -> None:
    reader, writer = await connected(it)
    writer.write(GET + HOST + b"\r\n")
    etag = next(line for line in (await one_answer(reader)).split(b"\r\n") if line.startswith(b"etag: "))[6:]
    writer.write(GET + HOST + b"if-none-match:\t " + etag + b" \t\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 304 ")
    writer.close()
