"""The hub client: every answer and every failure gets its name, and the token goes nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import json
import logging
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy import errors
from proxy.admission.gate import Report
from proxy.admission.refusals import report_of
from proxy.hub.body import echoes
from proxy.hub.client import Hub, HubCall
from proxy.hub.credential import Credential
from proxy.hub.gunzip import MEMBER_COST, Gunzip
from proxy.secret import Secret
from proxy.settings import HubSettings
from tests.support import KEY, LIST, NOW, free_port, tcp_server

Handler = Callable[[httpx.Request], httpx.Response]
OWN_ERROR = b'{"error" : {"type":"resource_not_found","title":"x"},"status":"error","status_message":"y"}\n'


@asynccontextmanager
async def hub_answering(handler: Handler, **settings: Any) -> AsyncIterator[Hub]:
    hub_settings = HubSettings(**{"url": "http://hub.test", "api_key": Secret(KEY), **settings})
    hub = Hub(
        hub_settings,
        Credential(hub_settings, hub_settings.url),
        transport=httpx.MockTransport(handler),
        clock=lambda: NOW,
    )
    try:
        yield hub
    finally:
        await hub.aclose()


async def failure(handler: Handler, **settings: Any) -> errors.ProxyError:
    async with hub_answering(handler, **settings) as hub:
        with pytest.raises(errors.ProxyError) as caught:
            await hub.get(LIST, "page=1")
    return caught.value


def always(status: int, content: bytes = b"{}", /, **headers: str) -> Handler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: streamed(status, content, named)


def streamed(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> httpx.Response:
    """As it comes from a network: not read yet, not decoded."""
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)


@pytest.mark.parametrize(
    ("answer", "error", "status"),
    [
        (always(401), errors.HubRefusedCredential, 502),
        (always(403), errors.HubRefusedCredential, 502),
        (always(429), errors.HubRateLimited, 503),
        (always(503, retry_after="7"), errors.HubUnavailable, 503),
        (always(503, retry_after="soon"), errors.HubUnavailable, 503),
        (always(503), errors.HubFailed, 502),
        (always(500), errors.HubFailed, 502),
        (always(502), errors.HubFailed, 502),
        (always(599), errors.HubFailed, 502),
        (always(402), errors.HubRejectedRequest, 502),
        (always(405), errors.HubRejectedRequest, 502),
        (always(410), errors.HubRejectedRequest, 502),
        (always(418), errors.HubRejectedRequest, 502),
        (always(301, location="http://evil.test/"), errors.HubRedirected, 502),
        (always(302, location="/elsewhere"), errors.HubRedirected, 502),
        (always(304), errors.HubRedirected, 502),
        (always(204), errors.HubAnswerUnexpected, 502),
        (always(206), errors.HubAnswerUnexpected, 502),
        (always(200, b"x", content_encoding="br"), errors.HubAnswerEncoded, 502),
        (always(200, b"not gzip at all", content_encoding="gzip"), errors.HubAnswerEncoded, 502),
        (always(200, gzip.compress(b"{}" * 99)[:-9], content_encoding="gzip"), errors.HubAnswerCutOff, 502),
        (always(200, bytes(70_000)), errors.HubAnswerTooLarge, 502),
        (always(200, gzip.compress(bytes(10_000_000)), content_encoding="gzip"), errors.HubAnswerTooLarge, 502),
    ],
)
async def test_answers_that_are_errors(answer: Handler, error: type[errors.HubError], status: int) -> None:
    caught = await failure(answer, answer_bytes=65_536)
    assert type(caught) is error
    assert caught.status == status


@pytest.mark.parametrize(
    ("exception", "error", "status"),
    [
        (httpx.ConnectError("x"), errors.HubUnreachable, 502),
        (httpx.RemoteProtocolError("x"), errors.HubUnreachable, 502),
        (httpx.ReadError("x"), errors.HubUnreachable, 502),
        (httpx.ConnectTimeout("x"), errors.HubTimeout, 504),
        (httpx.ReadTimeout("x"), errors.HubTimeout, 504),
        (httpx.WriteTimeout("x"), errors.HubTimeout, 504),
        (httpx.PoolTimeout("x"), errors.HubBusy, 503),
    ],
)
async def test_connections_that_fail(exception: Exception, error: type[errors.HubError], status: int) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise exception

    caught = await failure(fail)
    assert isinstance(caught, error)
    assert (caught.type, caught.status) == (error.type, status)


async def test_every_error_of_the_tree_is_made_somewhere() -> None:
    """No type is documented that cannot happen: one of these files names each."""
    names = ("hub/client.py", "hub/body.py", "hub/faults.py", "answer/page.py", "admission/shield.py")
    source = "".join((Path(errors.__file__).parent / name).read_text() for name in names)
    leaves = [cls.__name__ for cls in errors.HubError.__subclasses__()]
    assert [name for name in leaves if name not in source] == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, errors.HubFoundNothing), (400, errors.HubRejectedQuestion), (422, errors.HubRejectedQuestion)],
)
async def test_the_hubs_own_word_keeps_its_body(status: int, error: type[errors.Forwarded]) -> None:
    caught = await failure(always(status, OWN_ERROR))
    assert type(caught) is error
    assert caught.body == OWN_ERROR


@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"", b"[1]", b"{" + b" " * 70_000 + b"}", b'{"x": "%s"}' % KEY.encode()]
)
async def test_an_error_body_that_is_not_the_hubs_or_holds_the_token_is_not_passed_on(body: bytes) -> None:
    caught = await failure(always(404, body))
    assert isinstance(caught, errors.HubFoundNothing)
    assert caught.body is None


@pytest.mark.parametrize(("value", "seconds"), [("30", 30), ("Mon, 21 Sep 2026 14:13:50 GMT", 30)])
async def test_retry_after_is_passed_on(value: str, seconds: float) -> None:
    assert (await failure(always(429, retry_after=value))).retry_after == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [("Mon, 21 Sep 2026 14:15:20 GMT", 30), ("Mon, 21 Sep 2026 14:11:20 GMT", 270), ("some time ago", 150)],
)
async def test_a_date_to_return_at_is_one_of_the_hubs_clock(date: str, seconds: float) -> None:
    answer = always(429, retry_after="Mon, 21 Sep 2026 14:15:50 GMT", date=date)
    assert (await failure(answer)).retry_after == seconds


@pytest.mark.parametrize("headers", [{}, {"retry_after": "whenever"}])
async def test_a_429_that_does_not_say_when_to_return(headers: dict[str, str]) -> None:
    """The shield knows."""
    assert (await failure(always(429, **headers))).retry_after is None


async def test_what_the_hub_is_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return streamed(200, b"body", {"set-cookie": "a=b; path=/"})

    async with hub_answering(answer, url="http://hub.test:81/some/prefix/") as hub:
        for _ in range(2):
            assert await hub.get(LIST, "folder=a%2Fb%20c%3F&page=1") == b"body"
    for request in seen:
        assert request.method == "GET"
        assert str(request.url) == "http://hub.test:81/some/prefix/api/ai/generations?folder=a%2Fb%20c%3F&page=1"
        assert sorted(request.headers) == [
            "accept",
            "accept-encoding",
            "authorization",
            "host",
            "user-agent",
        ]
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("spell", [r"\u002B", r"\u002b", r"\u003c", r"\/", r"\u002f", r"\u0061", "as it is"])
def test_a_token_is_known_however_json_spells_it(spell: str) -> None:
    token = "a+b<c/d" * 4
    plain = "/" if spell == r"\/" else json.loads(f'"{spell}"')[:1] if spell != "as it is" else "a"
    body = json.dumps({"prompt": token}).replace(plain, spell if spell != "as it is" else plain)
    assert json.loads(body)["prompt"] == token
    assert echoes(Secret(token), body.encode())
    assert not echoes(Secret(token), body.replace("d", "e").encode())


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


@pytest.mark.parametrize("token", ['a"b' * 8, r"a\b" * 8, r"a\u0041" * 4, r"\"/" * 8, "a/b+" * 8])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_token_is_known_whatever_it_is_made_of(token: str, depth: int) -> None:
    """Quotes and backslashes are escaped themselves; and an error may quote another's JSON, which quotes a third's."""
    for text in (
        json.dumps({"x": token}),
        f'{{"x": "{escaped(token)}"}}',
        json.dumps({"x": token}).replace("/", r"\/"),
    ):
        for _ in range(depth - 1):
            text = json.dumps({"x": text})  # noqa: PLW2901
        assert echoes(Secret(token), text.encode())


def test_an_escaped_backslash_escapes_nothing() -> None:
    """It is undone from left to right: a backslash, and what follows is as it is."""
    token = r"a\b\\u0041" * 4
    assert echoes(Secret(token), json.dumps(token).encode())


@pytest.mark.parametrize("token", [KEY, "short", 'a"b', r"a\b", "a/b"])
@pytest.mark.parametrize(
    "inside", ['{"x": %s, "x": 1}', '{"y": {"x": %s, "x": 1}}', "{%s: 1}", '{"y": [[%s]], "y": 1}']
)
async def test_an_error_body_with_the_token_in_a_member_that_is_repeated(token: str, inside: str) -> None:
    """Who reads the JSON has the last of them, but the body is passed on as it is."""
    for text in (json.dumps(token), f'"{escaped(token)}"', json.dumps(token).replace("/", r"\/")):
        caught = await failure(always(404, (inside % text).encode()), api_key=Secret(token))
        assert isinstance(caught, errors.HubFoundNothing)
        assert caught.body is None


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_an_error_body_that_is_no_text_is_not_passed_on(status: int) -> None:
    caught = await failure(always(status, b'{"error": "\xff"}'))
    assert isinstance(caught, errors.Forwarded)
    assert caught.body is None


async def test_gzip_that_was_not_asked_for_is_undone() -> None:
    async with hub_answering(always(200, gzip.compress(b"the body"), content_encoding="gzip")) as hub:
        assert await hub.get(LIST, "") == b"the body"


@pytest.mark.parametrize("coding", ["", " ", "Identity", "identity, ", "identity, gzip", "X-GZIP"])
async def test_how_a_coding_is_named(coding: str) -> None:
    """In either case; and an empty line names none."""
    content = gzip.compress(b"the body") if "gzip" in coding.lower() else b"the body"
    async with hub_answering(always(200, content, content_encoding=coding)) as hub:
        assert await hub.get(LIST, "") == b"the body"


@pytest.mark.parametrize("piece", [1, 2, 7, 10_000])
def test_a_gzip_of_several_members(piece: int) -> None:
    """RFC 1952 §2.2: they are decoded one after the other, wherever the network has cut them."""
    sent = b"".join(map(gzip.compress, (b"the", b"", b" body", b""))) + b"\x1f and what is none"
    gunzip, body = Gunzip(), b""
    for start in range(0, len(sent), piece):
        body += gunzip.feed(sent[start : start + piece], 1000)
    assert body == b"the body"
    assert gunzip.complete
    assert gunzip.extra == 3 * MEMBER_COST + len(b"\x1f and what is none")


@pytest.mark.parametrize("most", [100, 150])
def test_no_more_is_decoded_of_several_members_than_is_asked_for(most: int) -> None:
    """Also where a member ends with just that much: the next may be a bomb."""
    sent = gzip.compress(bytes(100)) + gzip.compress(bytes(10**6))
    assert len(Gunzip().feed(sent, most)) == most


def test_what_follows_what_is_no_member_is_none_either() -> None:
    """Wherever the network has cut it."""
    sent = [gzip.compress(b"the body"), b"what is none", gzip.compress(b"and what follows it")]
    for pieces in (sent, [b"".join(sent)]):
        gunzip = Gunzip()
        assert b"".join(gunzip.feed(piece, 1000) for piece in pieces) == b"the body"


async def test_what_several_members_hold_counts_together() -> None:
    member = gzip.compress(b"x" * 100_000)
    assert isinstance(
        await failure(always(200, member * 2, content_encoding="gzip"), answer_bytes=150_000), errors.HubAnswerTooLarge
    )
    assert isinstance(
        await failure(always(200, gzip.compress(b"") * 999, content_encoding="gzip"), answer_bytes=150_000),
        errors.HubAnswerTooLarge,
    )
    assert isinstance(await failure(always(200, member + member[:-9], content_encoding="gzip")), errors.HubAnswerCutOff)
    assert isinstance(
        await failure(always(200, member + b"\x1f\x8bnone", content_encoding="gzip")), errors.HubAnswerEncoded
    )


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
async def test_a_transport_that_answers_from_memory(headers: dict[str, str]) -> None:
    content = gzip.compress(b"the body") if headers else b"the body"
    async with hub_answering(lambda _: httpx.Response(200, content=content, headers=headers)) as hub:
        assert await hub.get(LIST, "") == b"the body"


async def test_a_rotated_token_is_used_after_a_401(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        if seen == ["Bearer old"]:
            path.write_text("new")  # same stat times are possible, so only the refusal makes it look again
            return streamed(401)
        return streamed(200, b"ok")

    async with hub_answering(answer, api_key=None, api_key_file=str(path)) as hub:
        with pytest.raises(errors.HubRefusedCredential) as caught:
            await hub.get(LIST, "")
        assert caught.value.repeatable
        assert await hub.get(LIST, "") == b"ok"
    assert seen == ["Bearer old", "Bearer new"]


async def test_a_refused_token_is_not_tried_twice(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    async with hub_answering(always(401), api_key=None, api_key_file=str(path)) as hub:
        with pytest.raises(errors.HubRefusedCredential) as caught:
            await hub.get(LIST, "")
        assert not caught.value.repeatable


async def test_no_error_shows_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for status in (400, 401, 403, 404, 418, 429, 500, 503):
        caught = await failure(always(status, f'{{"you sent": "{KEY}"}}'.encode()))
        assert KEY not in repr(caught) + str(vars(caught)) + caught.detail
    assert KEY not in caplog.text


# Over real connections: what a mock cannot show.


@asynccontextmanager
async def raw_hub(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], **settings: Any
) -> AsyncIterator[Hub]:
    """A hub that does to each connection what the test says."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with tcp_server(connection) as port:
        hub_settings = HubSettings(**{"url": f"http://127.0.0.1:{port}", "api_key": Secret(KEY), **settings})
        hub = Hub(hub_settings, Credential(hub_settings, hub_settings.url))
        try:
            yield hub
        finally:
            await hub.aclose()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_nobody_listens() -> None:
    hub_settings = HubSettings(url=f"http://127.0.0.1:{free_port()}", api_key=Secret(KEY))
    hub = Hub(hub_settings, Credential(hub_settings, hub_settings.url))
    with pytest.raises(errors.HubUnreachable):
        await hub.get(LIST, "")
    await hub.aclose()


