"""Connections to one origin, kept from one request to the next: a transport for httpx.

httpx brings one, httpcore. This one is there for what that cannot: an exchange ends at its deadline whatever the hub
does, a request may be cancelled, and what comes unasked on a connection is nobody's answer. It takes much less of the
processor besides (httptools in place of h11).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from typing import Final

import httpx

from proxy.hub.connection import Connection, Overdue, StaleConnection
from proxy.hub.dialling import dial
from proxy.hub.request import Get, get_of

UNTIL: Final = "until"
"""The extension of a request by which its exchange ends: the loop's time."""
_LINE_ENDS: Final = frozenset(b"\r\n\0")
_BLANKS: Final = frozenset(b"\r\n\0\t ")


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
        get = get_of(request)
        _check(get)
        timeout = request.extensions.get("timeout", {})
        until = request.extensions.get(UNTIL, math.inf)
        await self._take_place(timeout.get("pool"), until)
        connection = None
        try:
            connection = (None if self._closed else self._kept()) or await self._connect(timeout.get("connect"), until)
        finally:
            if connection is None:
                self._give_place()
        self._active.add(connection)
        silence = timeout.get("read")
        try:
            return await connection.ask(_head(get), until=until, silence=math.inf if silence is None else silence)
        except StaleConnection:
            self._drop_idle()  # all of them may be broken, as one has turned out to be
            raise

    async def aclose(self) -> None:
        """End all connections, those of exchanges under way included (httpx' name)."""
        self._closed = True
        self._drop_idle()
        for connection in list(self._active):
            connection.abort()

    async def _take_place(self, seconds: float | None, until: float) -> None:
        """Wait until fewer requests are under way than may be."""
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(_bounded(seconds, until)):
                await place
        except BaseException as error:
            if not place.cancelled():  # it was given at the same moment
                self._give_place()
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                _raise_if_over(until)
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
        """The connection that was used last of those on which nothing has come since."""
        self._drop_expired()
        while self._idle:
            if (connection := self._idle.pop()).quiet:
                return connection
            connection.abort()
        return None

    async def _connect(self, seconds: float | None, until: float) -> Connection:
        connection, opened = Connection(self._freed), False
        try:
            async with asyncio.timeout(_bounded(seconds, until)):
                await self._open(connection)
            opened = True
        except TimeoutError as error:
            _raise_if_over(until)
            raise httpx.ConnectTimeout("No connection in time.") from error
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            raise httpx.ConnectError("No connection could be made.") from error
        finally:
            if not opened:
                connection.abort()
        return connection

    async def _open(self, connection: Connection) -> None:
        host, secure = self._url.raw_host.decode("ascii"), self._context is not None
        self._raise_if_closed()
        dialled = await dial(host, self._url.port or (443 if secure else 80))
        # From here on the socket is the loop's: to close it would be to close what others are given with its number.
        await asyncio.get_running_loop().create_connection(
            lambda: connection, sock=dialled, ssl=self._context, server_hostname=host if secure else None
        )
        self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise httpx.ConnectError("The transport is closed.")

    def _freed(self, connection: Connection, reusable: bool) -> None:
        """An exchange has ended, or a connection."""
        if connection in self._active:
            self._active.discard(connection)
            self._give_place()
            if reusable:
                self._drop_expired()
                self._idle.append(connection)
        elif connection in self._idle:
            self._idle.remove(connection)

    def _drop_idle(self) -> None:
        """Keep no connection that nothing is asked by."""
        while self._idle:
            self._idle.pop().abort()

    def _drop_expired(self) -> None:
        expired_at = asyncio.get_running_loop().time() - self._keepalive_expiry
        while self._idle and self._idle[0].free_since <= expired_at:
            self._idle.pop(0).abort()


def _head(get: Get) -> bytes:
    """The request as it is sent. It holds the token: no frame that an error's traceback may show keeps it."""
    lines = [b"GET %s HTTP/1.1" % get.target]
    lines += [b"%s: %s" % line for line in get.lines]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _check(get: Get) -> None:
    """Return if it can be sent.

    Raises:
        httpx.LocalProtocolError: it would be another request, or more than one.
    """
    if unfit := [name for name, value in get.lines if not _LINE_ENDS.isdisjoint(name + value)]:
        raise httpx.LocalProtocolError(f"The values of {unfit} hold a line's end.")
    if not _BLANKS.isdisjoint(get.target):
        raise httpx.LocalProtocolError("The target holds white space.")


def _bounded(seconds: float | None, until: float) -> float | None:
    """Seconds that something may take which is to end by the loop's time ``until``; None: any number."""
    left = max(0.0, until - asyncio.get_running_loop().time())
    left = left if seconds is None else min(seconds, left)
    return None if left == math.inf else left


def _raise_if_over(until: float) -> None:
    if asyncio.get_running_loop().time() >= until:
        raise Overdue("The time was over before the request was sent.") from None
