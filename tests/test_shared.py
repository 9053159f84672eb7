"""Pages in Redis: what goes in comes out, and no fault of Redis is anybody's error."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import fakeredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.admission.gate import Allowance, AskerState, Report
from proxy.admission.shared_gate import SharedGate
from proxy.answer.page import Page
from proxy.answer.record import MAX_AHEAD, Record, Stamp
from proxy.callers.limiter import Limiter
from proxy.callers.quota import Terms
from proxy.events.shared_log import SharedLog
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis import stored
from proxy.redis.claims import Claim
from proxy.redis.client import connect
from proxy.redis.describe import describe
from proxy.redis.link import FIRST_BACKOFF, MAX_BACKOFF, RedisLink
from proxy.redis.scripts import Script
from proxy.redis.shared import Found, Shared
from proxy.redis.shared_watermarks import SharedWatermarks
from proxy.redis.status import SharedStatus
from proxy.redis.stored import read_page, read_record, write_page, write_record
from proxy.redis.variants import SharedVariants
from proxy.redis_keys import NOBODYS, record_key, rows_keys
from proxy.secret import Secret
from proxy.settings import CacheSettings, RedisSettings
from proxy.tasks.off_loop import OFF_LOOP_BYTES
from tests.support import UNHURRIED, Clock, RedisServer, free_port

QUESTION = page_question("c", ListQuery())
PAGE = Page(QUESTION.key, b'{"a": 1}', '"e"', 1.5, Stamp(3, "0.10"), settled=True, dead_at=99.0)


@pytest.fixture
def fake() -> fakeredis.FakeAsyncRedis:
    return fakeredis.FakeAsyncRedis()


@pytest.fixture
def shared(fake: fakeredis.FakeAsyncRedis) -> Shared:
    return Shared(RedisLink(fake, 1.0))


async def put(shared: Shared, page: Page = PAGE, keep_page: float = 60.0) -> None:
    await shared.store(QUESTION, page, received_at=2.0, keep_page=keep_page, keep_record=60.0)


async def get(shared: Shared, question: Question = QUESTION) -> Page | None:
    found = await shared.look_up(question)
    return None if found is None else found.page


def state(shared: Shared) -> str:
    return shared._link.state


def faults(shared: Shared) -> Counter[str]:
    return shared._link.faults


async def test_what_goes_in_comes_out(shared: Shared, fake: fakeredis.FakeAsyncRedis) -> None:
    assert state(shared) == "unknown"
    assert await get(shared) is None
    await put(shared)
    assert await get(shared) == PAGE
    assert 59_000 < await fake.pttl(QUESTION.page_key) <= 60_000
    assert state(shared) == "up"
    assert not faults(shared)


async def test_a_large_body_comes_out_as_it_went_in(shared: Shared) -> None:
    large = msgspec.structs.replace(PAGE, body=bytes(range(256)) * (OFF_LOOP_BYTES // 128), variants={})
    await put(shared, large)
    assert await get(shared) == large


@pytest.mark.parametrize("keep_for", [0.0, -1.0, 0.0004])
async def test_nothing_is_kept_for_no_time(shared: Shared, fake: fakeredis.FakeAsyncRedis, keep_for: float) -> None:
    await put(shared, keep_page=keep_for)
    assert await fake.exists(QUESTION.page_key) == 0


async def test_what_was_learned_without_redis_is_reported_and_what_is_true_is_learned(shared: Shared) -> None:
    await put(shared)

    async def report(stamp: Stamp, at: float, *, moved: bool = False) -> tuple[Stamp, float, float]:
        record = await shared.report(QUESTION.listing, Record(stamp, 0.0, at, at), moved=moved, keep_record=60.0)
        assert record is not None
        return record.stamp, record.since, record.confirmed_at

    moved = Stamp(4, "0.10")
    assert await report(moved, 3.0) == (moved, 2.0, 3.0), "since the answer before, at the earliest"
    assert await report(PAGE.stamp, 1.0) == (moved, 2.0, 3.0), "it is behind"
    assert await report(moved, 4.0) == (moved, 2.0, 4.0)
    assert await report(moved, 5.0, moved=True) == (moved, 5.0, 5.0)
    assert await get(shared) == PAGE, "pages are judged by the record, and left"


async def test_another_pages_value_under_the_key_is_a_miss(shared: Shared) -> None:
    await put(shared)
    assert await get(shared, msgspec.structs.replace(QUESTION, key="another full key")) is None
    assert faults(shared).total() == 1


@pytest.mark.parametrize("members", [[], ["a"], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]])
async def test_what_another_release_wrote_is_a_miss_and_no_fault_of_redis(
    shared: Shared, fake: fakeredis.FakeAsyncRedis, members: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever comes after the format: it is another's to say. An operator would look for what Redis lacks."""
    caplog.set_level(logging.INFO)
    await put(shared)
    await fake.set(QUESTION.page_key, stored.write_mark(PAGE) + msgspec.msgpack.encode([stored.FORMAT + 1, *members]))
    for _ in range(3):
        assert await get(shared) is None
    assert not faults(shared)
    assert caplog.messages == ["what another release wrote in Redis is asked for again: page"], "once"
    await put(shared)
    assert await get(shared) == PAGE


