"""Listening sockets, and servers in this process that share an event loop with other work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import uvicorn

from proxy.web.protocol import BoundedProtocol

LOOPBACK: Final = "127.0.0.1"


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; ``shared``: other processes of this user may have one of their own on the same port.

    Raises:
        OSError: the address cannot be listened on.
    """
    sock = reserve(host, port, shared=shared)
    sock.listen(2048)
    return sock


def reserve(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that has the address, but does not listen. ``shared``: for :class:`OwnSocket`.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it, a head and a body
    # written apart meet Nagle and the caller's delayed acknowledgement: 40 ms an answer.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


class OwnSocket:
    """Becomes a listening socket on the address of ``sock`` in the process that it is sent to, that process' own.

    With one socket for all, whichever worker wakes first takes all connections that wait, and keeps them; among
    sockets of their own, Linux shares connections out.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._address = sock.getsockname()[:2]

    def __reduce__(self) -> tuple[object, ...]:
        return partial(listen, shared=True), self._address


def url_of(sock: socket.socket) -> str:
    """The URL at which a server on this socket is reached."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs several of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, sock: socket.socket) -> AsyncIterator[None]:
    """Serve ``app`` on ``sock`` for the length of the block."""
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[sock]))  # the socket listens: requests wait in its backlog
    try:
        yield
    finally:
        server.should_exit = True
        await task
