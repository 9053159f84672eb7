"""Over real sockets: bodies byte for byte, and what only a real server shows."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.answer.page import parse_page
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.client import connect
from proxy.secret import Secret
from proxy.settings import CacheSettings, RedisSettings, Settings
from proxy.simulator import Fault, Simulator, World
from tests.support import KEY, LIST, UNHURRIED, RedisServer, SocketRig, raw, socket_rig, still_world

PAGES = [
    (namespace, size, page) for namespace in ("ox", "bessie", "moo") for size in (1, 2, 3, 7) for page in range(1, 19)
]

QUESTION = page_question("c", ListQuery())


@pytest.fixture
async def it() -> AsyncIterator[SocketRig]:
    async with socket_rig(Settings(cache=CacheSettings(live_ttl=600, settled_ttl=600, compose=False))) as joined:
        yield joined


def test_there_are_enough_pages() -> None:
    assert len(PAGES) >= 200


@pytest.mark.parametrize("with_redis", [False, True])
async def test_bodies_are_the_hubs_bytewise(with_redis: bool, redis_server: RedisServer) -> None:
    """Hostile content through miss, hit, HEAD and 304: not a byte differs, and re-encoding would show.

    The simulator signs links anew for each answer, so what it said is taken from it, not asked for again.
    """
    said: dict[str, bytes] = {}

    class Recording(Simulator):
        def _answer(self, path: str, query: str) -> bytes:
            said[query] = super()._answer(path, query)
            return said[query]

    redis = RedisSettings(url=Secret(redis_server.url), timeout=UNHURRIED) if with_redis else RedisSettings()
    settings = Settings(cache=CacheSettings(live_ttl=600, settled_ttl=600, compose=False), redis=redis)
    simulator = Recording(still_world(time.time, seed=time.time_ns()), api_key=KEY)
    plenty = {"rate": 10_000.0, "burst": 10_000}  # the budget is not what this is about
    async with socket_rig(settings, simulator=simulator, **plenty) as it, httpx.AsyncClient() as caller:
        for namespace, size, page in PAGES:
            query = f"namespace={namespace}&page={page}&page_size={size}"
            miss, hit = [await caller.get(f"{it.list_url}?{query}") for _ in range(2)]
            assert miss.content == hit.content == said[query]
            assert "fwd=uri-miss" in miss.headers["cache-status"]
            assert "hit" in hit.headers["cache-status"]
            assert json.dumps(json.loads(miss.content)).encode() != miss.content
        assert it.hub.journal.count == len(PAGES)


async def test_a_second_process_gets_the_same_bytes_from_redis(own_redis: RedisServer) -> None:
    settings = Settings(
        cache=CacheSettings(live_ttl=600, settled_ttl=600, compose=False),
        redis=RedisSettings(url=Secret(own_redis.url), timeout=UNHURRIED),
    )
    simulator = Simulator(still_world(time.time), api_key=KEY)
    async with (
        socket_rig(settings, simulator=simulator) as one,
        socket_rig(settings, simulator=simulator, url=one.hub_url) as other,
        httpx.AsyncClient() as caller,
    ):
        first = await caller.get(one.list_url)
        admin = connect(Secret(own_redis.url))
        async with asyncio.timeout(5):
            while await admin.dbsize() == 0:  # nobody waits for Redis to have it, but this test
                await asyncio.sleep(0.01)
        await admin.aclose()
        second = await caller.get(other.list_url)
        assert "detail=redis" in second.headers["cache-status"]
        assert second.content == first.content
        assert second.headers["etag"] == first.headers["etag"]
        assert simulator.journal.count == 1


@pytest.mark.parametrize(
    ("query", "parameter"),
    [(b"namespace=\xff", b"namespace"), (b"model=" + "é".encode() * 257, b"model"), (b"x\xc3\xa9=1", "xé".encode())],
)
async def test_raw_bytes_in_the_query_are_refused_by_parameter(it: SocketRig, query: bytes, parameter: bytes) -> None:
    head = b"GET " + LIST.encode() + b"?" + query + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = await raw(it, head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"parameter":"' + parameter + b'"' in answer or b"Invalid HTTP request" in answer
    assert it.hub.journal.count == 0


@pytest.mark.parametrize("host", [b"evil.test", b"a b", b"x/../y", b"[::1", b""])
async def test_any_host_header_is_harmless(it: SocketRig, host: bytes) -> None:
    answer = await raw(it, b"GET /health/live HTTP/1.1\r\nhost: " + host + b"\r\nconnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert b"evil" not in answer


async def test_head_over_a_socket_has_no_body(it: SocketRig) -> None:
    answer = await raw(it, f"HEAD {LIST} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: " in head
    assert body == b""


async def test_a_caller_who_hangs_up_disturbs_nobody(it: SocketRig) -> None:
    it.hub.faults.set(Fault(latency=0.3))
    async with httpx.AsyncClient() as caller:
        with pytest.raises(httpx.TimeoutException):
            await caller.get(it.list_url, timeout=0.1)
        answers = await asyncio.gather(*(caller.get(it.list_url) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert it.hub.journal.count == 1


@pytest.mark.parametrize("cut_off", [0, 1, 200, 5000])
async def test_an_answer_that_is_cut_off_is_an_error_that_is_not_kept(it: SocketRig, cut_off: int) -> None:
    it.hub.faults.set(Fault(cut_off=cut_off))
    async with httpx.AsyncClient() as caller:
        answer = await caller.get(it.list_url)
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "hub_answer_cut_off")
        it.hub.faults.clear()
        assert (await caller.get(it.list_url)).status_code == 200


async def test_a_hub_that_hangs_or_drips_is_given_up() -> None:
    async with socket_rig(read_timeout=0.5, deadline=1.5) as it, httpx.AsyncClient() as caller:
        it.hub.faults.set(Fault(hang=True))
        assert (await caller.get(it.list_url)).json()["error"]["type"] == "hub_timeout"
        it.hub.faults.set(Fault(drip=0.25))
        assert (await caller.get(it.list_url)).json()["error"]["type"] == "hub_timeout"
        it.hub.faults.clear()
        assert (await caller.get(it.list_url)).status_code == 200


async def test_pages_of_a_living_world_never_go_back() -> None:
    """Time goes by for real; whoever asks gets true, well-formed pages throughout."""
    simulator = Simulator(World(speed=200.0, history=30), api_key=KEY)
    settings = Settings(cache=CacheSettings(live_ttl=0.2, settled_ttl=0.5))
    async with socket_rig(settings, simulator=simulator) as it, httpx.AsyncClient() as caller:
        seen: list[list[int]] = []
        while len(seen) < 20 or seen[-1][-1] == seen[0][0]:
            answers = await asyncio.gather(*(caller.get(it.list_url) for _ in range(4)))
            assert {answer.status_code for answer in answers} == {200}
            seen.append(sorted(parse_page(QUESTION, one.content, 0.0).stamp.total_entries for one in answers))
            await asyncio.sleep(0.01)
        assert all(before[-1] <= after[0] for before, after in itertools.pairwise(seen))
        assert it.hub.journal.count < 4 * len(seen)