async def test_a_process_without_a_file_left_does_not_blame_the_hub() -> None:
    """All replicas would leave a hub alone that is well, as one of them is not."""
    hub_settings = HubSettings(url=f"http://127.0.0.1:{free_port()}", api_key=Secret(KEY))
    hub = Hub(hub_settings, Credential(hub_settings, hub_settings.url))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(errors.HubUnreachable) as caught:
            await hub.get(LIST, "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert report_of(caught.value) == Report("abandoned")
    assert "out of files" in caught.value.detail
    assert not caught.value.repeatable
    await hub.aclose()


@pytest.mark.parametrize(
    ("others", "outcome"),
    [
        ([], "abandoned"),
        ([OSError(errno.EMFILE, "x")], "abandoned"),
        ([ConnectionRefusedError(errno.ECONNREFUSED, "x")], "failing"),
    ],
)
async def test_whose_fault_it_is_that_no_address_of_the_hub_answers(others: list[OSError], outcome: str) -> None:
    """A container without IPv6 says of ::1 that it has no such address, whatever becomes of 127.0.0.1."""

    def fail(_: httpx.Request) -> httpx.Response:
        tried = [OSError(errno.EADDRNOTAVAIL, "x"), *others]
        error = OSError("All connection attempts failed")
        error.__cause__ = ExceptionGroup("x", tried) if others else tried[0]
        raise httpx.ConnectError("x") from error

    assert report_of(await failure(fail)).outcome == outcome


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", errors.HubUnreachable),
        (b"this is not HTTP\r\n\r\n", errors.HubUnreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", errors.HubAnswerCutOff),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", errors.HubAnswerCutOff),
    ],
)
async def test_connections_that_break(sent: bytes, error: type[errors.HubError]) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(sent)
        await writer.drain()

    calls: list[HubCall] = []
    async with raw_hub(behave) as hub:
        hub.on_call.append(calls.append)
        with pytest.raises(error) as caught:
            await hub.get(LIST, "")
        assert len(calls) == 1, "a fresh connection that breaks is not tried again"
        assert report_of(caught.value) == Report("failing"), "the breaker counts it"


