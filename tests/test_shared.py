"""Pages in Redis: what goes in comes out, and no fault of Redis is anybody's error."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import fakeredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import shared as shared_module
from proxy.page import Page, Stamp
from proxy.secret import Secret
from proxy.settings import RedisSettings
from proxy.shared import FAULTS_BEFORE_REST, OFF_LOOP, REST, Shared, connect, describe
from tests.support import Clock, RedisServer, free_port

PAGE = Page("full key", b'{"a": 1}', '"e"', 1.5, Stamp(3, "0.10"), settled=True, dead_at=99.0)


@pytest.fixture
def fake() -> fakeredis.FakeAsyncRedis:
    return fakeredis.FakeAsyncRedis()


@pytest.fixture
def shared(fake: fakeredis.FakeAsyncRedis) -> Shared:
    return Shared(fake, RedisSettings(timeout=1.0))


def state(shared: Shared) -> str:
    return shared.state


async def test_what_goes_in_comes_out(shared: Shared, fake: fakeredis.FakeAsyncRedis) -> None:
    assert state(shared) == "unknown"
    assert await shared.get("r", PAGE.key) is None
    await shared.put("r", PAGE, 60.0)
    assert await shared.get("r", PAGE.key) == PAGE
    assert 59_000 < await fake.pttl("r") <= 60_000
    assert state(shared) == "up"
    assert not shared.faults


async def test_large_bodies(shared: Shared) -> None:
    large = msgspec.structs.replace(PAGE, body=bytes(range(256)) * (OFF_LOOP // 128))
    await shared.put("r", large, 60.0)
    assert await shared.get("r", PAGE.key) == large


@pytest.mark.parametrize("keep_for", [0.0, -1.0, 0.0004])
async def test_nothing_is_kept_for_no_time(shared: Shared, fake: fakeredis.FakeAsyncRedis, keep_for: float) -> None:
    await shared.put("r", PAGE, keep_for)
    assert await fake.exists("r") == 0


async def test_another_pages_value_under_the_key(shared: Shared) -> None:
    await shared.put("r", PAGE, 60.0)
    assert await shared.get("r", "another full key") is None
    assert shared.faults.total() == 1


async def test_an_old_format(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    await shared.put("r", PAGE, 60.0)
    monkeypatch.setattr(shared_module, "FORMAT", 2)
    assert await shared.get("r", PAGE.key) is None
    assert shared.faults.total() == 1


async def test_a_wrong_type_under_the_key(shared: Shared, fake: fakeredis.FakeAsyncRedis) -> None:
    await fake.rpush("r", "x")
    assert await shared.get("r", PAGE.key) is None
    assert shared.faults.total() == 1
    assert shared.state != "down", "Redis answered: it is there"


@given(st.binary(max_size=300))
async def test_any_bytes_under_the_key_are_a_miss(garbage: bytes) -> None:
    fake = fakeredis.FakeAsyncRedis()
    await fake.set("r", garbage)
    assert await Shared(fake, RedisSettings(timeout=1.0)).get("r", "k") is None


@given(st.data())
async def test_a_damaged_value_is_a_miss_or_the_page(data: st.DataObject) -> None:
    """A flipped bit in the body is found by zstd's checksum; elsewhere it may change what it is about."""
    fake = fakeredis.FakeAsyncRedis()
    shared = Shared(fake, RedisSettings(timeout=1.0))
    await shared.put("r", PAGE, 60.0)
    value = bytearray(await fake.get("r") or b"")  # type: ignore[arg-type]
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    await fake.set("r", bytes(value))
    found = await shared.get("r", PAGE.key)
    assert found is None or (found.key, found.body) == (PAGE.key, PAGE.body)


async def test_a_bomb_is_a_miss(shared: Shared, fake: fakeredis.FakeAsyncRedis) -> None:
    import zstandard  # noqa: PLC0415

    frame = bytearray(zstandard.ZstdCompressor().compress(b"x" * 300))
    stream = zstandard.ZstdCompressor().compressobj()
    unsized = stream.compress(b"x" * 300) + stream.flush()
    for body in (bytes(frame[:-1]), unsized, b""):
        value = [1, PAGE.key, body, '"e"', 1.5, [3, None], True, None]
        await fake.set("r", msgspec.msgpack.encode(value))
        assert await shared.get("r", PAGE.key) is None


