"""The way to Redis, and a guard that makes its faults nobody's errors.

A call costs a caller at most ``redis.timeout``, all calls of a question hardly more (``allotment``), and none ever
raises. A fault has Redis left alone for a while, longer after each further one, then one call tries whether it is back;
so a hung Redis costs a request its timeout once, not at each step, and a slow one is not asked at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from proxy.log_throttle import LogThrottle
from proxy.redis.call_wait import CallWait
from proxy.redis.client import SOCKET_TIMEOUT, Client, close
from proxy.redis.concurrency import ConcurrencyLimit
from proxy.redis.formats import OtherRelease
from proxy.redis.reasons import kind, reason
from proxy.redis.refusals import Refusals
from proxy.redis.scripts import Script
from proxy.redis_keys import NOBODYS, Names
from proxy.tasks.detached import Detached

T = TypeVar("T")
State: TypeAlias = Literal["unknown", "up", "refusing", "down"]
"""What the last calls say; ``unknown`` before the first, ``refusing``: Redis is there, and says no to some of them."""

FIRST_BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 1.0
"""Seconds for which Redis is left alone after a fault: at first, and after several in a row."""
RETRY_INTERVAL: Final = 0.1
"""Seconds after which a Redis that could not be asked is asked once more, where nobody waits for that."""

_log: Final = logging.getLogger("proxy.redis")


class RedisLink:
    """Calls Redis, and knows how it fares.

    Args:
        timeout: seconds that a call may cost.
        connections: how many calls are waited for at once, at the most; more wait for their turn, which is no fault of
            Redis. One that has timed out ends by itself, beside these.

    Attributes:
        names: of what the deployment has in Redis.
        faults: how often each kind of fault happened, counted where it happens.
    """

    def __init__(
        self,
        client: Client,
        timeout: float,
        connections: int = 64,
        *,
        names: Names = NOBODYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.names = names
        self.faults: Counter[str] = Counter()
        self._call_wait = CallWait(timeout, clock)
        self._concurrency = ConcurrencyLimit(connections)
        self._clock = clock
        self._throttle = LogThrottle(clock)
        self._refusals = Refusals(self._throttle, clock)
        self._calls = Detached(awaited=True)
        self._faults_in_a_row = 0
        self._backoff_until = 0.0
        self._asked = self._met_another = self._closed = False

    @property
    def state(self) -> State:
        """What the last calls say."""
        if self._faults_in_a_row:
            return "down"
        if self._refusals:
            return "refusing"
        return "up" if self._asked else "unknown"

    @property
    def backing_off(self) -> bool:
        """Whether Redis is left alone just now, after a fault: no call is made."""
        return self._faults_in_a_row > 0 and self._clock() < self._backoff_until

    @property
    def whole(self) -> bool:
        """Whether a script may see all keys: in a cluster, only those of one slot."""
        return isinstance(self.client, Redis)

    async def run(
        self,
        script: Script,
        command: str,
        keys: list[str],
        arguments: list[Any],
        read: Callable[[Any], T] = lambda raw: raw,
    ) -> T | None:
        """Return what a script returns, as ``read``, or None if Redis cannot be had or says no."""
        return self.read(command, await self.call(command, lambda: script(self.client, keys, arguments)), read)

    def read(self, command: str, raw: Any | None, read: Callable[[Any], T]) -> T | None:
        """Read a reply; one that is of another shape, as it is another's, is a fault of Redis, and nobody's error."""
        try:
            return None if raw is None else read(raw)
        except (TypeError, ValueError, LookupError, AttributeError):
            self.count(command, "wrong reply")
            self._drop_idle()  # the next reply on its connection would be another's too
            return None

    def _drop_idle(self) -> None:
        if isinstance(self.client, Redis):
            self._calls.spawn(self.client.connection_pool.disconnect(inuse_connections=False))

    async def call(self, command: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what ``call`` returns, or None if Redis cannot be had or says no."""
        async with self._concurrency:
            if self.backing_off or self._closed:
                return None
            self._backoff_until = self._clock() + self._backoff  # the others keep off while this call tries
            self._asked = True
            # A call is never cancelled: it may be in the middle of a TLS handshake or of a cluster's topology, and
            # would never come to its end. What takes too long goes on by itself, at most until SOCKET_TIMEOUT.
            task = self._calls.spawn(_started(call))
            if not await self._call_wait.ended(task):
                self._fault(command, "TimeoutError")
                return None
            if self._call_wait.slow:
                self._fault(command, "slow")
                return None if task.exception() else task.result()
            return self._result(command, task)

    def _result(self, command: str, task: asyncio.Task[T]) -> T | None:
        match task.exception():
            case None:
                self._is_there()
                self.taken(command)
                return task.result()
            case ResponseError() as error:  # not left alone: one that is full or read-only can still be read
                self._is_there()
                self.refused(command, error)
                if isinstance(error, ReadOnlyError):  # of a primary that is none any more: its name may lead to another
                    self._drop_idle()
            case RedisError() | OSError() as error:
                self._fault(command, type(error).__name__, kind(error))
            case Exception() as error:  # of redis-py, say on a connection that closes: to be seen, but nobody's error
                _log.error("a fault of the proxy or of redis-py: %s", command, exc_info=error)
                self._fault(command, type(error).__name__)
            case error:
                raise error
        return None

    @property
    def _backoff(self) -> float:
        return float(min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(self._faults_in_a_row, 10)))

    def _is_there(self) -> None:
        if self._faults_in_a_row:
            _log.info("Redis is back after %d faults in a row", self._faults_in_a_row)
        self._faults_in_a_row = 0
        self._concurrency.widen()

    def _fault(self, command: str, what: str, why: str = "") -> None:
        """Leave Redis alone after a fault; the first of a row is worth a line in the log, its followers are not."""
        self.faults[f"{command}: {what}"] += 1
        if self._faults_in_a_row == 0:
            _log.warning("Redis fault, going on without it: %s: %s", command, why or what)
        self._backoff_until = self._clock() + self._backoff
        self._faults_in_a_row += 1
        self._concurrency.narrow()

    def count(self, command: str, what: str) -> None:
        """Count a fault that is no reason to leave Redis alone."""
        self.faults[f"{command}: {what}"] += 1
        line = f"{command}: {what}"
        if self._faults_in_a_row == 0 and self._throttle.due(line):
            _log.warning("Redis fault, going on without it: %s", line)

    def refused(self, command: str, error: ResponseError) -> None:
        """Count a call that Redis says no to."""
        self.faults[f"{command}: {type(error).__name__}"] += 1
        self._refusals.refused(command, reason(error) or type(error).__name__)

    def taken(self, command: str) -> None:
        """A call came to what it was made for."""
        self._refusals.taken(command)

    def garbage(self, what: str, error: Exception) -> None:
        """Count a value that cannot be read; one of another release, beside which this one runs, is no fault."""
        if not isinstance(error, OtherRelease):
            self.count(what, type(error.__cause__ or error).__name__)
        elif not self._met_another:
            self._met_another = True
            _log.info("what another release wrote in Redis is asked for again: %s", what)

    async def aclose(self) -> None:
        """Close the connections; calls that are still under way are given the time to end that they have anyway.

        None is made from here on: its connection would be left open.
        """
        self._closed = True
        await self._calls.drain(SOCKET_TIMEOUT)
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT):
                await close(self.client)
        except (RedisError, OSError) as error:  # a TimeoutError is one, too
            self.count("close", type(error).__name__)


async def _started(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
