"""``GET /api/events``: what callers hear, how streams end, and what becomes of who does not read."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from proxy.events.feed import Feed
from proxy.settings import EventSettings, LimitSettings, Settings
from proxy.simulator import Fault
from tests.event_fixture import CALLERS, Proxies, key_of, page, proxies
from tests.listening import EVENTS, listening
from tests.support import until


async def test_listeners_hear_what_happens() -> None:
    async with proxies() as it, listening(it.url) as heard:
        assert heard.status == 200
        assert heard.headers["content-type"] == "text/event-stream"
        assert heard.headers["cache-control"] == "no-store"
        assert heard.headers["x-accel-buffering"] == "no"
        assert "authorization" in heard.headers["vary"]
        assert heard.blocks[0]["retry"] == "2000"
        done = [it.complete("moo"), it.complete("ox")]
        row = it.hub.world.enqueue("bessie")
        it.hub.world.end(row, "failed")
        await until(lambda: len(heard.completions) == 3)
        assert heard.completions == [*done, row.id]
        sent = json.loads(heard.blocks[-1]["data"])
        assert sent["error"] == "Insufficient credits"
        assert len({one["id"] for one in heard.blocks if "id" in one}) == 4
        assert it.lookups() == [], "who may see everything needs no namespace looked up"


async def test_the_data_is_the_hubs_byte_for_byte() -> None:
    async with proxies() as it:
        blocks = it.hub.events.listen()
        async with listening(it.url) as heard:
            it.complete(model="größe/\U0001f600")
            await until(lambda: len(heard.completions) == 1)
            assert heard.blocks[-1]["data"] == blocks.get_nowait().decode().split("data: ")[1].rstrip("\n")


async def test_strangers_parameters_and_other_methods_get_no_stream() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, httpx.AsyncClient(base_url=it.url) as caller:
        answer = await caller.get(EVENTS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")
        key = {"authorization": "Bearer key-of-ox"}
        answer = await caller.get(f"{EVENTS}?namespace=ox", headers=key)
        assert (answer.status_code, answer.json()["error"]["parameter"]) == (400, "namespace")
        answer = await caller.post(EVENTS, headers=key)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        answer = await caller.head(EVENTS, headers=key)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream"


async def test_limits_count_a_stream_once() -> None:
    settings = Settings(limits=LimitSettings(rate=0.001, burst=2))
    async with proxies(settings=settings) as it, listening(it.url), listening(it.url) as second:
        assert second.headers["ratelimit"].startswith('"caller";r=0')
        async with listening(it.url) as third:
            assert third.status == 429


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_without_the_hubs_events_there_is_no_stream(mode: Any) -> None:
    settings = Settings(events=EventSettings(mode=mode))
    async with proxies(1, None, Fault(path=EVENTS, status=404), settings=settings) as it, httpx.AsyncClient() as caller:
        async with asyncio.timeout(10):
            while (answer := await caller.head(it.url + EVENTS)).status_code != 404:
                await asyncio.sleep(0.02)
        answer = await caller.get(it.url + EVENTS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "resource_not_found")
        assert (await page(it.url)).status_code == 200


async def test_there_is_room_for_so_many() -> None:
    async with proxies(settings=Settings(events=EventSettings(listeners=2))) as it, listening(it.url):
        async with listening(it.url), listening(it.url) as third:
            assert third.status == 503
            assert "too_many_listeners" in third.blocks[0]["body"]
            assert third.headers["retry-after"] == "5"
        async with asyncio.timeout(10):
            while True:
                async with listening(it.url) as fourth:
                    if fourth.status == 200:
                        break


async def test_keep_alives_come_and_an_expired_right_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.events.KEEP_ALIVE", 0.05)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        await until(lambda: heard.blocks.count({"": "keep-alive"}) >= 3)
        monkeypatch.setattr("proxy.web.events._Stream._may_listen", refuse)
        await until(lambda: heard.ended)


async def refuse(_: object) -> bool:
    return False


async def test_draining_ends_streams_with_a_hint() -> None:
    async with proxies() as it, AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(listening(it.url)) for _ in range(20)]
        it.readiness[0].drain()
        await until(lambda: all(one.ended for one in heard))
        hints = {int(one.blocks[-1]["retry"]) for one in heard}
        assert min(hints) >= 2000
        assert len(hints) > 5, "they are not to come back together"


async def test_streams_do_not_hold_up_the_servers_end() -> None:
    async with AsyncExitStack() as stack:
        async with proxies() as it:
            heard = await stack.enter_async_context(listening(it.url))
            began = time.monotonic()
        assert time.monotonic() - began < 20
        assert heard.ended
        assert "retry" in heard.blocks[-1]


async def opened(it: Proxies, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*it.url.removeprefix("http://").split(":"))
    writer.write(request.encode())
    return reader, writer


async def test_a_stream_over_http_1_0_ends_with_its_connection() -> None:
    """It is not chunked, of which HTTP/1.0 knows nothing (RFC 9112 §6.1)."""
    async with proxies() as it:
        reader, writer = await opened(it, "GET /api/events HTTP/1.0\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        done = it.complete()
        assert done.encode() in await reader.readuntil(b"}\n\n")
        it.readiness[0].drain()
        rest = await reader.read()
        assert rest.startswith(b"retry: ")
        assert rest.endswith(b"\n\n")
        writer.close()


PIPELINED = f"GET {EVENTS} HTTP/1.1\r\nhost: x\r\n\r\n", "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("further", [PIPELINED[1], 3 * PIPELINED[1], "no HTTP\r\n\r\n", "GET /x HTTP/1.1\r\nx:"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_listener_who_asked_more_and_hangs_up_is_noticed(
    further: str, caplog: pytest.LogCaptureFixture, *, together: bool
) -> None:
    """Also where uvicorn would read no more, or tell only the request that waits."""
    async with proxies() as it:
        hooks = it.readiness[0].on_draining
        feed = next(one for hook in hooks if isinstance(one := getattr(hook, "__self__", None), Feed))
        reader, writer = await opened(it, PIPELINED[0] + further * together)
        await reader.readuntil(b"retry: ")
        if not together:
            for piece in further.split("\r\n\r\n"):
                writer.write(f"{piece}\r\n\r\n".encode() if piece else b"")
                await asyncio.sleep(0.01)
        assert len(feed) == 1
        writer.close()
        await until(lambda: len(feed) == 0, 5.0)
        it.complete()
        await asyncio.sleep(0.05)
        assert "ASGI" not in caplog.text


async def test_who_asked_more_behind_a_stream_is_answered_at_its_end() -> None:
    async with proxies() as it:
        reader, writer = await opened(it, "".join(PIPELINED))
        await reader.readuntil(b"retry: ")
        it.readiness[0].drain()
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 ")
        writer.close()


async def test_a_listener_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.events.STALL_TIMEOUT", 1.0)
    async with proxies() as it, listening(it.url) as reads, httpx.AsyncClient() as caller:
        host, port = it.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"retry")
        async with asyncio.timeout(20):
            while True:
                for _ in range(5):
                    row = it.hub.world.enqueue("ox", model="m" * 50_000)
                    it.hub.world.end(row)
                await asyncio.sleep(0.01)
                if "generations_proxy_event_listeners 1.0" in (await caller.get(f"{it.url}/metrics")).text:
                    break
        await until(lambda: reads.completions[-1] == row.id)
        writer.close()
