"""Pages in Redis, shared by all replicas; whose faults are nobody's errors.

Every call returns within ``redis.timeout`` and never raises: what cannot be had is a miss, what cannot be
kept is not kept. After three connection faults in a row Redis is left alone for a second, then one call
tries whether it is back, so that a hung Redis does not cost every caller its timeout.

A value carries its full key and a format version and is checked on reading (redis-py once gave one caller
another's data); what fails the check is a counted fault and a miss.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias, TypeVar, cast

import msgspec
import zstandard
from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from proxy.page import Page, Stamp
from proxy.secret import Secret
from proxy.settings import RedisSettings

T = TypeVar("T")
Client: TypeAlias = Redis
"""What a Redis client is to the rest of the proxy."""

FORMAT: Final = 1
FAULTS_BEFORE_REST: Final = 3
REST: Final = 1.0
"""Seconds for which Redis is left alone after several faults in a row."""
OFF_LOOP: Final = 128 * 1024
"""Bytes from which (de)compression is worth a thread: below it takes less than about 0.5 ms."""
_MAX_BODY: Final = 2**30

_log: Final = logging.getLogger("proxy.shared")


class _Value(Struct, frozen=True, array_like=True):
    format: int
    key: str
    body: bytes
    etag: str
    asked_at: float
    stamp: Stamp
    settled: bool
    dead_at: float | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


def connect(settings: RedisSettings, url: Secret) -> Redis:
    """Make a client that fails fast; nothing is sent before the first command."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=settings.connections,
        timeout=settings.timeout / 2,
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    return Redis.from_pool(pool)


class Shared:
    """Reads and writes pages in Redis.

    Attributes:
        faults: how often each kind of fault happened, counted where it happens.
    """

    def __init__(self, client: Redis, settings: RedisSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._timeout = settings.timeout
        self._clock = clock
        self._faults_in_a_row = 0
        self._rest_until = 0.0
        self.faults: Counter[str] = Counter()

    @property
    def state(self) -> Literal["unknown", "up", "down"]:
        """What the last calls say; ``unknown`` before the first."""
        if self._faults_in_a_row:
            return "down"
        return "unknown" if self._rest_until == 0.0 else "up"

    async def get(self, redis_key: str, key: str) -> Page | None:
        """Return the page kept under ``redis_key`` if it is the one for the full ``key``."""
        raw = await self._call("get", lambda: cast("Awaitable[bytes | None]", self._client.get(redis_key)))
        if raw is None:
            return None
        try:
            value = _checked(_decode(raw), key)
            body = await _off_loop_if_large(_decompress, value.body, zstandard.frame_content_size(value.body))
        except (msgspec.MsgspecError, zstandard.ZstdError, ValueError, MemoryError) as error:
            self._count("value", error)
            return None
        return Page(key, body, value.etag, value.asked_at, value.stamp, value.settled, value.dead_at)

    async def put(self, redis_key: str, page: Page, keep_for: float) -> None:
        """Keep the page for ``keep_for`` seconds (PX); nothing if that is no time at all."""
        milliseconds = int(keep_for * 1000)
        if milliseconds <= 0:
            return
        body = await _off_loop_if_large(_compress, page.body, len(page.body))
        value = _encode(
            _Value(FORMAT, page.key, body, page.etag, page.asked_at, page.stamp, page.settled, page.dead_at)
        )
        await self._call("set", lambda: cast("Awaitable[object]", self._client.set(redis_key, value, px=milliseconds)))

    async def aclose(self) -> None:
        """Close the connections."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()
        except (RedisError, OSError, TimeoutError) as error:
            self._count("close", error)

    async def _call(self, command: str, call: Callable[[], Awaitable[T]]) -> T | None:
        if self._clock() < self._rest_until and self._faults_in_a_row >= FAULTS_BEFORE_REST:
            return None
        if self._faults_in_a_row >= FAULTS_BEFORE_REST:
            self._rest_until = self._clock() + REST  # the others go on resting while this call tries
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except ResponseError as error:  # Redis is there and says no: out of memory, wrong type, read-only
            self._count(command, error)
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._count(command, error)
            self._faults_in_a_row += 1
            self._rest_until = self._clock() + REST
            return None
        if self._faults_in_a_row:
            _log.info("Redis is back after %d faults in a row", self._faults_in_a_row)
        self._faults_in_a_row = 0
        self._rest_until = self._clock()
        return result

    def _count(self, command: str, error: BaseException) -> None:
        kind = f"{command}: {type(error).__name__}"
        self.faults[kind] += 1
        if self._faults_in_a_row == 0:  # the first of a row is worth a line, its followers are not
            _log.warning("Redis fault, going on without it: %s", kind)


def _checked(value: _Value, key: str) -> _Value:
    if value.format != FORMAT or value.key != key:
        raise ValueError("another format, or another page's value")
    return value


def _compress(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(body)


def _decompress(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(body)


async def _off_loop_if_large(work: Callable[[bytes], bytes], body: bytes, size: int) -> bytes:
    if size < 0 or size > _MAX_BODY:
        raise ValueError("no size, or one beyond any page's, in the frame")
    return await asyncio.to_thread(work, body) if size > OFF_LOOP else work(body)


async def describe(settings: RedisSettings, url: Secret) -> tuple[str, str, str]:
    """Ask a Redis for its version, eviction policy and memory limit.

    Raises:
        ConnectionError: saying what failed, without the URL, which may hold a password.
    """
    client = connect(settings, url)
    try:
        async with asyncio.timeout(max(2.0, settings.timeout)):
            server = await client.info("server")
            memory = await client.info("memory")
    except TimeoutError:
        raise ConnectionError("no answer within 2 s") from None
    except (RedisError, OSError) as error:
        reason = f": {error}" if isinstance(error, ResponseError) else ""
        raise ConnectionError(f"{type(error).__name__}{reason}") from None
    finally:
        await client.aclose()
    return (
        str(server["redis_version"]),
        str(memory.get("maxmemory_policy", "unknown")),
        str(memory.get("maxmemory_human", "unknown")) if memory.get("maxmemory") else "",
    )