async def test_a_kept_alive_connection_that_broke_may_be_repeated() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head_of(reader)
        writer.write(answer)
        await head_of(reader)  # the second request comes in and is met with a close

    async with raw_hub(behave) as hub:
        assert await hub.get(LIST, "") == b"ok"
        with pytest.raises(errors.HubUnreachable) as caught:
            await hub.get(LIST, "")
        assert caught.value.repeatable
        assert report_of(caught.value) == Report("abandoned"), "it may be that nothing is wrong with the hub"
        assert await hub.get(LIST, "") == b"ok"
        assert connections == 2


async def test_what_an_answer_leaves_behind_is_not_taken_for_the_next_ones() -> None:
    """Two answers to one request, of a hub or an intermediary that is out of step."""
    asked = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await head_of(reader):
                asked += 1
                for more in (b"", b"!"):
                    body = b"%d" % asked + more
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with raw_hub(behave) as hub:
        assert [await hub.get(LIST, "") for _ in range(3)] == [b"1", b"2", b"3"]


async def test_a_connection_is_kept_where_nothing_is_left() -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await head_of(reader):
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with raw_hub(behave) as hub:
        assert [await hub.get(LIST, "") for _ in range(3)] == [b"ok"] * 3
    assert connections == 1


async def test_where_one_kept_connection_broke_none_is_used_again() -> None:
    """All may have been forgotten, as by a balancer between."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    together, forgotten = asyncio.Barrier(3), False

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if not forgotten:
            await together.wait()
        writer.write(answer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await head_of(reader)

    async with raw_hub(behave) as hub:
        await asyncio.gather(*(hub.get(LIST, "") for _ in range(3)))
        forgotten = True
        with pytest.raises(errors.HubUnreachable) as caught:
            await hub.get(LIST, "")
        assert report_of(caught.value) == Report("abandoned"), "it says nothing of how the hub fares"
        assert await hub.get(LIST, "") == b"ok"


@pytest.mark.parametrize("said", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nconte"])
async def test_what_the_hub_has_answered_is_not_repeated(said: bytes) -> None:
    """Even if the answer makes no sense: it has read the request."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await head_of(reader)
        writer.write(said)

    async with raw_hub(behave) as hub:
        assert await hub.get(LIST, "") == b"ok"
        with pytest.raises(errors.HubUnreachable) as caught:
            await hub.get(LIST, "")
        assert not caught.value.repeatable


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
    ],
    ids=["head", "body", "trailer"],
)
async def test_an_answer_that_drips_ends_at_the_deadline_with_its_connection(begin: bytes) -> None:
    """Each byte is in time; without an end, it would keep others from the hub for as long as that likes."""
    ended = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        ended.set()

    async with raw_hub(behave) as hub:
        with pytest.raises(errors.HubTimeout):
            await hub.get(LIST, "", deadline=0.2)
        async with asyncio.timeout(10):
            await ended.wait()
        assert await hub._detached.drain(1) == 0