async def test_a_wrong_type_under_the_keys_is_a_miss_and_written_over(
    shared: Shared, fake: fakeredis.FakeAsyncRedis
) -> None:
    await fake.rpush(QUESTION.page_key, "x")
    await fake.rpush(record_key(QUESTION.listing), "x")
    assert await shared.look_up(QUESTION) == Found(head=b"")
    await put(shared)
    assert await get(shared) == PAGE


@pytest.mark.parametrize("garbage", [b"", b"1 2 3", b"x y z 1 2 n", b"\xff\xfe", b"9" * 400 + b" 2 3 4 5 n"])
async def test_garbage_for_a_record_is_a_miss_and_written_over(
    shared: Shared, fake: fakeredis.FakeAsyncRedis, garbage: bytes
) -> None:
    await put(shared)
    await fake.set(record_key(QUESTION.listing), garbage)
    assert await shared.look_up(QUESTION) == Found(head=b"")
    assert [name.partition(":")[0] for name in faults(shared)] == ["record"]
    await put(shared)
    assert await get(shared) == PAGE


@given(st.binary(max_size=300))
async def test_any_bytes_under_the_key_are_a_miss(garbage: bytes) -> None:
    fake = fakeredis.FakeAsyncRedis()
    shared = Shared(RedisLink(fake, 1.0))
    await put(shared)
    await fake.set(QUESTION.page_key, garbage)
    assert await get(shared) is None


@given(st.data())
async def test_a_damaged_value_is_a_miss_or_the_page(data: st.DataObject) -> None:
    """A flipped bit in the body is found by zstd's checksum; elsewhere it may change what it is about."""
    fake = fakeredis.FakeAsyncRedis()
    shared = Shared(RedisLink(fake, 1.0))
    await put(shared)
    value = bytearray(await fake.get(QUESTION.page_key) or b"")  # type: ignore[arg-type]
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    await fake.set(QUESTION.page_key, bytes(value))
    found = await get(shared)
    assert found is None or (found.key, found.body) == (PAGE.key, PAGE.body)


