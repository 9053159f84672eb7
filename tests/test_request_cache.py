"""What is remembered of requests, and that nobody can make it more than it may be."""

from __future__ import annotations

import gc
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from proxy.answer import directives
from proxy.answer.directives import NO_DIRECTIVES
from proxy.callers.quota import Terms
from proxy.questions import query
from proxy.questions.question import LIST_PATH, Question, page_question
from proxy.settings import CacheSettings
from proxy.web.express.known_request import ParsedHeaders
from proxy.web.express.lane import HEAD
from proxy.web.express.request_cache import KEY_OVERHEAD, MAX_KEY_BYTES, CacheEntry, RequestCache
from proxy.web.express.wire import WIRE
from tests.support import rig

MEMORY = 2 * 2**20
MANY = 1_200
QUERY = "namespace=ox&page_size=1"


def test_a_request_cache_is_bounded_by_what_it_keeps_alive() -> None:
    it: RequestCache[CacheEntry] = RequestCache(3 * (KEY_OVERHEAD + 1000))
    requests = {key: CacheEntry(cost=1000) for key in (b"a", b"b", b"c", b"d")}
    for key in (b"a", b"b", b"c"):
        it.keep(key, requests[key])
    assert it.get(b"a") is requests[b"a"]
    it.keep(b"d", requests[b"d"])
    assert (it.get(b"b"), it.get(b"a"), len(it)) == (None, requests[b"a"], 3)
    assert it.bytes == 3 * (KEY_OVERHEAD + 1000)
    it.keep(b"d", again := CacheEntry(cost=900))
    assert (it.get(b"d"), it.bytes) == (again, 3 * KEY_OVERHEAD + 2900)
    it.keep(b"e", CacheEntry(cost=3 * (KEY_OVERHEAD + 1000)))
    it.keep(b"f" * (MAX_KEY_BYTES + 1), CacheEntry(cost=1))
    it.forget(b"never known")
    assert (len(it), it.bytes) == (3, 3 * KEY_OVERHEAD + 2900), "what is too large displaces nothing"
    for key in (b"a", b"c", b"d"):
        it.forget(key)
    assert (len(it), it.bytes) == (0, 0)


def test_what_several_keys_lead_to_is_charged_as_long_as_one_of_them_is_remembered() -> None:
    it: RequestCache[CacheEntry] = RequestCache(10_000)
    request = CacheEntry(cost=1000)
    for key in (b"a", b"b"):
        it.keep(key, request)
    assert it.bytes == 2 * KEY_OVERHEAD + 1000
    it.forget(b"a")
    assert it.bytes == KEY_OVERHEAD + 1000
    it.forget(b"b")
    assert it.bytes == 0


def always() -> bool:
    return True


def parsed_headers(caller: str = "anonymous", cache_control: str = "", terms: Terms | None = None) -> ParsedHeaders:
    parsed = directives.parse_directives([cache_control]) if cache_control else NO_DIRECTIVES
    return ParsedHeaders(caller, parsed, terms, always, "zstd")


def some_tags(number: int, count: int) -> tuple[str, ...]:
    return tuple(f'"{number:030x}{at:02x}"' for at in range(count))


REQUESTS: dict[str, Callable[[int], tuple[str, ParsedHeaders, tuple[str, ...]]]] = {
    "a tag": lambda n: (QUERY, parsed_headers(), some_tags(n, 1)),
    "many tags": lambda n: (QUERY, parsed_headers(), some_tags(n, 20)),
    "Cache-Control": lambda n: (
        QUERY,
        parsed_headers(cache_control=f"max-age={n}, max-stale={n}, min-fresh=0.{n}"),
        (),
    ),
    "callers": lambda n: (QUERY, parsed_headers(f"jwt:{n}", terms=Terms(n + 0.5, n + 1.5)), ()),
    "pages": lambda n: (f"{QUERY}&page={n + 2}", parsed_headers(), ()),
    "long filters": lambda n: (f"{QUERY}&model={n:032d}&folder={'%C3%A4' * 256}", parsed_headers(), ()),
    "heads": lambda _: (QUERY, parsed_headers(), ()),
}
"""What one caller may send anew each time, by what differs."""


@pytest.mark.parametrize("kind", REQUESTS)
async def test_what_a_caller_has_remembered_is_bounded(kind: str) -> None:
    """An entry whose other key had been dropped lived on by its head: 575 MiB of one page that was kept."""
    async with rig(cache=CacheSettings(memory_bytes=MEMORY), rate=1e6, burst=1_000_000) as it:
        await it.get(QUERY)
        wire = it.app.state[WIRE]
        express, (credential,) = wire._express, wire._express._credentials.values()
        express._shared = lambda context: context  # as for an entry that is alone in its context

        def question(text: str) -> Question:
            return page_question(credential.id, query.parse(text.encode()))

        def ask(number: int) -> None:
            text, what, tags = REQUESTS[kind](number)
            head = f"GET {number} {number * number}\r\n\r\n".encode()
            headers = [(b"if-none-match", tag.encode()) for tag in tags]
            state: dict[str, Any] = {HEAD: head}
            raw = f"{text}&{'' if kind == 'heads' else number}".encode()
            scope: Any = {"method": "GET", "path": LIST_PATH, "raw_path": LIST_PATH.encode(), "query_string": raw}
            scope |= {"headers": headers, "state": state}
            if kind != "heads" or express.recall_parsed(scope) is None:
                express.remember(scope, question(text), what, tags)
            wire.answer(head, ())

        ask(0)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(1, MANY):
                ask(number)
            wire._pending.clear()
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            known = express._known
            charged, places = known.bytes, len(known)
            known._found = OrderedDict()
            gc.collect()
            rest, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert charged <= MEMORY / 2
        assert places > 100
        assert held - rest < charged
        assert rest < 3 * 2**20, "a few thousand names that are shared"


async def test_what_an_answer_of_a_token_that_was_renewed_meanwhile_meant_is_not_remembered() -> None:
    async with rig() as it:
        express = it.app.state[WIRE]._express
        (credential,) = express._credentials.values()
        scope: Any = {
            "method": "GET",
            "path": LIST_PATH,
            "raw_path": LIST_PATH.encode(),
            "query_string": QUERY.encode(),
        }
        scope |= {"headers": [], "state": {}}
        for credential_id, known in (("of the old token", 0), (credential.id, 1)):
            express.remember(scope, page_question(credential_id, query.parse(QUERY.encode())), parsed_headers())
            assert len(express) == known
