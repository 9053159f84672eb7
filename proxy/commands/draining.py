"""How ``serve`` ends: it is not ready any more, goes on serving for a while, and answers all who had connected.

uvicorn by itself resets who has connected and was not accepted yet, or of whom it has read nothing yet.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, cast

import uvicorn

from proxy.commands.supervisor import STOP_NOW_SIGNAL
from proxy.web.health import Readiness

LAST_REQUESTS: Final = 0.5
"""Seconds in which the requests have come of those who connected before nobody could any more."""
_log: Final = logging.getLogger("proxy.serve")


def drain_before_exit(readiness: Readiness, delay: float) -> None:
    """Put a delay of ``delay`` seconds, with readiness false, before what SIGTERM does now.

    A second one skips that; to a worker of several it says nothing, as its supervisor says ``STOP_NOW_SIGNAL``. SIGHUP
    is one as well, unless whoever started this has it ignored (``nohup``): by itself it would end what is under way. A
    worker leaves it to its supervisor, which replaces the workers.
    """
    stop = cast("Callable[[int, FrameType | None], None]", signal.getsignal(signal.SIGTERM))  # uvicorn's
    loop, supervised = asyncio.get_running_loop(), multiprocessing.parent_process() is not None
    ending: set[asyncio.Task[None]] = set()

    async def end() -> None:
        await asyncio.sleep(delay)
        try:
            if isinstance(server := getattr(stop, "__self__", None), uvicorn.Server):
                await stop_listening(server)
                await asyncio.sleep(LAST_REQUESTS)
        finally:  # whatever goes wrong there, it ends
            stop(signal.SIGTERM, None)

    def drain() -> None:
        readiness.drain()
        ending.add(loop.create_task(end()))

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        if readiness.draining:
            if not supervised:
                stop(number, frame)
            return
        readiness.draining = True
        _log.info("%s: not ready any more, stopping in %g s", signal.Signals(number).name, delay)
        loop.call_soon_threadsafe(drain)

    def at_once(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(readiness.drain)
        stop(number, frame)

    signal.signal(signal.SIGTERM, on_sigterm)
    signal.signal(signal.SIGINT, at_once)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if supervised else on_sigterm)
    if supervised and STOP_NOW_SIGNAL is not None:
        signal.signal(STOP_NOW_SIGNAL, lambda _, frame: at_once(signal.SIGTERM, frame))


async def stop_listening(server: uvicorn.Server) -> None:
    """Accept all who have connected, then nobody: nothing happens between the two, so that nobody is between them."""
    loop, config = asyncio.get_running_loop(), server.config
    connected: list[socket.socket] = []
    for listener in server.servers:
        for one in listener.sockets:
            connected += _waiting(one.fileno())
        listener.close()

    def protocol() -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", config.http_protocol_class)
        return make(config=config, server_state=server.server_state, app_state=server.lifespan.state, _loop=loop)

    for sock in connected:
        await loop.connect_accepted_socket(protocol, sock)


def _waiting(listening: int) -> list[socket.socket]:
    """The connections that nobody has accepted yet of a listening socket, by its number."""
    found: list[socket.socket] = []
    with socket.socket(fileno=os.dup(listening)) as sock:  # the loop's own cannot accept
        sock.setblocking(False)
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:  # there is none, or no file for one
                return found
            connection.setblocking(False)
            found.append(connection)