async def test_a_bomb_is_a_miss(shared: Shared, fake: fakeredis.FakeAsyncRedis) -> None:
    await put(shared)
    import zstandard  # noqa: PLC0415

    frame = bytearray(zstandard.ZstdCompressor().compress(b"x" * 300))
    stream = zstandard.ZstdCompressor().compressobj()
    unsized = stream.compress(b"x" * 300) + stream.flush()
    nothing = zstandard.ZstdCompressor(write_checksum=True).compress(b"")
    whole = zstandard.ZstdCompressor().compress(PAGE.body)

    async def found(body: bytes) -> Page | None:
        value = [stored.FORMAT, PAGE.key, body, '"e"', 1.5, [3, None], True, None, False, 200]
        await fake.set(QUESTION.page_key, stored.write_mark(PAGE) + msgspec.msgpack.encode(value))
        return await get(shared)

    for number, body in enumerate((bytes(frame[:-1]), unsized, b"", nothing), 1):
        assert await found(body) is None
        assert faults(shared).total() == number
    page = await found(whole)
    assert page is not None, "but for the body, the value is a page"
    assert page.body == PAGE.body


async def test_a_body_that_is_known_is_not_read_again() -> None:
    raw = await write_page(PAGE)
    same = replace(PAGE, asked_at=1.0, variants={"gzip": b"z"})
    again = await read_page(raw, PAGE.key, same)
    assert again.body is same.body
    assert again.asked_at == PAGE.asked_at
    assert again.variants == same.variants
    assert again.variants is not same.variants, "each page fills its own"
    other = replace(PAGE, body=b"{}", etag='"f"')
    assert (await read_page(raw, PAGE.key, other)).body == PAGE.body


class Broken:
    """A client whose every command fails as told."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.calls = 0

    async def execute_command(self, *_: object) -> list[object]:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return [None, None, b"", []]


@pytest.mark.parametrize(
    ("record_ahead", "page_ahead", "kept", "faults_of"),
    [
        (MAX_AHEAD, MAX_AHEAD, (True, True), ""),
        (MAX_AHEAD + 1, MAX_AHEAD + 1, (False, False), "record"),
        (MAX_AHEAD + 1, 0.0, (False, False), "record"),
        (0.0, MAX_AHEAD + 1, (True, False), "page"),
    ],
    ids=["as far ahead as may be", "both are of the future", "the record is", "the page is"],
)
async def test_what_is_of_a_time_that_nobody_can_have_is_garbage(
    fake: fakeredis.FakeAsyncRedis, record_ahead: float, page_ahead: float, kept: tuple[bool, bool], faults_of: str
) -> None:
    """It would be believed, and all newer answers would be behind it, for as long as anybody asks."""
    shared = Shared(RedisLink(fake, UNHURRIED), clock=lambda: 1000.0)
    record = Record(PAGE.stamp, 0.0, 1000.0 + record_ahead, 1000.0 + record_ahead)
    await fake.set(record_key(QUESTION.listing), write_record(record))
    await fake.set(QUESTION.page_key, await write_page(replace(PAGE, asked_at=1000.0 + page_ahead)))
    await fake.set(rows_keys(QUESTION.listing)[0], "1.a head")
    for _ in range(2):
        found = await shared.look_up(QUESTION)
        assert found is not None
        assert (found.record is not None, found.page is not None) == kept
    left = record_key(QUESTION.listing), QUESTION.page_key, rows_keys(QUESTION.listing)[0]
    assert [bool(await fake.exists(key)) for key in left] == [*kept, kept[0]], "the next answer is the first one"
    assert faults(shared) == ({f"{faults_of}: ValueError": 1} if faults_of else {})


async def test_what_there_is_something_of_is_found_out_with_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = fakeredis.FakeAsyncRedis()
    shared = Shared(RedisLink(redis, UNHURRIED))
    paged, rows, none = (page_question("c", ListQuery(model=name)) for name in ("page", "rows", "none"))
    await redis.set(paged.page_key, "something")
    await redis.set(rows_keys(rows.listing)[0], "something")
    called = AsyncMock(wraps=shared._link.run)
    monkeypatch.setattr(shared._link, "run", called)
    assert await shared.kept([none, rows, paged]) == [rows.key, paged.key]
    assert called.await_count == 1
    monkeypatch.setattr(RedisLink, "whole", False)
    assert await shared.kept([paged]) == [], "in a cluster, a script may see one listing's only"
    away = Shared(RedisLink(Broken(ConnectionRefusedError()), 0.05))  # type: ignore[arg-type]
    assert await away.kept([paged]) == []


async def test_after_a_fault_redis_is_left_alone_for_longer_and_longer() -> None:
    clock, client = Clock(1000.0), Broken(ConnectionRefusedError())
    shared = Shared(RedisLink(client, 0.05, clock=clock))  # type: ignore[arg-type]
    rest = FIRST_BACKOFF
    for tries in range(1, 8):
        for _ in range(5):
            assert await get(shared) is None
        assert client.calls == tries, "one call tries, the others rest"
        assert state(shared) == "down"
        clock.advance(rest * 0.99)
        await get(shared)
        assert client.calls == tries
        clock.advance(rest * 0.02)
        rest = min(2 * rest, MAX_BACKOFF)
    client.failure = None
    for _ in range(5):
        await get(shared)
    assert client.calls == 12
    assert state(shared) == "up"
    assert faults(shared) == {"page_look: ConnectionRefusedError": 7}


# With a real server.


@pytest.fixture
async def real(own_redis: RedisServer) -> AsyncIterator[Shared]:
    link = RedisLink(connect(Secret(own_redis.url)), UNHURRIED)
    yield Shared(link)
    await link.aclose()


async def test_a_new_connection_is_good_for_a_call_after_one_round_trip(own_redis: RedisServer) -> None:
    async def counted(calls: int) -> tuple[dict[str, Any], int]:
        """What a server is sent, and how much of that it refuses; by the test's own client, too."""
        own_redis.command("CONFIG", "RESETSTAT")
        for _ in range(calls):
            client = connect(Secret(own_redis.url))
            await client.echo("x")
            await client.aclose()
        sent, refused = own_redis.command("INFO", "commandstats"), own_redis.command("INFO", "stats")
        return sent, refused["total_error_replies"]

    (own, own_refused), (sent, refused) = await counted(0), await counted(5)
    assert sent.keys() - own.keys() == {"cmdstat_hello", "cmdstat_echo"}
    assert refused == own_refused


