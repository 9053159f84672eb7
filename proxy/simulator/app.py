"""The simulated hub as an ASGI application: its five read endpoints, behind bearer check, budget and faults."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from proxy.simulator.events import Events
from proxy.simulator.faults import Fault, Faults
from proxy.simulator.journal import Budget, Journal, Request
from proxy.simulator.results import Results
from proxy.simulator.sending import Receive, Refusal, Scope, Send, disconnected, send_answer
from proxy.simulator.streaming import Streams
from proxy.simulator.wire import RESULTS_PATH, Writer, error
from proxy.simulator.world import Generation, World

DEMO_KEY: Final = "demo-key"
EVENTS_PATH: Final = "/api/events"
TICK: Final = 0.05
"""Seconds between looks at what is due in the world."""
_ENUMS: Final = {
    "media_type": ("image", "video"),
    "status": ("queued", "processing", "succeeded", "failed", "cancelled"),
}


class Simulator:
    """The hub. Its parts are public, for tests in the same process; ``control.py`` is for the others."""

    def __init__(
        self,
        world: World | None = None,
        *,
        api_key: str = DEMO_KEY,
        link_lifetime: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.world = World(clock=clock) if world is None else world
        self.api_key = api_key
        self.further_keys: set[str] = set()
        self.faults = Faults()
        self.journal = Journal()
        self.budget = Budget()
        self.events = Events()
        self.streams = Streams(self.events)
        self.writer = Writer(link_lifetime)
        self.results = Results(self.world, self.writer)
        self._clock = clock
        self.world.on_end.append(lambda row: self.events.tell(row, self.writer, clock()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        match scope["type"]:
            case "lifespan":
                await self._live(receive, send)
            case "http":
                await self._serve(scope, receive, send)

    def serve_results(self, url: str) -> None:
        """Let links lead here, to ``url``: what they lead to is drawn. Requests for it are none of the API's."""
        self.writer.results = url + RESULTS_PATH

    async def _live(self, receive: Receive, send: Send) -> None:
        """Let the world turn while the server runs."""
        await receive()
        turning = asyncio.create_task(self._turn())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        turning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turning
        await send({"type": "lifespan.shutdown.complete"})

    async def _turn(self) -> None:
        while True:
            self.world.advance()
            await asyncio.sleep(TICK)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(f"{RESULTS_PATH}/"):
            await self.results.send(scope["path"], scope["query_string"].decode("latin-1"), self._clock(), send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scheme, _, token = headers.pop("authorization", "").partition(" ")
        authorized = scheme == "Bearer" and self._authorized(token)
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        request = Request(self._clock(), scope["method"], path, query, headers, authorized)
        if path == EVENTS_PATH:
            await self._reply(request, token, self.faults.befall(path), receive, send)
            return
        with self.journal.noting(request):
            await self._reply(request, token, self.faults.befall(path), receive, send)

    async def _reply(self, request: Request, token: str, fault: Fault, receive: Receive, send: Send) -> None:
        if fault.hang:
            await disconnected(receive)
            return
        if fault.latency:
            await asyncio.sleep(fault.latency)
        if request.path == EVENTS_PATH and request.authorized and fault.status is None:
            await self.streams.serve(token, fault, receive, send)
            return
        try:
            status, body = 200, self._admit(request, fault)
        except Refusal as refusal:
            status, body = refusal.status, error(refusal.status)
        await send_answer(send, status, body, fault)

    def _admit(self, request: Request, fault: Fault) -> bytes:
        """The body of a 200, if the request gets as far as that."""
        if fault.status is not None:
            raise Refusal(fault.status)
        if not self.budget.take():
            raise Refusal(429)
        if not request.authorized:
            raise Refusal(401)
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405)
        self.world.advance()
        return self._answer(request.path, request.query)

    def _authorized(self, token: str) -> bool:
        return any(hmac.compare_digest(token.encode(), key.encode()) for key in (self.api_key, *self.further_keys))

    def _answer(self, path: str, query: str) -> bytes:
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        match path.strip("/").split("/"):
            case ["api", "ai", "generations"]:
                page, page_size = _number(parameters, "page", 1, 2**53), _number(parameters, "page_size", 50, 1000)
                return self.writer.page(self._select(parameters), page, page_size, self._clock())
            case ["api", "ai", "generations", generation_id]:
                return self.writer.show(self.find(generation_id), self._clock())
            case ["api", "ai", "queue"]:
                rows = self._select(parameters)
                if "status" not in parameters:
                    rows = [row for row in rows if not row.terminal]
                return self.writer.queue(rows, self._clock())
            case ["api", "ai", "queue", generation_id]:
                return self.writer.queued(self.find(generation_id), self._clock())
            case _:
                raise Refusal(404)

    def _select(self, parameters: dict[str, str]) -> list[Generation]:
        """The rows of a filter set, newest first."""
        for name, allowed in _ENUMS.items():
            if name in parameters and parameters[name] not in allowed:
                raise Refusal(422)
        namespace = parameters.get("namespace", self.world.namespaces[0])
        if namespace not in self.world.namespaces:
            raise Refusal(404)
        members = {"model": "model", "media_type": "media_type", "status": "status", "repo": "repo", "folder": "folder"}
        wanted = [(member, parameters[name]) for name, member in members.items() if name in parameters]
        rows = self.world.newest_first(namespace)
        return [row for row in rows if all(getattr(row, member) == value for member, value in wanted)]

    def find(self, generation_id: str) -> Generation:
        """The row of that id; Refusal(404) if there is none."""
        row = self.world.find(generation_id)
        if row is None:
            raise Refusal(404)
        return row


def _number(parameters: dict[str, str], name: str, default: int, most: int) -> int:
    try:
        number = int(parameters.get(name, default))
    except ValueError:
        raise Refusal(422) from None
    if not 1 <= number <= most:
        raise Refusal(422)
    return number
