"""``GET /api/events`` for callers: the hub's event stream, with ids and a short replay, from one connection for all."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any, Final

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.errors import HubFoundNothing, Unauthorized
from proxy.events.events import Events
from proxy.events.feed import Feed
from proxy.events.listener import Listener, TooSlow
from proxy.hub import sse
from proxy.hub.credential import Credentials
from proxy.hub.stream import EVENTS_PATH
from proxy.questions import query
from proxy.web.answers import VARY
from proxy.web.authentication import Authentication
from proxy.web.handlers import get_handler
from proxy.web.limits import Limits
from proxy.web.protocol import connection_of
from proxy.web.state import state_of

KEEP_ALIVE: Final = 15.0
"""Seconds between signs of life, as the hub's; as often it is looked whether the caller may still listen."""
RETRY: Final = 2.0
"""Seconds after which a listener whose stream broke is to come back."""
STALL_TIMEOUT: Final = 10.0
"""Seconds for which a listener may not read before it is cut off; what waits for it meanwhile is less than 192 KiB."""
CHUNK_BYTES: Final = 32 * 1024
"""Bytes of events after which a piece of the stream is sent."""
SPREAD: Final = 1.0
"""Seconds over which streams end when the process is about to, so that listeners do not all come back at once."""
_HEADERS: Final = {
    "content-type": sse.MEDIA_TYPE,
    "cache-control": "no-store",
    "vary": VARY,
    "x-accel-buffering": "no",  # nginx would else collect what is to arrive at once
}


def events_handler(
    events: Events, authentication: Authentication, limits: Limits, credentials: Credentials
) -> HTTPRouteHandler:
    """The handler of the stream."""

    @get_handler(EVENTS_PATH)
    async def stream(request: Request[Any, Any, Any]) -> ASGIApp:
        caller = await authentication.caller(request.headers)
        state = state_of(request.scope)
        state.caller = caller.name
        tab = limits.tab(caller, state)
        await tab.pay(tab.hit)
        query.parse(request.scope["query_string"], ())
        serving = credentials.serving_any(caller.namespaces, every=caller.sees_all)
        names = [one.name for one in serving if one.name in events.subscriptions]
        if all(events.subscriptions[name].state == "absent" for name in names):
            raise HubFoundNothing("There are no events; ask the other endpoints again and again.", None)
        listener = await events.feed.join(caller, names, request.headers.get("last-event-id"))
        return _Stream(events.feed, listener, authentication, request)

    return stream


class _Stream:
    """The answer to one listener."""

    def __init__(
        self, feed: Feed, listener: Listener, authentication: Authentication, request: Request[Any, Any, Any]
    ) -> None:
        self._feed = feed
        self._listener = listener
        self._authentication = authentication
        self._headers = request.headers
        self._method = request.method
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        connection = connection_of(scope)
        if connection is not None:
            connection.on_shutdown = self._end
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(lambda _: self._listener.wake.set())
        to_end = connection is not None and scope["http_version"] != "1.1"
        try:
            headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            if connection is not None and to_end:
                headers.append((b"connection", b"close"))
                connection.delimit_by_end()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if self._method == "GET":
                await self._send_events(_Writer(send), gone)
            if not gone.done():
                if connection is not None and to_end:
                    connection.delimit_by_end(0)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, TooSlow):
            if connection is not None:
                connection.abort()  # to close it would wait for what the listener does not read
                await asyncio.wait({gone}, timeout=STALL_TIMEOUT)
        finally:
            self._feed.leave(self._listener)
            gone.cancel()
            if connection is not None:
                connection.on_shutdown = None  # it may be kept alive

    async def _send_events(self, writer: _Writer, gone: asyncio.Future[None]) -> None:
        """Send events until the listener leaves or is to leave.

        Raises:
            TimeoutError, TooSlow: the listener reads too slowly.
        """
        now = asyncio.get_running_loop().time
        await writer.write(sse.greet(self._listener.greeting, RETRY))
        due = now() + KEEP_ALIVE
        while not gone.done() and not self._ending and not self._feed.closing:
            self._listener.wake.clear()
            if events := self._listener.take(CHUNK_BYTES):
                await writer.write(b"".join(map(sse.write, events)))
            elif now() < due:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._listener.wake.wait()
            if now() >= due:
                if not await self._may_listen():
                    return
                await writer.write(sse.KEEP_ALIVE)
                due = now() + KEEP_ALIVE
        if gone.done():
            return
        if not self._ending:
            await asyncio.wait({gone}, timeout=random.uniform(0.0, SPREAD))  # noqa: S311  jitter
        if not gone.done():
            await writer.write(sse.hint(RETRY + random.uniform(0.0, SPREAD)))  # noqa: S311  jitter

    async def _may_listen(self) -> bool:
        """Whether the caller is still who it was: a token may have expired, or been replaced."""
        try:
            return await self._authentication.caller(self._headers) == self._listener.caller
        except Unauthorized:
            return False

    def _end(self) -> None:
        """The server stops now."""
        self._ending = True
        self._listener.wake.set()


class _Writer:
    """Sends pieces of the stream to a caller who reads them."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def write(self, piece: bytes) -> None:
        """Send a piece, once there is room for it in the server's buffer.

        Raises:
            TimeoutError: the caller does not read.
        """
        async with asyncio.timeout(STALL_TIMEOUT):
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})


async def _gone(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
