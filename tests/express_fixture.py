"""A proxy with callers of every kind, by a connection that stays open; its answers past the parser are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import httpx
import jwt

from proxy.app import create_app
from proxy.callers.caller import digest
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.secret import Secret
from proxy.settings import (
    AuthSettings,
    CacheSettings,
    CallerSettings,
    CorsSettings,
    EventSettings,
    HubSettings,
    JwtSettings,
    Settings,
)
from proxy.simulator import Simulator
from proxy.web.express.request_cache import RequestCache
from proxy.web.express.wire import WIRE
from proxy.web.health import Readiness
from proxy.web.telemetry.event import RequestEvent
from tests.support import KEY, Clock, still_world

SIGNING = "a secret that is long enough for HS256, surely"
ORIGIN = "https://app.example"
CALLERS = (
    CallerSettings(name="all", keys=(digest("gp_all"),), namespaces=("*",), unnamed=True),
    CallerSettings(name="ox", keys=(digest("gp_ox"), digest("gp_ox2")), namespaces=("ox",)),
    CallerSettings(name="slow", keys=(digest("gp_slow"),), namespaces=("*",), unnamed=True, rate=0.5, burst=20),
    CallerSettings(name="brisk", keys=(digest("gp_brisk"),), namespaces=("*",), unnamed=True, rate=0.5, burst=2000),
)


@dataclass
class Way:
    """A proxy, by a connection that stays open."""

    url: str
    app: Any
    hub: Simulator
    clock: Clock
    readiness: Readiness = field(default_factory=Readiness)
    events: list[RequestEvent] = field(default_factory=list)
    answered: int = 0
    """Requests that were answered past the parser."""

    async def ask(self, raw: bytes, *, head: bool = False) -> tuple[str, list[tuple[str, str]], bytes]:
        """Send bytes; return status line, headers in order of their names, and body."""
        if self.writer.is_closing():
            await self.connect()
        self.writer.write(raw)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        while lines[0] == "HTTP/1.1 100 Continue":
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = sorted((line.partition(": ")[0], line.partition(": ")[2]) for line in lines[1:] if line)
        size = 0 if head or " 304 " in lines[0] else int(dict(headers).get("content-length", "0"))
        body = await self.reader.readexactly(size)
        if dict(headers).get("connection") == "close":
            self.writer.close()
            await self.writer.wait_closed()
        return lines[0], headers, body

    async def connect(self) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))


def hub_of(clock: Clock) -> Simulator:
    """A hub whose links are not signed anew for each answer, so that two who ask it get the same bytes."""
    simulator = Simulator(still_world(clock, history=30), api_key=KEY, clock=clock)
    simulator.writer.link = MethodType(lambda _, row, now: f"https://results.example/{row.id}", simulator.writer)  # type: ignore[method-assign]  # noqa: ARG005
    return simulator


@asynccontextmanager
async def way(hub: Simulator | None = None, *, express: bool = True, **hub_settings: Any) -> AsyncIterator[Way]:
    """A proxy with callers of every kind; without ``express``, one that remembers nothing of requests."""
    clock = Clock()
    hub = hub or hub_of(clock)
    clock = hub._clock if isinstance(hub._clock, Clock) else clock
    readiness = Readiness()
    events: list[RequestEvent] = []
    given: dict[str, Any] = {"url": "http://hub.test", "api_key": Secret(KEY), "rate": 1e6, "burst": 1_000_000}
    chosen = Settings(
        hub=HubSettings(**given | hub_settings),
        cache=CacheSettings(settled_ttl=30.5),  # ages and times to be fresh are not full seconds at once
        auth=AuthSettings(callers=CALLERS),
        cors=CorsSettings(origins=(ORIGIN,)),
        jwt=JwtSettings(algorithm="HS256", key=Secret(SIGNING), issuer="i", audience="a"),
        events=EventSettings(mode="off"),  # httpx.ASGITransport hands out nothing before an answer ends
    )
    app = create_app(
        chosen,
        transport=httpx.ASGITransport(hub),
        clock=clock,
        monotonic=clock,
        readiness=readiness,
        sinks=[events.extend],
    )
    wire = app.state[WIRE]
    lane = wire._express
    lane._limits._limiter._clock = clock  # units are held for a second: not one that passes between the two ways
    if not express:
        lane._known = RequestCache(0)  # remembers nothing

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:  # so the protocol finds no wire, and parses each
        await app(scope, receive, send)

    with listen(LOOPBACK, 0) as sock:
        async with serving(app if express else wrapped, sock):
            it = Way(url_of(sock), app, hub, clock, readiness, events)
            answer = wire.answer

            def counting(head: bytes, server_headers: Any) -> Any:
                made = answer(head, server_headers)
                it.answered += made is not None
                return made

            wire.answer = counting
            await it.connect()
            try:
                yield it
            finally:
                it.writer.close()
                await it.writer.wait_closed()


def token(expires: float, namespaces: str = "ox", **claims: Any) -> str:
    return jwt.encode(
        {"sub": "ann", "iss": "i", "aud": "a", "exp": expires, "namespaces": namespaces} | claims, SIGNING, "HS256"
    )
