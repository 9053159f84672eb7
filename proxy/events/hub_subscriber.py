"""Receives a credential's events from the hub, and connects again whenever the connection ends.

::

    a turn at the shield → connect → tell of a gap → append what comes … → back off → a turn …

The connection takes no slot of the budget, only a turn to make it. Whatever goes wrong with it is nobody's error: the
proxy goes on without events, and questions are asked as if nothing were wrong. So a pause of the hub's is ended by a
question, whose answer says how it fares, and not by this, which may be refused for reasons of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from proxy.admission.shield import Shield
from proxy.errors import HubError, HubResting
from proxy.events.log import EventLog
from proxy.hub.stream import EventStream, HubStream, NoStream
from proxy.known import completion

TURN_TIMEOUT: Final = 5.0
"""Seconds that a connection waits for its turn at the most."""
PROBE_GRACE: Final = 30.0
"""Seconds after the end of a pause for which the probe is left to a question."""
_log: Final = logging.getLogger("proxy.events")


class Pace(Struct, frozen=True):
    """Seconds that a subscription goes by.

    Attributes:
        beat: between looks at who is to be subscribed.
        first_wait, longest_wait: before another attempt, doubled from the first on and jittered; longer only where the
            hub has said so.
        steady: after which a connection that breaks counts as one that worked.
        absent_wait: for which a hub without events is left in peace.
        silence: without a byte, after which a connection is given up; the hub says something every 15 s (hub
            facts: events).
    """

    beat: float = 0.5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    steady: float = 10.0
    absent_wait: float = 600.0
    silence: float = 45.0


class HubSubscriber:
    """Connects from when it is made until it is stopped, or finds that the hub offers no events.

    Args:
        name: of the credential.
        clock: seconds, monotonic.

    Attributes:
        subscribed: the connection stands.
        absent: the hub offers no events.
        received: how many came.
    """

    def __init__(
        self,
        name: str,
        stream: HubStream,
        shield: Shield,
        log: EventLog,
        *,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._stream = stream
        self._shield = shield
        self._log = log
        self._pace = pace
        self._clock = clock
        self._stop = asyncio.Event()
        self._connection: EventStream | None = None
        self._probe_from = 0.0
        self.subscribed = self.absent = False
        self.received = 0
        self._task = asyncio.create_task(self._run())

    async def stop(self, timeout: float) -> None:
        """Receive nothing any more, and wait at most ``timeout`` seconds for the end."""
        self._stop.set()
        if self._connection is not None:
            await self._connection.aclose()
        await asyncio.wait({self._task}, timeout=timeout)
        self._task.cancel()  # it waits for its turn, or for the hub's answer, whose request goes on by itself

    async def _run(self) -> None:
        vain, lost = 0, False
        while not self._stop.is_set() and not self.absent:
            began = self._clock()
            wait = await self._try(quiet=vain > 0)
            if self.subscribed:
                self.subscribed, lost = False, True
                vain = 0 if self._clock() - began >= self._pace.steady else vain
            elif lost:  # not back at once: until it is, nothing vouches for what is kept
                lost = False
                await self._log.append(None)
            backoff = min(self._pace.longest_wait, self._pace.first_wait * 2.0 ** min(vain, 10))
            vain += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, backoff * random.uniform(0.5, 1.0))):  # noqa: S311  jitter
                    await self._stop.wait()

    async def _try(self, *, quiet: bool) -> float:
        """Receive events for as long as a connection stands; return how long the hub is to be left alone after it."""
        try:
            await self._listen()
        except NoStream as end:
            self.absent = end.absent
            self._say(str(end), logging.ERROR if end.refused else logging.INFO, quiet=quiet)
            return end.wait
        except HubError as error:  # the hub was not asked, and may be sooner than was said: to look costs it nothing
            self._say(f"{error.type}: {error.explained()}", logging.INFO, quiet=quiet)
            return min(error.retry_after or 0.0, self._pace.longest_wait)
        except Exception:  # noqa: BLE001  what nobody thought of must not end the events for good
            _log.exception("events of credential %s: a fault of the proxy", self._name)
        return 0.0

    async def _listen(self) -> None:
        """Receive events until the connection ends.

        Raises:
            HubError, NoStream: it could not be made, or has ended.
        """
        await self._leave_the_probe()
        async with self._shield.turn(TURN_TIMEOUT):
            try:
                self._connection = await self._stream.open()
            except HubError as error:  # raised as such inside of the turn, it would count for the breaker
                raise NoStream(f"{error.type}: {error.explained()}", wait=error.retry_after or 0.0) from error
        try:
            if self._stop.is_set():
                return
            self.subscribed = True
            _log.info("subscribed to the events of credential %s", self._name)
            await self._log.append(None)  # what happened before is not known
            async for event in self._connection.events():
                if event.type == completion.TYPE:
                    await self._take(event.data)
        finally:
            connection, self._connection = self._connection, None
            await connection.aclose()

    async def _leave_the_probe(self) -> None:
        """Return when it is not this that would end a pause.

        Raises:
            HubResting: it would.
        """
        pause = (await self._shield.standing()).pause
        if not pause.strikes or pause.seconds:
            self._probe_from = self._clock() + pause.seconds + PROBE_GRACE
        if pause.strikes and self._clock() < self._probe_from:
            raise HubResting("A question is to find out first how the hub fares.", retry_after=pause.seconds)

    async def _take(self, data: str) -> None:
        self.received += 1
        try:
            received = completion.read(data)
        except ValueError:
            _log.warning("an event of credential %s names no generation", self._name)
        else:
            await self._log.append(received)

    def _say(self, reason: str, level: int, *, quiet: bool) -> None:
        """Say why there are no events, but not again and again."""
        if not self._stop.is_set() and not quiet:
            _log.log(level, "no events of credential %s for now: %s", self._name, reason)
