"""``/status.json``: what this proxy does, costs and suffers, of all its processes; and the page that shows it.

The page holds nothing: it asks for the JSON, with a key that is typed in once. Whoever may read the JSON is decided by
a grant of its own, ``[status] key``; the operator's key, which allows more, does as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from proxy import __version__
from proxy.core import Core
from proxy.redis.status import SharedStatus
from proxy.settings import StatusSettings
from proxy.siblings import Siblings
from proxy.web.credentials import CurrentKey, current_key, require_key
from proxy.web.handlers import get_handler, respond
from proxy.web.health import Readiness
from proxy.web.page_files import PageFile, page_handler
from proxy.web.telemetry.samples import INTERVAL, Activity, Samples, merged

PAGE_PATH: Final = "/status"
JSON_PATH: Final = "/status.json"
TOPIC: Final = "status"
"""What workers ask each other."""
_log: Final = logging.getLogger("proxy.status")


class Budget(Struct):
    """What is left of a credential's budget; ``state``: as in /health/ready."""

    credential: str
    state: str
    turns: float
    turns_max: float
    under_way: int
    under_way_max: int
    pause_seconds: float
    pause_cause: str


class Process(Struct):
    """How a process fares. Times in Unix seconds. ``events``: by credential, how it stands with the hub's stream."""

    id: str
    version: str
    started_at: float
    draining: bool
    redis: str
    memory_trusted: bool
    memory_bytes: int
    memory_bytes_max: int
    memory_pages: int
    flights: int
    waiting: int
    events: dict[str, str]
    listeners: int


class ProcessReport(Struct):
    """What a process tells the others."""

    process: Process
    budgets: list[Budget]
    activity: Activity


class StatusResponse(Struct):
    """What is shown. ``scope``: of all replicas, of the workers behind this port, or of this process."""

    at: float
    scope: Literal["fleet", "workers", "process"]
    interval: int
    processes: list[Process]
    budgets: list[Budget]
    activity: Activity


_read: Final = msgspec.msgpack.Decoder(ProcessReport).decode


class Status:
    """Tells of this process, and knows what the others tell."""

    def __init__(
        self,
        core: Core,
        readiness: Readiness,
        shared: SharedStatus | None,
        siblings: Siblings | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._core = core
        self._readiness = readiness
        self._shared = shared
        self._siblings = siblings
        self._clock = clock
        self._id = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self._started_at = clock()
        self._reporting: asyncio.Task[None] | None = None
        self.samples = Samples(clock)
        if siblings is not None:
            siblings.answers[TOPIC] = self._encoded

    def start(self) -> None:
        """Begin to tell the other replicas."""
        if self._shared is not None:
            self._reporting = asyncio.create_task(self._report_regularly(self._shared))

    async def aclose(self) -> None:
        """Tell them no more."""
        if self._reporting is not None and self._shared is not None:
            self._reporting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reporting
            await self._shared.withdraw(self._id)

    async def response(self) -> StatusResponse:
        """What is shown: of all processes, by whichever way there is to them."""
        scope: Literal["fleet", "workers", "process"] = "process"
        reports: dict[str, ProcessReport] = {}
        encoded = None if self._shared is None else await self._shared.read(self._clock())
        if encoded is not None:
            scope = "fleet"
        elif self._siblings is not None:
            scope, encoded = "workers", {str(number): one for number, one in (await self._siblings.ask(TOPIC)).items()}
        for one in (encoded or {}).values():
            with contextlib.suppress(ValueError):  # another release's, or not ours
                report = _read(one)
                reports[report.process.id] = report
        own = await self._report()
        reports[self._id] = own  # what it told the others is seconds old
        return StatusResponse(
            at=self._clock(),
            scope=scope,
            interval=INTERVAL,
            processes=sorted((one.process for one in reports.values()), key=lambda process: process.id),
            budgets=own.budgets,
            activity=merged([one.activity for one in reports.values()]),
        )

    async def _report_regularly(self, shared: SharedStatus) -> None:
        while True:
            try:
                await shared.publish(self._id, self._clock(), await self._encoded())
            except Exception:  # noqa: BLE001  what nobody thought of must not end the reports for good
                _log.exception("a fault of the proxy: the other replicas are not told how this one fares")
            await asyncio.sleep(INTERVAL)

    async def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(await self._report())

    async def _report(self) -> ProcessReport:
        core, rows = self._core, self._core.knowledge.rows.listings
        process = Process(
            id=self._id,
            version=__version__,
            started_at=self._started_at,
            draining=self._readiness.draining,
            redis="off" if core.link is None else core.link.state,
            memory_trusted=core.knowledge.trust.news_flowing,
            memory_bytes=core.memory.bytes + rows.bytes,
            memory_bytes_max=core.memory.limit + rows.limit,
            memory_pages=len(core.memory),
            flights=len(core.pages.queue),
            waiting=core.pages.queue.waiting,
            events={name: str(one.state) for name, one in core.events.subscriptions.items()},
            listeners=len(core.events.feed),
        )
        budgets = [
            Budget(
                credential=name,
                state=core.fetcher.hub_states[name],
                turns=standing.turns,
                turns_max=core.upstreams[name].shield.allowance.burst,
                under_way=standing.held,
                under_way_max=core.upstreams[name].shield.allowance.concurrency,
                pause_seconds=standing.pause.seconds,
                pause_cause=standing.pause.cause,
            )
            for name, standing in (await core.standings()).items()
        ]
        return ProcessReport(process, budgets, self.samples.activity())


def status_handlers(status: Status, settings: StatusSettings, operators: CurrentKey | None) -> list[HTTPRouteHandler]:
    """Handlers of the page and its JSON; none unless somebody may read them. ``operators``: their key does as well."""
    keys = [key for key in (current_key(settings, "status page's key"), operators) if key is not None]
    if not keys and not settings.open:
        return []

    @get_handler(JSON_PATH)
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not settings.open:
            hint = "Send the key of the status page (PROXY_STATUS_KEY) as Authorization: Bearer."
            require_key(request.headers, keys, hint)
        body = msgspec.json.encode(await status.response())
        return respond(request, 200, {"cache-control": "no-store"}, body)

    return [show, page_handler(PAGE_PATH, PageFile("status.html"))]