class Broken:
    """A client whose every command fails as told."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.calls = 0

    async def get(self, _: str) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure

    async def set(self, *_: Any, **__: Any) -> None:
        await self.get("")


async def test_after_faults_in_a_row_redis_is_left_alone_then_tried() -> None:
    clock, client = Clock(1000.0), Broken(ConnectionRefusedError())
    shared = Shared(client, RedisSettings(), clock=clock)  # type: ignore[arg-type]
    for _ in range(10):
        assert await shared.get("r", "k") is None
    assert client.calls == FAULTS_BEFORE_REST
    assert state(shared) == "down"
    clock.advance(REST)
    for _ in range(5):
        await shared.get("r", "k")
    assert client.calls == FAULTS_BEFORE_REST + 1, "one call tries, the others go on resting"
    clock.advance(REST)
    client.failure = None
    for _ in range(5):
        await shared.get("r", "k")
    assert client.calls == FAULTS_BEFORE_REST + 6
    assert state(shared) == "up"
    assert shared.faults == {"get: ConnectionRefusedError": FAULTS_BEFORE_REST + 1}


# With a real server.


@pytest.fixture
async def real(own_redis: RedisServer) -> AsyncIterator[Shared]:
    settings = RedisSettings()
    shared = Shared(connect(settings, Secret(own_redis.url)), settings)
    yield shared
    await shared.aclose()


async def test_real_redis(real: Shared, own_redis: RedisServer) -> None:
    await real.put("r", PAGE, 60.0)
    assert await real.get("r", PAGE.key) == PAGE
    version, policy, limit = await describe(RedisSettings(), Secret(own_redis.url))
    assert version[0].isdigit()
    assert (policy, limit) == ("noeviction", "")


async def test_killed_and_started_again(real: Shared, own_redis: RedisServer) -> None:
    await real.put("r", PAGE, 60.0)
    own_redis.kill()
    began = time.perf_counter()
    for _ in range(20):
        assert await real.get("r", PAGE.key) is None
    assert time.perf_counter() - began < 1.0
    own_redis.start()
    async with asyncio.timeout(10):
        while await real.get("r", PAGE.key) is None:
            await real.put("r", PAGE, 60.0)
            await asyncio.sleep(0.02)


async def test_hung(real: Shared, own_redis: RedisServer) -> None:
    """A frozen server costs its timeout a few times, then nothing."""
    await real.put("r", PAGE, 60.0)
    own_redis.signal(signal.SIGSTOP)
    try:
        began = time.perf_counter()
        for _ in range(50):
            assert await real.get("r", PAGE.key) is None
        assert time.perf_counter() - began < 1.0, "50 timeouts would be 2.5 s"
    finally:
        own_redis.signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while await real.get("r", PAGE.key) is None:
            await asyncio.sleep(0.02)


async def test_out_of_memory_and_read_only(real: Shared, own_redis: RedisServer) -> None:
    await real.put("r", PAGE, 60.0)
    admin = connect(RedisSettings(timeout=2.0), Secret(own_redis.url))
    await admin.config_set("maxmemory", "1")
    await real.put("s", PAGE, 60.0)
    assert await real.get("r", PAGE.key) == PAGE
    assert real.faults == {"set: OutOfMemoryError": 1}
    await admin.config_set("maxmemory", "0")
    await admin.replicaof("127.0.0.1", str(free_port()))
    await real.put("s", PAGE, 60.0)
    assert real.faults["set: ReadOnlyError"] == 1
    assert real.state == "up"
    await admin.aclose()


async def test_describe_says_what_failed_and_not_the_password() -> None:
    with pytest.raises(ConnectionError) as caught:
        await describe(RedisSettings(), Secret(f"redis://:s3cr3t@127.0.0.1:{free_port()}"))
    assert "s3cr3t" not in str(caught.value)
