"""The way to Redis: a client that fails fast, and a guard that makes its faults nobody's errors.

Every call returns within ``redis.timeout`` and never raises. After three connection faults in a row Redis is
left alone for a second, then one call tries whether it is back, so that a hung Redis does not cost every
caller its timeout.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias, TypeVar

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from proxy.secret import Secret
from proxy.settings import RedisSettings

T = TypeVar("T")
Client: TypeAlias = Redis
"""What a Redis client is to the rest of the proxy."""

FAULTS_BEFORE_REST: Final = 3
REST: Final = 1.0
"""Seconds for which Redis is left alone after several faults in a row."""

_log: Final = logging.getLogger("proxy.redis")


def connect(settings: RedisSettings, url: Secret) -> Client:
    """Make a client that fails fast; nothing is sent before the first command."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=settings.connections,
        timeout=settings.timeout,  # a burst that waits for a connection is no fault of Redis; call() bounds both
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    return Redis.from_pool(pool)


def subscriber(client: Client) -> Client:
    """A client of its own for a subscription: it may be silent for long, and must not take others' connections."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "socket_timeout": None}
    return Redis.from_pool(ConnectionPool(connection_class=pool.connection_class, **options))


class RedisLink:
    """Calls Redis, and knows how it fares.

    Attributes:
        faults: how often each kind of fault happened, counted where it happens.
    """

    def __init__(self, client: Client, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.faults: Counter[str] = Counter()
        self._timeout = timeout
        self._clock = clock
        self._faults_in_a_row = 0
        self._rest_until = 0.0
        self._asked = False

    @property
    def state(self) -> Literal["unknown", "up", "down"]:
        """What the last calls say; ``unknown`` before the first."""
        if self._faults_in_a_row:
            return "down"
        return "up" if self._asked else "unknown"

    async def call(self, command: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what ``call`` returns, or None if Redis cannot be had or says no."""
        if self._faults_in_a_row >= FAULTS_BEFORE_REST:
            if self._clock() < self._rest_until:
                return None
            self._rest_until = self._clock() + REST  # the others go on resting while this call tries
        self._asked = True
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except ResponseError as error:  # Redis is there and says no: out of memory, wrong type, read-only
            self.count(command, error)
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self.count(command, error)
            self._faults_in_a_row += 1
            self._rest_until = self._clock() + REST
            return None
        if self._faults_in_a_row:
            _log.info("Redis is back after %d faults in a row", self._faults_in_a_row)
        self._faults_in_a_row = 0
        return result

    def count(self, command: str, error: BaseException) -> None:
        """Count a fault; the first of a row is worth a line in the log, its followers are not."""
        kind = f"{command}: {type(error).__name__}"
        self.faults[kind] += 1
        if self._faults_in_a_row == 0:
            _log.warning("Redis fault, going on without it: %s", kind)

    async def aclose(self) -> None:
        """Close the connections."""
        try:
            async with asyncio.timeout(self._timeout):
                await self.client.aclose()
        except (RedisError, OSError, TimeoutError) as error:
            self.count("close", error)


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