async def test_a_real_redis_keeps_pages_and_says_what_it_is(real: Shared, own_redis: RedisServer) -> None:
    await put(real)
    assert await get(real) == PAGE
    version, policy, limit = await describe(Secret(own_redis.url))
    assert version[0].isdigit()
    assert (policy, limit) == ("noeviction", "")


async def test_a_redis_that_is_full_tells_the_others_of_an_answer_all_the_same(
    real: Shared, own_redis: RedisServer
) -> None:
    """They would go on with what they know."""
    await put(real)
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    pubsub = real._link.client.pubsub()
    await pubsub.subscribe(NOBODYS.news)
    newer = replace(PAGE, asked_at=3.0, stamp=Stamp(4, "0.10"))
    assert await real.store(QUESTION, newer, received_at=4.0, keep_page=60, keep_record=60, token="t") is None
    assert faults(real)["page_store: OutOfMemoryError"] == 1
    async with asyncio.timeout(5):
        while (message := await pubsub.get_message(timeout=1)) is None or message["type"] != "message":
            pass
    topic, _, rest = message["data"].partition(b" ")
    assert topic == b"learned"
    record = rest.partition(b"\n")[0].partition(b" ")[2]
    assert read_record(record).stamp == newer.stamp
    await pubsub.aclose()  # type: ignore[no-untyped-call]


async def test_a_redis_that_was_killed_is_used_again_once_it_is_back(real: Shared, own_redis: RedisServer) -> None:
    await put(real)
    own_redis.kill()
    for _ in range(20):
        assert await get(real) is None
    assert faults(real).total() < 10, "after a few faults it is left alone"
    own_redis.start()
    async with asyncio.timeout(10):
        while await get(real) is None:
            await put(real)
            await asyncio.sleep(0.02)