async def test_what_follows_a_gzip_counts_too() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(b"{}"))
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(bytes(65_536))
                await writer.drain()

    async with raw_hub(behave, answer_bytes=1_000_000) as hub:
        with pytest.raises(errors.HubAnswerTooLarge):
            await hub.get(LIST, "")


async def test_a_silent_hub_times_out() -> None:
    async def behave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()  # until the caller leaves

    async with raw_hub(behave, read_timeout=0.1) as hub:
        with pytest.raises(errors.HubTimeout):
            await hub.get(LIST, "")


async def test_a_hub_that_drips_ends_at_the_deadline_and_the_pool_survives() -> None:
    slow = True

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" if not slow else b"HTTP/1.1 200 OK\r\nx-slow: ")
        while slow:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"\r\nok")

    async with raw_hub(behave, deadline=0.2, read_timeout=5.0, concurrency=1) as hub:
        with pytest.raises(errors.HubTimeout):
            await hub.get(LIST, "")
        slow = False
        assert await hub.get(LIST, "", deadline=5.0) == b"ok"


async def test_a_body_that_drips_for_ever_takes_no_connection_for_good() -> None:
    """Each byte is in time for httpx; after the deadline the connection is given up all the same."""
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head_of(reader)
        if connections > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

    async with raw_hub(behave, deadline=0.2, read_timeout=5.0, concurrency=1) as hub:
        with pytest.raises(errors.HubTimeout):
            await hub.get(LIST, "")
        assert await hub.get(LIST, "", deadline=5.0) == b"ok"


async def test_a_hub_that_is_closed_is_not_asked_again() -> None:
    """What hangs ends with its connection when the process does, and must not be repeated on a new one."""
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return streamed(200, b"body")

    async with hub_answering(answer) as hub:
        await hub.aclose()
        with pytest.raises(errors.HubUnreachable) as caught:
            await hub.get(LIST, "")
    assert not caught.value.repeatable
    assert asked == 0
