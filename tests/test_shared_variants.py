"""A large page's gzip variant is made by one replica; the others take it from Redis if it is what it should be."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import fakeredis
import msgspec
import pytest

from proxy.answer.encodings import Coding
from proxy.answer.page import Page
from proxy.answer.record import Stamp
from proxy.known.encoder import Encoder
from proxy.known.memory import Memory
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.link import RedisLink
from proxy.redis.variants import SharedVariants
from proxy.settings import CacheSettings
from proxy.tasks.off_loop import OFF_LOOP_BYTES
from tests.support import NOW, Clock

QUESTION = page_question("c", ListQuery(namespace="ox"))
KEY = f"{QUESTION.page_key}:gzip"
ROWS = b"".join(b'{"row": %d} ' % number for number in range(2000))
BODY = ROWS * (OFF_LOOP_BYTES // len(ROWS) + 1)
"""It repeats what stands so far before that gzip's whole window is made use of."""
PAGE = Page(QUESTION.key, BODY, '"abc"', NOW, Stamp(1, None), settled=True, dead_at=None)


class Replica:
    def __init__(self, server: fakeredis.FakeServer, clock: Clock) -> None:
        self.client: Any = fakeredis.FakeAsyncRedis(server=server)
        self.link = RedisLink(self.client, 5.0)
        self.encoder = Encoder(Memory(2**20), SharedVariants(self.link, CacheSettings(), clock=clock))

    async def body(self, page: Page = PAGE, coding: Coding = "gzip") -> bytes:
        found = await self.encoder.body(QUESTION, msgspec.structs.replace(page, variants={}), coding)
        await self.encoder.drain(1.0)
        return found


async def test_one_replica_makes_it_for_all(variants_made: list[Coding]) -> None:
    server, clock = fakeredis.FakeServer(), Clock()
    one, other = Replica(server, clock), Replica(server, clock)
    variant = await one.body()
    assert gzip.decompress(variant) == BODY
    assert await other.body() == variant
    assert variants_made == ["gzip"]
    assert not one.link.faults
    settings = CacheSettings()
    longest = (max(settings.max_page_age, settings.settled_ttl) + settings.stale_if_error) * 1000
    assert 0.9 * longest < await one.client.pttl(KEY) <= longest, "it goes when the page does"


async def test_small_pages_and_zstd_are_not_asked_for(variants_made: list[Coding]) -> None:
    one = Replica(fakeredis.FakeServer(), Clock())
    await one.body(coding="zstd")
    await one.body(msgspec.structs.replace(PAGE, body=BODY[:5000]))
    assert variants_made == ["zstd", "gzip"]
    assert await one.client.keys("*") == []


async def test_a_page_that_is_of_no_use_any_more_leaves_nothing() -> None:
    one = Replica(fakeredis.FakeServer(), Clock())
    await one.body(msgspec.structs.replace(PAGE, dead_at=NOW))
    assert await one.client.keys("*") == []
    assert not one.link.faults, "Redis would say no to a value that is kept for no time"


def value(*members: object) -> bytes:
    return msgspec.msgpack.encode(members)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"\x00", "ValidationError"),
        (b"\xc1garbage", "DecodeError"),
        (value(2, PAGE.key, PAGE.etag, gzip.compress(BODY)), None),
        (value(2, "as another release has it"), None),
        (value(1, "another page", PAGE.etag, gzip.compress(BODY)), "ValueError"),
        (value(1, PAGE.key, '"old"', gzip.compress(BODY)), None),
        (value(1, PAGE.key, PAGE.etag, gzip.compress(BODY[:-1])), "ValueError"),
        (value(1, PAGE.key, PAGE.etag, gzip.compress(BODY + b" ")), "ValueError"),
        (value(1, PAGE.key, PAGE.etag, gzip.compress(bytes(2**26))), "ValueError"),
        (value(1, PAGE.key, PAGE.etag, gzip.compress(BODY)[:-4]), "ValueError"),
        (value(1, PAGE.key, PAGE.etag, gzip.compress(BODY) + b"more"), "ValueError"),
        (value(1, PAGE.key, PAGE.etag, BODY), "error"),
        (value(1, PAGE.key, PAGE.etag, zlib.compress(BODY)), "error"),
        (value(1, PAGE.key, PAGE.etag, b""), "ValueError"),
    ],
)
async def test_what_is_not_the_page_is_made_anew(raw: bytes, fault: str | None, variants_made: list[Coding]) -> None:
    one = Replica(fakeredis.FakeServer(), Clock())
    await one.client.set(KEY, raw)
    variant = await one.body()
    assert gzip.decompress(variant) == BODY
    assert variants_made == ["gzip"]
    assert one.link.faults == ({} if fault is None else {f"variant: {fault}": 1})
    assert msgspec.msgpack.decode(await one.client.get(KEY))[3] == variant, "and in its place"


async def test_without_redis_it_is_made_here(variants_made: list[Coding]) -> None:
    server = fakeredis.FakeServer()
    one = Replica(server, Clock())
    server.connected = False
    for variant in await asyncio.gather(*(one.encoder.body(QUESTION, PAGE, "gzip") for _ in range(2))):
        assert gzip.decompress(variant) == BODY
    assert variants_made == ["gzip"], "and for both who ask at once"


async def test_a_key_of_another_type_is_a_fault_and_no_more(variants_made: list[Coding]) -> None:
    one = Replica(fakeredis.FakeServer(), Clock())
    await one.client.lpush(KEY, "x")
    assert gzip.decompress(await one.body()) == BODY
    assert variants_made == ["gzip"]
    assert one.link.faults == {"variant: ResponseError": 1}
