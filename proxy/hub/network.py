"""Connections to the hub, below HTTP: no exchange outlasts its deadline, nor is what it leaves taken for another's.

httpx' timeouts are for each read. A hub that drips a byte now and then, in a head or a trailer, would hold a connection
for as long as it likes; of these there are as many as requests that may be under way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

import httpcore
import httpx


class Exchange:
    """One request and its answer.

    Attributes:
        until: the loop's time at which it ends, however far it is.
        received: whether the hub has said anything.
    """

    def __init__(self, until: float) -> None:
        self.until = until
        self.received = False


current_exchange: Final[ContextVar[Exchange | None]] = ContextVar("exchange", default=None)
"""The exchange that runs in this task."""


class Stream(httpcore.AsyncNetworkStream):
    """A connection's bytes."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait for bytes, as long as the exchange may take (httpcore's name)."""
        exchange = current_exchange.get()
        data = await self._stream.read(max_bytes, _bounded(timeout, exchange, httpcore.ReadTimeout))
        if exchange is not None and data:
            exchange.received = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes (httpcore's name)."""
        await self._stream.write(buffer, _bounded(timeout, current_exchange.get(), httpcore.WriteTimeout))

    async def aclose(self) -> None:
        """End the connection (httpcore's name)."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Go on encrypted (httpcore's name)."""
        return Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What is known of the connection (httpcore's name)."""
        return self._stream.get_extra_info(info)


class Backend(httpcore.AnyIOBackend):
    """Makes such connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect (httpcore's name)."""
        return Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class Network(httpx.AsyncHTTPTransport):
    """httpx' transport over such connections, of which ``connections`` are kept."""

    def __init__(self, connections: int, keepalive_expiry: float, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        # httpx has no way to say which network its pool is to use.
        self._pool = self.pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=keepalive_expiry,
            network_backend=Backend(),
        )

    async def end(self, response: httpx.Response) -> None:
        """An answer has been read; its connection is kept, unless there is more on it than was asked for.

        That would be taken for the answer to the next request.
        """
        stream: object = response.extensions.get("network_stream")
        for connection in self.pool.connections:
            http = getattr(connection, "_connection", None)  # httpcore looks at this for upgrades only
            carrying: object = getattr(http, "_network_stream", None)
            if isinstance(stream, Stream) and carrying is stream:
                left, _ = getattr(getattr(http, "_h11_state", None), "trailing_data", (b"", False))
                if left:
                    await stream.aclose()
                return

    async def drop_idle(self) -> None:
        """Keep no connection that nothing is asked by: one has turned out to be broken, and so may all be."""
        for connection in self.pool.connections:
            if connection.is_idle():
                await connection.aclose()


def _bounded(timeout: float | None, exchange: Exchange | None, late: type[Exception]) -> float | None:
    if exchange is None:
        return timeout
    left = exchange.until - asyncio.get_running_loop().time()
    if left <= 0:
        raise late
    return left if timeout is None else min(timeout, left)
