"""News from the other replicas: a listing's record moved forward, told by Redis within a millisecond or so.

Memory may be trusted only while news is sure to arrive. So this side pings Redis over the subscription
itself: what Redis published before it answered a ping has come before the answer, and memory is good until
``LEASE`` after the last answered ping was *sent*. A silent peer, which redis-py does not notice, so ends the
trust by itself; so does an event loop that was held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import RedisError

from proxy.listing import Record
from proxy.redis_link import Client
from proxy.shared import NEWS, PURGED, read_news

HEARTBEAT: Final = 0.05
"""Seconds between pings."""
LEASE: Final = 0.25
"""Seconds for which memory is trusted after an answered ping was sent."""
SILENCE: Final = 2.0
"""Seconds without any answer after which the subscription is given up and made anew."""
ENDING: Final = 1.0
"""Seconds that closing may take."""
FIRST_WAIT: Final = 0.2
LONGEST_WAIT: Final = 1.0
"""Seconds between attempts to subscribe again: at first, and after several in vain."""
_log: Final = logging.getLogger("proxy.news")


class News:
    """A subscription that is made anew whenever it is lost.

    Args:
        client: of its own, without a socket timeout.
        on_news: called with a listing and its record.

    Attributes:
        on_purge: called when something was purged, and before news of a new subscription counts: purges are
            to be read from Redis.
        on_gap: called whenever news begins to flow again, and when the subscription is lost: something may
            have been missed, here or by the others.
    """

    def __init__(
        self,
        client: Client,
        *,
        on_news: Callable[[str, Record], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._on_news = on_news
        self.on_purge: Callable[[], Awaitable[object]] = _nothing
        self.on_gap: Callable[[], None] = lambda: None
        self._clock = clock
        self._good_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def flowing(self) -> bool:
        """Whether all that was published up to about now is known here."""
        return self._clock() < self._good_until

    def start(self) -> None:
        """Subscribe, in a task of its own."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """End the subscription, without waiting for a Redis that hangs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=ENDING)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ENDING):
                await self._client.aclose()

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                if self._good_until:
                    _log.info("news interrupted: %s; memory is not trusted until it is back", type(error).__name__)
                    wait = FIRST_WAIT
            except Exception:  # noqa: BLE001  what nobody thought of must not end the news for good
                _log.exception("news interrupted by a fault of the proxy")
            self._good_until = 0.0
            self.on_gap()
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311  replicas are not to return together
            wait = min(2 * wait, LONGEST_WAIT)

    async def _listen(self) -> None:
        async with self._client.pubsub() as pubsub:
            async with asyncio.timeout(SILENCE):
                await pubsub.subscribe(NEWS)
                while (await pubsub.get_message(timeout=None) or {}).get("type") != "subscribe":
                    pass
            await self.on_purge()
            answered = pinged = self._clock()
            await pubsub.ping(str(pinged))
            while True:
                message = await pubsub.get_message(timeout=max(0.0, pinged + HEARTBEAT - self._clock()))
                if message is not None and message.get("data") == PURGED:
                    await self.on_purge()
                elif message is not None:
                    answered = max(answered, self._take(message))
                if self._clock() >= pinged + HEARTBEAT:
                    pinged = self._clock()
                    await pubsub.ping(str(pinged))
                if pinged - answered > SILENCE:
                    raise TimeoutError

    def _take(self, message: dict[str, Any]) -> float:
        """Take in a message; return when the ping was sent that it answers, else 0."""
        if message["type"] == "pong":
            sent_at = float(message["data"])
            if not self.flowing:
                self.on_gap()
            self._good_until = max(self._good_until, sent_at + LEASE)
            return sent_at
        if message["type"] == "message":
            try:
                self._on_news(*read_news(message["data"]))
            except ValueError:
                _log.warning("news that cannot be read: another release's, or not ours")
        return 0.0


async def _nothing() -> None:
    pass