async def test_a_redis_that_hangs_is_left_alone_after_a_few_faults(real: Shared, own_redis: RedisServer) -> None:
    """A frozen server costs its timeout a few times, then nothing."""
    await put(real)
    real._link._call_wait._timeout = RedisSettings().timeout
    own_redis.signal(signal.SIGSTOP)
    try:
        for _ in range(50):
            assert await get(real) is None
        assert faults(real).total() < 10, "after a few faults it is left alone"
    finally:
        own_redis.signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while await get(real) is None:
            await asyncio.sleep(0.02)


async def test_a_redis_that_takes_no_writes_is_read_all_the_same(real: Shared, own_redis: RedisServer) -> None:
    await put(real)
    admin = connect(Secret(own_redis.url))
    await admin.config_set("maxmemory", "1")
    await put(real)
    assert await get(real) == PAGE
    assert faults(real).total() == 1
    await admin.config_set("maxmemory", "0")
    await admin.replicaof("127.0.0.1", str(free_port()))
    await put(real)
    assert faults(real).total() == 2
    assert state(real) == "refusing"
    assert not real.backing_off, "it is read all the same"
    await admin.aclose()


async def test_describe_says_what_failed_and_not_the_password() -> None:
    with pytest.raises(ConnectionError) as caught:
        await describe(Secret(f"redis://:s3cr3t@127.0.0.1:{free_port()}"))
    assert "s3cr3t" not in str(caught.value)


WRONG: list[Any] = [
    7,
    b"",
    b"OK",
    [],
    [b"x"],
    [b"x", b"y"],
    [[], 1, None],
    [None, None, b"", [], 0, None, b"more"],
    [b"moved", None, b"", [], b"more"],
    [b"x", b"y", b"z", b"w", b"v"],
    {b"a": 1},
    [None] * 9,
    "x",
]


@pytest.mark.parametrize("reply", WRONG)
async def test_the_reply_to_something_else_is_nobodys_error(
    shared: Shared, fake: fakeredis.FakeAsyncRedis, monkeypatch: pytest.MonkeyPatch, reply: Any
) -> None:
    """redis-py once gave one caller another's reply: to callers, that is a Redis that cannot be asked."""

    async def wrong(*_: Any, **__: Any) -> Any:
        return reply

    link = shared._link
    gate, log, status = SharedGate(link), SharedLog(link, "c"), SharedStatus(link)
    monkeypatch.setattr(Script, "__call__", wrong)
    for name in ("hgetall", "xrange", "get"):
        monkeypatch.setattr(fake, name, wrong)
    allowance = Allowance(10.0, 4, 3)
    turn = gate.wanted("g", "t", allowance, patience=0.0)
    assert await shared.look_up(QUESTION, claim=Claim(QUESTION, "t", (0.0, 0.0), turn)) is None
    assert await shared.take_lease(QUESTION, "t") is None
    assert await shared.store(QUESTION, PAGE, received_at=2.0, keep_page=60.0, keep_record=60.0) is None
    assert await gate.admit("g", "t", allowance, patience=0.0, paid=None, reported=AskerState()) is None
    assert await gate.release("g", "t", 0, Report("answered"), 0.0, allowance) is None
    assert await gate.standing("g", allowance) is None
    calls = ("page_look", "lease_take", "page_store", "gate_admit", "gate_release")
    assert all(faults(shared)[f"{name}: wrong reply"] for name in calls)
    assert not await SharedWatermarks(link, "purged").times()
    assert await SharedVariants(link, CacheSettings(), clock=lambda: 0.0).get(QUESTION, PAGE) is None
    assert not await status.read(0.0)
    assert not await log.since("0-0")
    await log.hold()
    await log.append(b"x", None)
    limiter = Limiter(link, replicas=lambda: 1)
    await limiter.charge("caller", Terms(10.0, 5), 1.0)
    assert link.state == "up", "it answers"
