"""News from the other replicas, over Redis pub/sub: what one learns, all know within a millisecond or so.

Memory may be trusted only while news is sure to arrive. So each process also sends news to itself, through every
server that takes writes: what was published before has come before it. Memory is good for ``TRUST_SECONDS`` from
when the last of these that came back was *sent*. So a silent peer, which redis-py does not notice, ends the trust by
itself; so do a replica cut off from its primary, a broken link between a cluster's nodes, and an event loop that was
held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from proxy.redis.client import follow_primary, primaries, publish
from proxy.redis.link import RETRY_INTERVAL, RedisLink
from proxy.tasks.detached import Detached

HEARTBEAT: Final = 0.05
"""Seconds between messages to oneself."""
TRUST_SECONDS: Final = 0.25
"""Seconds for which memory is trusted after a message was sent that came back."""
SILENCE: Final = 2.0
"""Seconds without any message after which the subscription is given up and made anew."""
FOLLOW_INTERVAL: Final = 1.0
"""Seconds between questions to Sentinels who the primary is."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that closing may take."""
FIRST_WAIT: Final = 0.2
LONGEST_WAIT: Final = 1.0
"""Seconds between attempts to subscribe again: at first, and after several in vain."""
_log: Final = logging.getLogger("proxy.news")


class News:
    """A subscription that is made anew whenever it is lost.

    Attributes:
        topics: what is called with a message that begins with the topic's word, without that word; raises
            ValueError for what it cannot read.
        on_subscribed: awaited before news of a new subscription counts, again and again until it returns true: whether
            what is told by news only is known up to here.
        on_gap: called whenever news begins to flow again, and when the subscription is lost: something may
            have been missed, here or by the others.
    """

    def __init__(self, link: RedisLink, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self.topics: dict[bytes, Callable[[bytes], object]] = {}
        self.on_subscribed: Callable[[], Awaitable[bool]] = _nothing
        self.on_gap: list[Callable[[], object]] = []
        self._own = f"{link.names.news}:{secrets.token_hex(8)}"
        self._came_back: dict[str, float] = {}
        self._good_until = 0.0
        self._followed_at = 0.0
        self._beats = Detached()
        self._following = Detached()
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def flowing(self) -> bool:
        """Whether all that was published up to about now is known here."""
        return self._clock() < self._good_until

    def start(self) -> None:
        """Subscribe, in a task of its own."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """End the subscription, without waiting for a Redis that hangs."""
        self._ending = True  # asked first: redis-py now and then loses a cancellation
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=2 * HEARTBEAT)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
        await self._beats.drain(CLOSE_TIMEOUT)
        await self._following.drain(CLOSE_TIMEOUT)

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._ending:
            try:
                await self._listen()
            except (RedisError, OSError) as error:  # a TimeoutError is one, too
                if isinstance(error, ResponseError):  # said also where news never flowed: nothing else would say it
                    self._link.refused("subscribe", error)
                if self._good_until:
                    self._link.count("news", type(error).__name__)
                    _log.info("news interrupted: %s; memory is not trusted until it is back", type(error).__name__)
                    wait = FIRST_WAIT
            except Exception:  # noqa: BLE001  what nobody thought of must not end the news for good
                _log.exception("news interrupted by a fault of the proxy")
            self._good_until = 0.0
            self._came_back.clear()
            try:
                self._tell_gap()
                await self._beat()  # finds out whether Redis is back, and where: a cluster's topology is read anew
            except Exception:  # noqa: BLE001  nor this
                _log.exception("a fault of the proxy while news is interrupted")
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311  replicas are not to return together
            wait = min(2 * wait, LONGEST_WAIT)

    async def _listen(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(SILENCE):
                await self._link.client.initialize()
                pubsub = await stack.enter_async_context(self._link.client.pubsub())
                await pubsub.subscribe(self._link.names.news, self._own)
                for _ in range(2):
                    while (await pubsub.get_message(timeout=SILENCE) or {}).get("type") != "subscribe":
                        pass
                self._link.taken("subscribe")
                while not await self.on_subscribed():  # noqa: ASYNC110  nothing tells when the backoff ends
                    await asyncio.sleep(RETRY_INTERVAL)
            received_at, beat_at = self._clock(), 0.0
            while not self._ending:
                if self._clock() >= beat_at:
                    beat_at = self._clock() + HEARTBEAT
                    if not self._beats:
                        self._beats.spawn(self._beat())
                message = await pubsub.get_message(timeout=max(0.0, beat_at - self._clock()))
                if message is not None and message["type"] == "message":
                    received_at = self._clock()
                    self._take(message)
                elif message is not None and message["type"] == "subscribe":
                    raise RedisConnectionError  # redis-py has subscribed anew, by itself: something may be missed
                elif self._clock() - received_at > SILENCE:
                    raise TimeoutError

    async def _beat(self) -> None:
        """Send news to oneself through each server that takes writes."""
        sent_at = self._clock()
        for name in primaries(self._link.client):
            text = f"{sent_at} {name}"
            await self._link.call("heartbeat", partial(publish, self._link.client, name, self._own, text))
        if sent_at >= self._followed_at + FOLLOW_INTERVAL and not self._following:
            self._followed_at = sent_at
            self._following.spawn(self._follow())

    async def _follow(self) -> None:
        """Find out whether the primary is another; Sentinels that cannot be asked are no fault of Redis."""
        with contextlib.suppress(RedisError, OSError):
            await follow_primary(self._link.client)

    def _take(self, message: dict[str, Any]) -> None:
        data: bytes = message["data"]
        topic, _, rest = data.partition(b" ")
        if message["channel"] == self._own.encode():
            self._vouch(float(topic), rest.decode())
            return
        try:
            self.topics[topic](rest)
        except (ValueError, KeyError):
            _log.warning("news that cannot be read: another release's, or not ours")

    def _vouch(self, sent_at: float, name: str) -> None:
        """All that this server had published when a message was sent through it has come."""
        self._came_back[name] = max(sent_at, self._came_back.get(name, 0.0))
        flowed = self.flowing
        servers = primaries(self._link.client)
        self._good_until = min(self._came_back.get(name, 0.0) for name in servers) + TRUST_SECONDS
        if self.flowing and not flowed:
            self._tell_gap()

    def _tell_gap(self) -> None:
        for tell in self.on_gap:
            tell()


async def _nothing() -> bool:
    return True
