"""One frozen event for each request, and the log line that is made of it; metrics and spans are made elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from litestar.types import HTTPScope
from msgspec import Struct
from msgspec.json import encode

from proxy.answer.outcome import Miss
from proxy.hub.stream import EVENTS_PATH
from proxy.log_format import LogEvent
from proxy.questions.question import LIST_PATH, QUEUE_PATH
from proxy.text_cache import text_cache
from proxy.tracing import Trace
from proxy.web.state import RequestState

ACCESS: Final = "proxy.access"
"""The logger of requests."""
FILTERS: Final = 1024
"""Combinations of filters whose names are remembered."""
MAX_SHARED: Final = 4096
"""Of what requests have in common, that is remembered."""
_log: Final = logging.getLogger(ACCESS)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

Endpoint: TypeAlias = Literal[
    "list", "generation", "queue", "queued", "events", "health", "metrics", "schema", "admin", "status", "other"
]
"""What is asked for, of a bounded number: labels are made of it."""
_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    LIST_PATH: "list",
    QUEUE_PATH: "queue",
    EVENTS_PATH: "events",
    "/metrics": "metrics",
    "/status": "status",
    "/status.json": "status",
}
_BELOW: Final[Mapping[str, Endpoint]] = {
    f"{LIST_PATH}/": "generation",
    f"{QUEUE_PATH}/": "queued",
    "/health/": "health",
    "/schema/": "schema",
    "/admin/": "admin",
}


class RequestInfo(Struct, frozen=True, gc=False):
    """Who asked what: what many requests have in common, and share (``request_info``).

    Attributes:
        method: of the request; ``other`` for one that HTTP does not define.
        caller: who asked; ``-`` if that is not known, as one may be called ``none``.
        endpoint: what was asked for.
        path: of the request, shortened.
        listing: what the keys of the listing begin with, in Redis too; ``-`` if none was asked for.
        filters: of the listing, canonical; for operators, and not for the log, as they hold names.
        who, what: what the log shows of it, as JSON.
    """

    method: str
    caller: str
    endpoint: Endpoint
    path: str
    listing: str
    filters: str
    who: str
    what: str


class RequestEvent(LogEvent, frozen=True, gc=False):
    """A request that has been answered.

    Attributes:
        request_id: as in the answer's X-Request-Id; ``-`` for what is no HTTP and got none.
        info: who asked what.
        status: of the answer; 0 if the caller got none.
        outcome: ``hit``, ``stale``, ``miss``, ``joined``; an error's type; ``none`` for anything else.
        seconds: from the request's head to the answer's end.
        bytes: of the answer's body, as they were sent.
        age: seconds since the hub vouched for what was served; for what is asked for often, to a tenth.
        hub_seconds: that the hub took to answer, if it was asked by this process for this request.
        trace: where the request belongs, with tracing on.
    """

    request_id: str
    info: RequestInfo
    status: int
    outcome: str
    seconds: float
    bytes: int = 0
    age: float | None = None
    hub_seconds: float | None = None
    trace: Trace | None = None

    def shown(self) -> RequestLine:
        """For the log."""
        info = self.info
        listed = info.listing != "-"
        return RequestLine(
            event="request",
            id=self.request_id,
            method=info.method,
            caller=info.caller,
            path=info.path,
            status=self.status,
            outcome=self.outcome,
            ms=round(self.seconds * 1000, 2),
            bytes=self.bytes,
            listing=info.listing if listed else None,
            filters=_names(info.filters) if listed else None,
            age=None if self.age is None else round(self.age, 1),
            hub_ms=None if self.hub_seconds is None else round(self.hub_seconds * 1000, 1),
            trace=None if self.trace is None else self.trace.trace_id,
            span=None if self.trace is None else self.trace.span_id,
        )

    def members(self) -> str:
        """As JSON; what many requests share is encoded once for all of them, which takes a third of the time."""
        if self.age is None or self.hub_seconds is not None or self.trace is not None:
            return super().members()
        info = self.info
        return (
            f'"event":"request","id":"{self.request_id}",{info.who},"status":{self.status},"outcome":"{self.outcome}",'
            f'"ms":{self.seconds * 1000:.2f},"bytes":{self.bytes},{info.what}"age":{self.age:.1f}'
        )


class RequestLine(Struct, omit_defaults=True, gc=False):
    """A request as the log shows it: without the query's values, which may hold names; with its filters' names."""

    event: str
    id: str
    method: str
    caller: str
    path: str
    status: int
    outcome: str
    ms: float
    bytes: int
    listing: str | None = None
    filters: str | None = None
    age: float | None = None
    hub_ms: float | None = None
    trace: str | None = None
    span: str | None = None


@text_cache(MAX_SHARED)
def request_info(
    method: str, caller: str, endpoint: Endpoint, path: str, listing: str = "-", filters: str = ""
) -> RequestInfo:
    """The one that all requests share in which the same caller asks the same."""
    who = encode({"method": method, "caller": caller, "path": path})[1:-1].decode()
    what = "" if listing == "-" else encode({"listing": listing, "filters": _names(filters)})[1:-1].decode() + ","
    return RequestInfo(method, caller, endpoint, path, listing, filters, who, what)


@text_cache(FILTERS)
def _names(filters: str) -> str:
    """The names of filters, without their values."""
    return ",".join(pair.partition("=")[0] for pair in filters.split("&") if "=" in pair) or "-"


Sink: TypeAlias = Callable[[Sequence[RequestEvent]], None]
"""Is told of the requests that have been answered since it was told last, in their order."""


def log_requests(events: Sequence[RequestEvent]) -> None:
    """Log the events in the ordinary way; ``LogWriter.event_sink`` is cheaper."""
    if _log.isEnabledFor(logging.INFO):  # made by hand: the logger's own way looks for the line that called it
        for event in events:
            _log.handle(logging.LogRecord(_log.name, logging.INFO, "", 0, event, (), None))


def describe(scope: HTTPScope, state: RequestState, *, seconds: float, size: int) -> RequestEvent:
    """The event of a request, from what was noted on the way."""
    question, served, method, path = state.question, state.served, scope["method"], scope["path"]
    return RequestEvent(
        request_id=state.request_id,
        info=request_info(
            method if method in _METHODS else "other",
            state.caller,
            endpoint_of(path),
            shown_path(path),
            *(() if question is None else (question.listing, question.filters)),
        ),
        status=state.status,
        outcome=state.outcome if served is None else served.name,
        seconds=seconds,
        bytes=size,
        age=None if served is None else served.age,
        hub_seconds=served.hub_seconds if isinstance(served, Miss) else None,
        trace=state.trace,
    )


def endpoint_of(path: str) -> Endpoint:
    """What a path asks for."""
    if known := _ENDPOINTS.get(path):
        return known
    return next((name for prefix, name in _BELOW.items() if path.startswith(prefix)), "other")


def shown_path(path: str) -> str:
    """A caller's path as a log may hold it: short, printable, without spaces."""
    path = path[:100]
    if path.isascii() and path.isprintable() and " " not in path:
        return path
    return "".join(c if c.isprintable() and not c.isspace() else "?" for c in path)
