"""The express lane answers as the slow way does: each request is sent both ways, and the whole answers compared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.web.express.wire import WIRE
from tests.express_fixture import ORIGIN, Way, hub_of, token, way
from tests.support import LIST, NOW, Clock


@dataclass
class Ways:
    express: Way
    slow: Way
    clock: Clock
    ids: list[str]


@asynccontextmanager
async def two_ways() -> AsyncIterator[Ways]:
    hub = hub_of(Clock())
    async with way(hub) as one, way(hub, express=False) as other:
        ids = [row.id for name in ("ox", "bessie") for row in list(hub.world.newest_first(name))[:2]]
        yield Ways(one, other, one.clock, ids)


TOKENS = [token(NOW + seconds, namespaces) for seconds in (-100, -10, 5, 500) for namespaces in ("ox", "*")]

PATHS = [LIST, "/api/ai/queue", f"{LIST}/ID0", f"{LIST}/ID2", "/api/ai/queue/ID1", "/health/live", "/api/ai/generation"]
QUERIES = [
    "",
    "?namespace=ox",
    "?namespace=ox&page_size=5",
    "?page_size=5&namespace=ox",
    "?namespace=ox&status=succeeded",
    "?namespace=%6Fx&page=2&page_size=5",
    "?namespace=bessie&status=failed",
    "?page=01",
    "?namespace=nobody",
]
CREDENTIALS = [
    *("Authorization: Bearer gp_all", "Authorization: bearer gp_ox", "X-API-Key: gp_ox", "x-api-key: gp_ox2"),
    *(
        "Authorization: Bearer gp_slow",
        "Authorization: Bearer gp_brisk",
        "Authorization: Basic gp_ox",
        "Authorization: Bearer nobody",
        "",
    ),
    *(f"Authorization: Bearer {text}" for text in TOKENS),
]
ENCODINGS = [
    *("gzip", "gzip, deflate, br, zstd", "zstd;q=0.5, gzip", "identity", "gzip;q=0, *", "*;q=0", "identity;q=0", "*"),
    *("GZIP;q=1.0", "x-gzip", "br", "gzip;q=2", "identity;q=0.9, gzip;q=0.1", ""),
]
CONDITIONS = ["*", "TAG", "W/TAG", '"nothing", TAG', "TAG-gzip", "W/TAG-zstd", "TAG-br", '"nothing"']
OTHERS = [
    *("Cache-Control: no-cache", "Cache-Control: max-age=0", "Cache-Control: max-age=3, min-fresh=1"),
    *("Cache-Control: only-if-cached", "Cache-Control: max-stale", "Pragma: no-cache", "Cookie: a=1"),
    *(f"Origin: {ORIGIN}", "Origin: https://evil.example", f"Origin: {ORIGIN}\r\nOrigin: {ORIGIN}"),
    *("Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Connection: close"),
    *("Authorization: Bearer gp_all", "Range: bytes=0-10", "Expect: 100-continue", "Content-Length: 0", "Upgrade: h2c"),
]


@dataclass(frozen=True)
class Asked:
    """A request, sent so many times, so many seconds after the one before."""

    method: str
    path: str
    query: str
    headers: tuple[str, ...]
    times: int
    wait: float

    def raw(self, ids: list[str], tag: str) -> bytes:
        path = re.sub("ID([0-9])", lambda found: ids[int(found[1])], self.path)
        lines = [f"{self.method} {path}{self.query} HTTP/1.1", "Host: proxy.test", *(h for h in self.headers if h)]
        text = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        return re.sub("TAG(-[a-z]+)?", lambda found: f'"{tag}{found[1] or ""}"', text).encode()


maybe = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(OTHERS))
asked = st.builds(
    lambda method, path, query, credentials, encoding, condition, other, times, wait: Asked(
        method,
        path,
        query if path in PATHS[:2] else "",
        tuple(
            filter(
                None,
                (
                    credentials,
                    None if encoding is None else f"Accept-Encoding: {encoding}",
                    None if condition is None else f"If-None-Match: {condition}",
                    other,
                ),
            )
        ),
        times,
        wait,
    ),
    st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]),
    st.sampled_from(PATHS[:5] * 3 + PATHS),
    st.sampled_from(QUERIES),
    st.sampled_from(CREDENTIALS),
    st.one_of(st.none(), st.sampled_from(ENCODINGS)),
    st.one_of(st.none(), st.sampled_from(CONDITIONS)),
    maybe,
    st.sampled_from([1, 2, 3, 7]),
    st.sampled_from([0.0, 0.0, 0.0, 0.04, 0.1, 0.47, 1.0, 4.0, 29.0]),
)


def whole(answer: tuple[str, list[tuple[str, str]], bytes]) -> Any:
    """An answer without what differs in each: its date and id, and the random name of a chain of moments."""
    status, headers, body = answer
    kept = [
        (name, value.partition("-")[2] if name == "listing-moment" else value)
        for name, value in headers
        if name not in ("date", "x-request-id")
    ]
    assert len(dict(headers).get("x-request-id", "x" * 24)) == 24
    return status, kept, re.sub(rb'"request_id":"[0-9a-f]{24}"', b"", body)


def told(way: Way) -> list[Any]:
    found = [(e.info, e.status, e.outcome, e.bytes, e.age) for e in way.events]
    assert all(e.seconds >= 0 and len(e.request_id) == 24 for e in way.events)
    way.events.clear()
    return found


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def compare(ways: Ways, request: Asked, tag: str) -> str:
    """Send a request both ways; return the tag of its page, or that of the last."""
    ways.clock.advance(request.wait)
    raw = request.raw(ways.ids, tag)
    for _ in range(request.times):
        one, other = [await way.ask(raw, head=request.method == "HEAD") for way in (ways.express, ways.slow)]
        assert whole(one) == whole(other), raw
        assert told(ways.express) == told(ways.slow), raw
        tag = dict(one[1]).get("etag", tag).strip('"').split("-")[0]
    return tag


def differ(loop: asyncio.AbstractEventLoop, examples: int) -> tuple[int, int]:
    """Send generated requests both ways; return how many, and how many of them were answered past the parser."""
    answered, sent = 0, 0

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(asked, min_size=50, max_size=60))
    def check(requests: list[Asked]) -> None:
        nonlocal answered, sent

        async def run() -> int:
            async with two_ways() as ways:
                tag = "none"
                for request in requests:
                    tag = await compare(ways, request, tag)
                assert ways.slow.answered == 0
                return ways.express.answered

        answered += loop.run_until_complete(run())
        sent += sum(request.times for request in requests)

    check()
    return sent, answered


def test_both_ways_give_the_same_answers(loop: asyncio.AbstractEventLoop) -> None:
    sent, answered = differ(loop, 5)
    assert answered > sent / 20


@pytest.mark.slow
def test_both_ways_give_the_same_answers_to_thousands_of_requests(loop: asyncio.AbstractEventLoop) -> None:
    sent, answered = differ(loop, 70)
    assert sent > 5000
    assert answered > sent / 20


HEADERS = {
    "none": ("Authorization: Bearer gp_all",),
    "other credentials": ("Authorization: Bearer nobody",),
    "a key": ("X-API-Key: gp_ox",),
    "another's key": ("X-API-Key: nobody",),
    "gzip": ("Authorization: Bearer gp_all", "Accept-Encoding: gzip"),
    "zstd": ("Authorization: Bearer gp_all", "Accept-Encoding: zstd"),
    "a condition": ("Authorization: Bearer gp_all", "If-None-Match: *"),
    "Cache-Control": ("Authorization: Bearer gp_all", "Cache-Control: no-cache"),
    "Pragma": ("Authorization: Bearer gp_all", "Pragma: no-cache"),
    "a moment": ("Authorization: Bearer gp_all", "Listing-Moment: of-none"),
}


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("none", "other credentials"),
        ("a key", "another's key"),
        ("gzip", "zstd"),
        *(("none", name) for name in ("gzip", "a condition", "Cache-Control", "Pragma", "a moment")),
    ],
)
async def test_a_request_that_differs_by_a_header_that_bears_on_its_answer_is_another(known: str, other: str) -> None:
    """One that is parsed too: its head is not known yet."""
    async with two_ways() as ways:
        for name in (known, other, known):  # a second later, as no page is asked for more often
            await compare(ways, Asked("GET", LIST, "?namespace=ox", HEADERS[name], 3, 1.0), "none")
        assert ways.express.answered > 1


@pytest.mark.parametrize(("method", "path", "query"), [("HEAD", 0, 1), ("GET", 1, 1), ("GET", 0, 3)])
async def test_a_request_of_another_first_line_is_another(method: str, path: int, query: int) -> None:
    async with two_ways() as ways:
        first, other = ("GET", PATHS[0], QUERIES[1]), (method, PATHS[path], QUERIES[query])
        for line in (first, other, first):
            await compare(ways, Asked(*line, HEADERS["none"], 3, 0.0), "none")
        assert ways.express.answered > 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", ["none", "gzip", "a condition"])
async def test_a_header_of_no_interest_makes_no_other_request(method: str, headers: str) -> None:
    """Its head is not known, what it means is: it is parsed, and no more than that."""
    async with two_ways() as ways:
        express = ways.express.app.state[WIRE]._express
        first = Asked(method, LIST, "?namespace=ox", HEADERS[headers], 2, 0.0)
        await compare(ways, first, "none")
        parsed = {id(heard) for heard in express._known._found.values()}
        for number in range(2):
            traced = replace(first, headers=(*first.headers, f"X-Trace: {number}"), times=1)
            await compare(ways, traced, "none")
        assert {id(heard) for heard in express._known._found.values()} == parsed, "it is the same"
