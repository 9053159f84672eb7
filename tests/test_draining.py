"""The end of ``serve``: who had connected is answered, and nobody connects any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop

from proxy.commands.draining import stop_listening
from proxy.commands.sockets import LOOPBACK, listen
from proxy.web.protocol import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    del receive
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def connected(port: int) -> socket.socket:
    """A caller who has sent a request; the event loop has had no time to see that."""
    caller = socket.create_connection((LOOPBACK, port), 20)
    caller.sendall(REQUEST)
    caller.setblocking(False)
    return caller


@asynccontextmanager
async def started() -> AsyncIterator[tuple[uvicorn.Server, socket.socket]]:
    config = uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with listen(LOOPBACK, 0) as sock:
        await server.startup(sockets=[sock])
        yield server, sock
        await server.shutdown(sockets=[sock])


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


async def answer_to(caller: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(caller, 12), 20)


def test_who_has_connected_is_answered_and_who_comes_later_is_refused(run: Any) -> None:
    async def scenario() -> None:
        async with started() as (server, sock):
            port = sock.getsockname()[1]
            with contextlib.ExitStack() as stack:
                callers = [stack.enter_context(connected(port)) for _ in range(20)]
                await stop_listening(server)
                assert [await answer_to(caller) for caller in callers] == [b"HTTP/1.1 204"] * 20
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((LOOPBACK, port), 20)

    run(scenario())


def test_uvicorn_by_itself_resets_them(run: Any) -> None:
    async def scenario() -> None:
        async with started() as (server, sock):
            with connected(sock.getsockname()[1]) as caller:
                await server.shutdown(sockets=[sock])
                with pytest.raises(ConnectionResetError):
                    await answer_to(caller)

    run(scenario())
