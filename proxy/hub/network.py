"""Connections to one origin, kept from one request to the next: a transport for httpx.

httpx brings one, httpcore. This one is there for what that cannot: an exchange ends at its deadline whatever the hub
does, a request may be cancelled, and what comes unasked on a connection is nobody's answer. It takes half of the
processor time besides (httptools in place of h11).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from typing import Final

import httpx

from proxy.hub.connection import Connection, StaleConnection
from proxy.hub.dialling import dial

UNTIL: Final = "until"
"""The extension of a request by which its exchange ends: the loop's time."""
_LINE_ENDS: Final = frozenset(b"\r\n\0")


class Network(httpx.AsyncBaseTransport):
    """Sends requests that have no bodies to the origin of ``url``, as many at once as ``connections``."""

    def __init__(self, url: str, connections: int, keepalive_expiry: float, context: ssl.SSLContext) -> None:
        self._url = httpx.URL(url)
        self._context = context if self._url.scheme == "https" else None
        self._keepalive_expiry = keepalive_expiry
        self._free = connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        self._active: set[Connection] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer's head; the body is to be read, or the response to be closed (httpx' name).

        Raises:
            httpx.TransportError: there is none; StaleConnection, where the request may be repeated.
        """
        _check(request)
        timeout = request.extensions.get("timeout", {})
        until = request.extensions.get(UNTIL, math.inf)
        await self._take_place(_bounded(timeout.get("pool"), until))
        connection = self._kept()
        try:
            connection = connection or await self._connect(_bounded(timeout.get("connect"), until))
        finally:
            if connection is None:
                self._give_place()
        self._active.add(connection)
        silence = timeout.get("read")
        try:
            return await connection.ask(_head(request), until=until, silence=math.inf if silence is None else silence)
        except StaleConnection:
            self._drop_idle()  # all of them may be broken, as one has turned out to be
            raise

    async def aclose(self) -> None:
        """End all connections, those of exchanges under way included (httpx' name)."""
        self._closed = True
        self._drop_idle()
        for connection in list(self._active):
            connection.abort()

    async def _take_place(self, seconds: float | None) -> None:
        """Wait until fewer requests are under way than may be."""
        if self._closed:
            raise httpx.ConnectError("The transport is closed.")
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException as error:
            if place.cancelled():
                self._waiting.remove(place)
            else:  # it was given at the same moment
                self._give_place()
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("All connections are in use.") from None
            raise

    def _give_place(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _kept(self) -> Connection | None:
        """The connection that was used last, unless it has been idle for too long; then all have."""
        used_since = asyncio.get_running_loop().time() - self._keepalive_expiry
        while self._idle and self._idle[-1].free_since > used_since:
            if (connection := self._idle.pop()).open:
                return connection
        self._drop_idle()
        return None

    async def _connect(self, seconds: float | None) -> Connection:
        loop, host = asyncio.get_running_loop(), self._url.raw_host.decode("ascii")
        port = self._url.port or (443 if self._context else 80)
        try:
            async with asyncio.timeout(seconds):
                dialled = await dial(host, port)
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(self._freed),
                        sock=dialled,
                        ssl=self._context,
                        server_hostname=host if self._context else None,
                    )
                except BaseException:
                    dialled.close()
                    raise
        except TimeoutError as error:
            raise httpx.ConnectTimeout("No connection in time.") from error
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            raise httpx.ConnectError("No connection could be made.") from error
        if self._closed:
            connection.abort()
            raise httpx.ConnectError("The transport is closed.")
        return connection

    def _freed(self, connection: Connection, reusable: bool) -> None:
        """An exchange has ended, or a connection."""
        if connection in self._active:
            self._active.discard(connection)
            self._give_place()
            if reusable:
                self._idle.append(connection)
        elif connection in self._idle:
            self._idle.remove(connection)

    def _drop_idle(self) -> None:
        """Keep no connection that nothing is asked by."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()


def _head(request: httpx.Request) -> bytes:
    """The request as it is sent. It holds the token: no frame that an error's traceback may show keeps it."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%s: %s" % line for line in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _check(request: httpx.Request) -> None:
    """Return if it can be sent.

    Raises:
        httpx.LocalProtocolError: it would be another one, or more than one.
    """
    if unfit := [name for name, value in request.headers.raw if not _LINE_ENDS.isdisjoint(name + value)]:
        raise httpx.LocalProtocolError(f"The values of {unfit} hold a line's end.")


def _bounded(seconds: float | None, until: float) -> float | None:
    """Seconds that something may take which is to end by the loop's time ``until``; None: any number."""
    left = max(0.0, until - asyncio.get_running_loop().time())
    left = left if seconds is None else min(seconds, left)
    return None if left == math.inf else left
