"""Who receives a credential's events from the hub: one replica of all, or each process while there is no Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from proxy.events.hub_subscriber import HubSubscriber, Pace
from proxy.events.log import EventLog
from proxy.events.shared_log import SUBSCRIBER_LEASE, SharedLog
from proxy.hub.credential import Credential

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that closing may take."""
_log: Final = logging.getLogger("proxy.events")

State: TypeAlias = Literal["absent", "waiting", "subscribed", "elsewhere"]


class Subscription:
    """The subscription of one credential.

    Args:
        subscribe: begins to receive the events.
        share: makes the log in Redis for a credential's id; None: there is no Redis.
        clock: seconds, monotonic.

    Attributes:
        name: of the credential.
        log: where events are found.
    """

    def __init__(
        self,
        credential: Credential,
        subscribe: Callable[[], HubSubscriber],
        log: EventLog,
        *,
        share: Callable[[str], SharedLog] | None,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = credential.name
        self.log = log
        self._credential = credential
        self._subscribe = subscribe
        self._share = share
        self._pace = pace
        self._clock = clock
        self._shared: SharedLog | None = None
        self._id = credential.id
        self._held = False
        self._answered_at = clock()
        self._backoff_until = 0.0
        self._subscriber: HubSubscriber | None = None
        self._received = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """How it fares.

        ``absent``: the hub offers no events; ``waiting``: to be connected (again); ``subscribed``: by this process;
        ``elsewhere``: by another, or to be.
        """
        if self._clock() < self._backoff_until:
            return "absent"
        if self._subscriber is None:
            return "elsewhere"
        return "subscribed" if self._subscriber.subscribed else "waiting"

    @property
    def received(self) -> int:
        """How many events this process has received from the hub."""
        return self._received + (0 if self._subscriber is None else self._subscriber.received)

    def start(self) -> None:
        """Subscribe, in a task of its own."""
        self._open()
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """End the subscription; another replica may have it at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
        await self._stop()
        if self._held and self._shared is not None:
            await self._shared.give_up()
        await self.log.aclose(CLOSE_TIMEOUT)

    async def _run(self) -> None:
        while True:
            try:
                await self._beat()
            except Exception:  # noqa: BLE001  what nobody thought of must not end the events for good
                _log.exception("a fault of the proxy in the subscription to events")
            await asyncio.sleep(self._pace.beat)

    async def _beat(self) -> None:
        """Look who is to be subscribed, and have it so."""
        self._credential.token()  # looks whether it has been renewed
        if self._credential.id != self._id:
            await self._begin_anew()
        if self._subscriber is not None and self._subscriber.absent:
            await self._back_off()
        self._held = await self._hold()
        if not self._held:
            await self._stop()
        elif self._subscriber is None:
            self._subscriber = self._subscribe()
        await self.log.catch_up()

    async def _hold(self) -> bool:
        """Whether this process is to be subscribed."""
        answer = None if self._shared is None else await self._shared.hold()
        now = self._clock()
        if answer is not None:
            self._answered_at = now
            held, backoff = answer
            self._backoff_until = now + backoff if backoff else self._backoff_until
            return held
        # A moment without Redis is no reason for each process to connect by itself.
        alone = self._shared is None or now - self._answered_at > SUBSCRIBER_LEASE
        return now >= self._backoff_until and (self._held or alone)

    async def _back_off(self) -> None:
        """The hub offers no events: leave it in peace, all replicas do, and for long."""
        await self._stop()
        self._backoff_until = self._clock() + self._pace.absent_wait
        if self._shared is not None:
            await self._shared.give_up(self._pace.absent_wait)

    async def _begin_anew(self) -> None:
        """There is another token: what was learned with the old one does not count, as it may be another user's."""
        await self._stop()
        if self._held and self._shared is not None:
            await self._shared.give_up()
        self._id, self._held, self._backoff_until = self._credential.id, False, 0.0
        self._open()

    def _open(self) -> None:
        self._shared = None if self._share is None else self._share(self._id)
        self.log.open(self._shared)

    async def _stop(self) -> None:
        if self._subscriber is not None:
            subscriber, self._subscriber = self._subscriber, None
            self._received += subscriber.received
            await subscriber.stop(CLOSE_TIMEOUT)
