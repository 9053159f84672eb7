"""Answers past the parser: which bytes get one, and which must not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.answer.freshness import POPULAR_AFTER
from proxy.answer.outcome import Hit
from proxy.simulator.faults import Fault
from proxy.web.express.lane import key_of
from proxy.web.express.request_cache import KEY_OVERHEAD
from proxy.web.express.wire import WIRE
from proxy.web.protocol import BoundedProtocol
from tests.express_fixture import ORIGIN, Way, token, way
from tests.support import KEY, LIST, NOW

GET = f"GET {LIST}?namespace=ox HTTP/1.1\r\nHost: proxy.test\r\nAuthorization: Bearer gp_ox\r\n\r\n".encode()
OTHER = GET.replace(b"ox HTTP", b"ox&status=failed HTTP")


@dataclass
class Line:
    """A connection to a proxy that knows GET by its bytes."""

    way: Way
    answers: list[bytes] = field(default_factory=list)

    async def known(self, raw: bytes = GET) -> None:
        """Ask until the bytes alone are answered."""
        for _ in range(2):
            await self.way.ask(raw)
        before = self.way.answered
        await self.way.ask(raw)
        assert self.way.answered == before + 1, "the third time at the latest"

    async def cost_after(self, seconds: float) -> int:
        """Ask after so many seconds, and return how many requests that costs the hub."""
        before = self.way.hub.journal.count
        self.way.clock.advance(seconds)
        await self.way.ask(GET)
        assert await self.way.app.state[WIRE]._express._memory_hits._refresh_ahead.drain(5) == 0
        return self.way.hub.journal.count - before

    async def everything(self) -> bytes:
        """All that comes within a while."""
        data = bytearray()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while part := await self.way.reader.read(1 << 20):
                    data += part
        return bytes(data)


@asynccontextmanager
async def line(**given: Any) -> AsyncIterator[Line]:
    async with way(**given) as one:
        yield Line(one)


async def test_the_same_bytes_again_are_answered_without_parsing() -> None:
    async with line() as it:
        await it.known()
        first = await it.way.ask(GET)
        assert first[0] == "HTTP/1.1 200 OK"
        assert first[2].startswith(b'{"count"')


async def test_only_heads_are_answered_by_their_bytes() -> None:
    """What is remembered of parsed requests is no request."""
    async with line() as it:
        await it.known()
        words = [b"GET", LIST.encode(), b"namespace=ox", b"authorization", b"Bearer gp_ox"]
        scope: Any = {"method": "GET", "raw_path": words[1], "query_string": words[2], "headers": [tuple(words[3:])]}
        assert key_of(scope).endswith(b"\n".join(words))
        status, _, _ = await it.way.ask(b"\n".join(words))
        assert status.startswith("HTTP/1.1 400")


async def test_a_head_in_two_parts_is_the_same_request() -> None:
    async with line() as it:
        await it.known()
        whole = await it.way.ask(GET)
        for at in range(1, len(GET)):
            it.way.writer.write(GET[:at])
            await it.way.writer.drain()
            await asyncio.sleep(0)
            parts = await it.way.ask(GET[at:])
            assert parts[2] == whole[2]
        assert (await it.way.ask(GET))[2] == whole[2]


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with line() as it:
        await it.known()
        await it.known(OTHER)
        sizes = [len((await it.way.ask(raw))[2]) for raw in (GET, OTHER)]
        for raws in ([GET, OTHER, GET], [OTHER, GET], [GET] * 5):
            for together in (True, False):
                for raw in [b"".join(raws)] if together else raws:
                    it.way.writer.write(raw)
                    await asyncio.sleep(0)
                found = [len((await it.way.ask(b""))[2]) for _ in raws]
                assert found == [sizes[raw == OTHER] for raw in raws]


async def test_a_body_that_looks_like_a_request_is_none() -> None:
    async with line() as it:
        await it.known()
        post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(GET))
        assert (await it.way.ask(post))[0].startswith("HTTP/1.1 405")
        it.way.writer.write(GET)  # the body, after the answer has come
        assert await it.everything() == b""
        assert (await it.way.ask(GET))[0] == "HTTP/1.1 200 OK"


async def test_a_head_whose_body_is_still_to_come_is_not_noted() -> None:
    async with line() as it:
        await it.known()
        head = GET.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(GET))
        for _ in range(4):
            it.way.writer.write(head)
            await asyncio.sleep(0.01)
            assert (await it.way.ask(GET))[0] == "HTTP/1.1 200 OK", "one answer for head and body"
        assert await it.everything() == b""


@pytest.mark.parametrize("more", ["Connection: close", "Upgrade: h2c\r\nConnection: upgrade", "Expect: 100-continue"])
async def test_what_wants_more_than_an_answer_goes_the_slow_way(more: str) -> None:
    async with line() as it:
        await it.known()
        raw = GET.replace(b"\r\n\r\n", f"\r\n{more}\r\n\r\n".encode())
        before = it.way.answered
        for _ in range(3):
            assert (await it.way.ask(raw))[0] == "HTTP/1.1 200 OK"
        assert it.way.answered == before


async def test_every_tag_of_a_request_that_is_remembered_counts() -> None:
    async with line() as it:
        await it.known()
        etag = dict((await it.way.ask(GET))[1])["etag"]
        for last, status in ('"none"', "HTTP/1.1 200 OK"), (etag, "HTTP/1.1 304 Not Modified"):
            tags = ", ".join([*(f'"{number}"' for number in range(100)), last])
            raw = GET.replace(b"\r\n\r\n", f'\r\nIf-None-Match: {tags}\r\nIf-None-Match: "x"\r\n\r\n'.encode())
            await it.known(raw)
            assert (await it.way.ask(raw))[0] == status


async def test_a_token_counts_until_it_expires() -> None:
    async with line() as it:
        raw = GET.replace(b"gp_ox", token(NOW + 5).encode())
        await it.known(raw)
        it.way.clock.advance(4.9)
        assert (await it.way.ask(raw))[0] == "HTTP/1.1 200 OK"
        it.way.clock.advance(0.2 + 30)  # and the leeway that is granted to clocks
        assert (await it.way.ask(raw))[0] == "HTTP/1.1 401 Unauthorized"


async def test_a_renewed_hub_token_is_asked_with_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(KEY)
    async with line(api_key=None, api_key_file=str(file)) as it:
        await it.known()
        it.way.hub.api_key = "another-token-of-the-hub"
        file.write_text(it.way.hub.api_key)
        other = await it.way.ask(OTHER)  # looks at the file, as the hub is asked
        assert other[0] == "HTTP/1.1 200 OK"
        before = it.way.hub.journal.count
        answer = dict((await it.way.ask(GET))[1])
        assert "fwd=uri-miss" in answer["cache-status"], "what another token may see is another page"
        assert it.way.hub.journal.count == before + 1


async def test_an_answer_by_its_bytes_has_an_id_of_its_own() -> None:
    async with line() as it:
        await it.known()
        first, second = await it.way.ask(GET), await it.way.ask(GET)
        ids = [dict(headers)["x-request-id"] for _, headers, _ in (first, second)]
        assert [[(k, v) for k, v in one[1] if k != "x-request-id"] for one in (first, second)] == [
            [(k, v) for k, v in first[1] if k != "x-request-id"]
        ] * 2
        assert first[2] == second[2]
        assert len(set(ids)) == 2
        assert [event.request_id for event in it.way.events[-2:]] == ids


@pytest.mark.parametrize(
    ("wait", "name", "before", "after"),
    [(0.96, "age", "0", "1"), (0.46, "cache-status", "ttl=30", "ttl=29")],  # fresh for 30.5 s
)
async def test_the_age_and_the_ttl_of_an_answer_by_its_bytes_are_those_of_now(
    wait: float, name: str, before: str, after: str
) -> None:
    async with line() as it:
        await it.way.ask(GET)
        it.way.clock.advance(wait)
        await it.known()
        assert before in dict((await it.way.ask(GET))[1])[name]
        it.way.clock.advance(0.05)
        assert after in dict((await it.way.ask(GET))[1])[name]


async def test_a_page_that_has_left_memory_is_looked_up_anew() -> None:
    async with line() as it:
        await it.known()
        first = await it.way.ask(GET)
        memory = it.way.app.state[WIRE]._express._memory_hits._judging._memory
        for key in list(memory._pages):
            memory._drop(key)
        again = await it.way.ask(GET)
        assert "detail=memory" in dict(first[1])["cache-status"]
        assert "detail=composed" in dict(again[1])["cache-status"], "of its rows, which are still known"
        assert again[2] == first[2]
        (now,) = memory._pages.values()
        assert dict(again[1])["etag"] == now.page.etag == dict(first[1])["etag"], "the same bytes"


async def test_a_page_that_becomes_due_is_refreshed_at_once() -> None:
    async with line() as it:
        await it.way.ask(GET)
        it.way.clock.advance(30.5 * 0.9 - 0.01)
        await it.known()
        assert await it.cost_after(0.02) == 1


async def test_what_is_answered_by_its_bytes_counts_as_shown() -> None:
    """A page that many are shown is refreshed earlier."""
    async with line() as it:
        await it.known()
        for _ in range(POPULAR_AFTER):
            await it.way.ask(GET)
        assert await it.cost_after(30.5 * 0.5 + 0.01) == 1


async def test_memory_that_is_not_trusted_is_not_served_by_bytes() -> None:
    async with line() as it:
        await it.known()
        it.way.app.state[WIRE]._express._memory_hits._trust.has_peers = True
        before = it.way.answered
        assert (await it.way.ask(GET))[0] == "HTTP/1.1 200 OK"
        assert it.way.answered == before


async def test_who_may_read_an_answer_is_said_to_each_origin() -> None:
    async with line() as it:
        await it.known()
        for origin in (ORIGIN, "https://elsewhere.example", ORIGIN):
            raw = GET.replace(b"\r\n\r\n", f"\r\nOrigin: {origin}\r\n\r\n".encode())
            await it.known(raw)
            headers = dict((await it.way.ask(raw))[1])
            assert headers.get("access-control-allow-origin") == (origin if origin == ORIGIN else None)
        assert "access-control-allow-origin" not in dict((await it.way.ask(GET))[1])


async def test_a_page_that_has_no_room_in_memory_is_not_mixed_up_with_another() -> None:
    """What is composed of rows may be too large to be kept, while memory keeps an older page of the same question."""
    async with line() as it:
        await it.known()
        express = it.way.app.state[WIRE]._express
        (heard,) = {id(heard): heard for heard in express._known._found.values()}.values()
        kept = heard.kept
        page = replace(kept.page, body=b"another", etag='"another"')
        express._memory_hits.serve_again = lambda _: None
        express._memory_hits.answer = lambda *_: Hit(page, 0.0, 9.0, "composed")
        status, headers, body = await it.way.ask(GET)
        assert (status, dict(headers)["etag"], body) == ("HTTP/1.1 200 OK", '"another"', b"another")
        del express._memory_hits.serve_again, express._memory_hits.answer
        status, headers, body = await it.way.ask(GET)
        assert (dict(headers)["etag"], body) == (kept.page.etag, kept.page.body)


async def test_a_page_that_has_moved_is_not_served() -> None:
    async with line() as it:
        await it.known()
        count = (await it.way.ask(GET))[2][:20]
        row = it.way.hub.world.enqueue("ox")
        it.way.hub.world.start(row)
        it.way.hub.world.end(row)
        fresher = GET.replace(b"?namespace=ox", b"?namespace=ox&page_size=3").replace(
            b"\r\n\r\n", b"\r\nCache-Control: no-cache\r\n\r\n"
        )
        it.way.clock.advance(0.6)  # as no page is asked for more often
        await it.known()
        assert b"200" in (await it.way.ask(fresher))[0].encode()
        moved = await it.way.ask(GET)
        assert row.id.encode() in moved[2]
        assert dict(moved[1])["etag"] == f'"{hashlib.sha256(moved[2]).hexdigest()[:32]}"'
        assert moved[2][:20] != count


async def test_what_a_limited_caller_is_told_is_told_once() -> None:
    async with line() as it:
        raw = GET.replace(b"gp_ox", b"gp_brisk")
        left = [dict((await it.way.ask(raw))[1])["ratelimit"] for _ in range(8)]
        assert len(set(left)) == 8
        assert it.way.answered > 4, "past the parser all the same"


async def test_while_the_hub_is_left_alone_stale_pages_are_answered_by_their_bytes() -> None:
    async with line() as it:
        await it.known()
        it.way.hub.faults.set(Fault(status=429, retry_after="60"))
        it.way.clock.advance(31)
        before, journal = it.way.answered, it.way.hub.journal.count
        for _ in range(50):  # one in a while looks whether it still rests
            status, headers, body = await it.way.ask(GET)
            assert status == "HTTP/1.1 200 OK"
            assert body.startswith(b'{"count"')
            assert dict(headers)["cache-status"] == "generations-proxy; hit; ttl=-1; detail=stale-hub_rate_limited"
        assert it.way.answered > before + 20
        assert it.way.hub.journal.count == journal + 1


async def test_the_date_is_the_servers() -> None:
    async with line() as it:
        await it.known()
        (protocol,) = [one for one in gc.get_objects() if isinstance(one, BoundedProtocol) and one.app is it.way.app]
        seen = set()
        for _ in range(3):  # the server itself makes it anew once a second
            protocol.server_state.default_headers = [(b"date", b"another second")]
            seen.add(dict((await it.way.ask(GET))[1])["date"])
        assert "another second" in seen


async def test_draining_goes_the_slow_way() -> None:
    async with line() as it:
        await it.known()
        it.way.readiness.draining = True
        assert dict((await it.way.ask(GET))[1])["connection"] == "close"


async def test_a_fault_goes_the_slow_way(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with line() as it:
        await it.known()

        def boom(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr("proxy.web.express.wire.RequestEvent", boom)
        assert (await it.way.ask(GET))[0] == "HTTP/1.1 200 OK"
        assert "the express lane failed" in caplog.text


async def test_an_idle_connection_is_closed_after_its_last_answer() -> None:
    async with line() as it:
        await it.known()
        (protocol,) = [one for one in gc.get_objects() if isinstance(one, BoundedProtocol) and one.app is it.way.app]
        protocol.timeout_keep_alive_handler()
        assert not protocol.transport.is_closing(), "it has just been used"
        protocol._answered_at -= protocol.timeout_keep_alive
        protocol.timeout_keep_alive_handler()
        assert protocol.transport.is_closing()


@pytest.mark.parametrize(
    "raw",
    [GET.replace(b"GET", b"HEAD"), GET.replace(b"\r\n\r\n", b"\r\nIf-None-Match: *\r\n\r\n")],
    ids=["HEAD", "304"],
)
async def test_an_answer_without_a_body_leaves_nothing_to_be_written(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line() as it:
        for _ in range(2):
            await it.way.ask(raw, head=True)
        (protocol,) = [one for one in gc.get_objects() if isinstance(one, BoundedProtocol) and one.app is it.way.app]
        parts: list[bytes] = []
        send = protocol.transport.writelines

        def writing(lines: list[bytes]) -> None:
            parts.extend(lines)
            send(lines)

        monkeypatch.setattr(protocol.transport, "writelines", writing)
        before = it.way.answered
        await it.way.ask(raw, head=True)
        assert it.way.answered == before + 1
        assert b"" not in parts, "which the event loop of Python 3.12 and 3.13 would try to write for ever"


async def test_a_request_that_was_told_of_another_origin_is_charged_for_itself() -> None:
    """Else what is remembered of requests could grow beyond its bound, by origins alone."""
    async with line() as it:
        for origin in ("", f"Origin: {ORIGIN}\r\n", "Origin: https://elsewhere.example\r\n"):
            await it.known(GET.replace(b"\r\n\r\n", f"\r\n{origin}\r\n".encode()))
        known = it.way.app.state[WIRE]._express._known
        places = Counter(id(heard) for heard in known._found.values())
        things = {id(heard): heard for heard in known._found.values()}
        assert len(things) == 2
        assert {key: heard.references for key, heard in things.items()} == places
        assert known.bytes == KEY_OVERHEAD * len(known) + sum(heard.cost for heard in things.values())


async def test_a_generation_that_is_anothers_now_is_not_shown_for_its_bytes() -> None:
    """What it was when the caller was found to see it says nothing of what it is."""
    async with line() as it:
        row = it.way.hub.world.enqueue("ox")
        raw = GET.replace(b"?namespace=ox", f"/{row.id}".encode())
        await it.known(raw)
        row.namespace = "bessie"
        it.way.hub.world.start(row)
        it.way.clock.advance(1.1)
        assert b"bessie" in (await it.way.ask(raw.replace(b"gp_ox", b"gp_all")))[2]
        for _ in range(3):
            assert (await it.way.ask(raw))[0] == "HTTP/1.1 404 Not Found"


async def test_what_the_hub_does_not_find_any_more_is_not_found_for_its_bytes_either() -> None:
    async with line() as it:
        row = it.way.hub.world.enqueue("ox")
        raw = GET.replace(b"?namespace=ox", f"/{row.id}".encode())
        for known in (raw, raw.replace(b"gp_ox", b"gp_all")):
            await it.known(known)
        it.way.hub.world.delete(row)
        it.way.clock.advance(1.1)
        for _ in range(3):
            for known in (raw, raw.replace(b"gp_ox", b"gp_all")):
                assert (await it.way.ask(known))[0] == "HTTP/1.1 404 Not Found"


async def test_how_long_an_answer_by_its_bytes_took_is_told() -> None:
    async with line() as it:
        await it.known()
        it.way.events.clear()
        before = time.perf_counter()
        await it.way.ask(GET)
        took = time.perf_counter() - before
        (event,) = it.way.events
        assert 0 < event.seconds < took


async def test_who_has_an_expired_token_is_not_shown_a_page_that_is_fresh() -> None:
    async with line() as it:
        raw = GET.replace(b"gp_ox", token(NOW + 25).encode())
        fresher = GET.replace(b"\r\n\r\n", b"\r\nCache-Control: no-cache\r\n\r\n")
        await it.known(raw)
        it.way.clock.advance(20)
        await it.way.ask(fresher)
        it.way.clock.advance(4.9)
        await it.known(raw)
        it.way.clock.advance(0.2)
        before = it.way.answered
        assert (await it.way.ask(raw))[0] == "HTTP/1.1 200 OK", "by the leeway that is granted to clocks"
        assert it.way.answered == before, "which is for the slow way to know"
        it.way.clock.advance(20)
        await it.way.ask(fresher)
        it.way.clock.advance(10)
        assert (await it.way.ask(raw))[0] == "HTTP/1.1 401 Unauthorized"
        assert dict((await it.way.ask(GET))[1])["age"] == "10"


async def test_what_a_request_wishes_counts_each_time_that_its_bytes_come() -> None:
    async with line() as it:
        raw = GET.replace(b"\r\n\r\n", b"\r\nCache-Control: max-age=3\r\n\r\n")
        for _ in range(2):
            await it.known(raw)
            it.way.clock.advance(2.9)
            assert dict((await it.way.ask(raw))[1])["age"] == "2"
            it.way.clock.advance(0.2)
            assert "fwd=request" in dict((await it.way.ask(raw))[1])["cache-status"]


@pytest.mark.parametrize(
    "header", ["X: y", "Accept-Encoding: gzip", "Accept-Encoding: zstd", "If-None-Match: *", f"Origin: {ORIGIN}"]
)
@pytest.mark.parametrize("caller", [b"gp_ox", b"gp_brisk"])
async def test_an_answer_by_its_bytes_is_none_that_failed_and_went_the_slow_way(
    header: str, caller: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Which would look the same, and cost more than if nothing were remembered."""
    async with line() as it:
        await it.known(GET.replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode()).replace(b"gp_ox", caller))
    assert "the express lane failed" not in caplog.text
