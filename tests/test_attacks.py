"""Attacks and mistakes, one a row: what comes back, and what it costs the hub."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.commands.sockets import LOOPBACK
from proxy.secret import Secret
from proxy.settings import HubSettings, Settings
from tests.attacks import OXS, ROWS, Row
from tests.callers import ALL, BESSIE, CALLERS, OX
from tests.support import KEY, LIST, rig, socket_rig


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
async def test_no_attack_gets_through_or_costs_the_hub_more_than_it_may(row: Row) -> None:
    async with rig(auth=CALLERS) as it:
        url = f"{row.path}?{row.query}" if row.query else row.path
        answer = await it.caller.request(row.method, url, headers=row.headers)
        assert answer.status_code == row.status, answer.text[:300]
        assert it.hub_requests == row.hub
        sent = str([(name, value) for name, value in answer.headers.items()]) + (
            "" if row.status == 200 else answer.text
        )
        for secret in (OX, ALL, BESSIE, KEY):
            assert secret not in sent
        for request in it.hub.journal.requests:
            assert request.path == LIST
            assert sorted(request.headers) == ["accept", "accept-encoding", "host", "user-agent"]
            assert "evil" not in str(request)


def test_there_are_enough_attacks() -> None:
    assert len(ROWS) >= 60
    assert len({row.what for row in ROWS}) == len(ROWS)


UNKEYED = [
    {"host": "evil.example"},
    {"x-forwarded-host": "evil.example"},
    {"x-forwarded-proto": "http"},
    {"accept-language": "de"},
    {"accept": "text/html"},
    {"user-agent": "evil"},
    {"origin": "https://evil.example"},
    {"cookie": "a=b"},
    {"x-http-method-override": "HEAD"},
    {"accept-encoding": "gzip"},
]


@pytest.mark.parametrize("headers", UNKEYED, ids=[next(iter(one)) for one in UNKEYED])
async def test_no_header_of_one_caller_changes_what_another_gets(headers: dict[str, str]) -> None:
    async with rig(auth=CALLERS) as it:
        poisoned = await it.get("namespace=ox", **OXS, **headers)
        plain = await it.get("namespace=ox", **OXS)
        assert poisoned.content == plain.content
        assert "evil" not in plain.text + str(plain.headers)
        assert it.hub_requests == 1


RAW = [
    ("a header line without an end", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 65_600, 431),
    ("header lines for ever", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 8_200, 431),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("a line's end in a header", b"GET %b HTTP/1.1\r\nHost: x\r\nX-API-Key: a\rb\r\n\r\n" % LIST.encode(), 400),
    ("two lengths", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (
        "a length and chunks",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a length that is none", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
    ("a space before the colon", b"GET /x HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n", 400),
    ("a folded line", b"GET /x HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400),
    ("an unknown version", b"GET /x HTTP/3.7\r\nHost: x\r\n\r\n", 400),
]


@pytest.fixture
async def port() -> Any:
    settings = Settings(auth=CALLERS, hub=HubSettings(api_key=Secret(KEY)))
    async with socket_rig(settings) as it:
        yield int(it.proxy_url.rpartition(":")[2])


@pytest.mark.parametrize(("sent", "status"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
async def test_what_is_no_request_gets_one_answer_and_ends_the_connection(port: int, sent: bytes, status: int) -> None:
    """One answer in the hub's envelope, then the connection ends: nothing is left to be taken for another request."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'{"error":{"type":"' in answer


async def test_a_head_that_never_ends_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.protocol.HEAD_TIMEOUT", 0.1)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_not_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between requests a kept-alive connection may be silent for longer than a head may take."""
    monkeypatch.setattr("proxy.web.protocol.HEAD_TIMEOUT", 0.1)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    for _ in range(2):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.3)
    writer.close()
