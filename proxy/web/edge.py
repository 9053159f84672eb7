"""The outermost layer: every request gets an id and ends in one event, also those the router refuses."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from proxy import tracing
from proxy.errors import RETRY_AFTER, HubBusy
from proxy.tracing import Trace
from proxy.web.health import Readiness
from proxy.web.problems import refusing_app
from proxy.web.state import REQUEST, RequestState, state_of
from proxy.web.telemetry.event import RequestEvent, Sink, describe, request_info

MAX_URI: Final = 32 * 1024
MAX_HEADERS: Final = 32 * 1024
"""Bytes of a request's path with its query, and of the lines of its header."""
LINE_OVERHEAD: Final = 4
"""Bytes of a line beside its name and value."""
ENDING_DETAIL: Final = "This process ends, and can wait for the hub no longer."
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
OnRefused: TypeAlias = Callable[[int, str], str]
"""Told of an answer, its status and error's type, that the server gives in the application's place; returns its id."""
Tracer: TypeAlias = Callable[[HTTPScope], Trace]
"""Says where a request belongs."""


def with_edge(
    app: ASGIApp, sinks: Sequence[Sink], readiness: Readiness, ids: Iterator[str], tracer: Tracer | None = None
) -> ASGIApp:
    """Wrap ``app``: adds ``X-Request-Id``, the next of ``ids``, to each answer and feeds ``sinks``.

    While draining, answers also carry ``Connection: close``, so that callers on kept-alive connections
    go to another replica before this one is gone.
    """

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = next(ids)
        scope.setdefault("state", {})[REQUEST] = state = RequestState(request_id)
        if tracer is not None:
            state.trace = tracer(scope)
            tracing.current.set(state.trace)  # the server runs each request in a context of its own
        size = 0

        async def sending(message: Message) -> None:
            nonlocal size
            if message["type"] == "http.response.start":
                state.status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode()), *state.headers]
                if readiness.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            elif message["type"] == "http.response.body":
                size += len(message["body"])
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            event = describe(scope, state, seconds=time.perf_counter() - began, size=size)
            for sink in sinks:
                sink((event,))

    return edge


def with_end(app: ASGIApp, readiness: Readiness) -> ASGIApp:
    """Wrap ``app``: what the server gives up as it ends is answered all the same, to come back."""
    give_up = refusing_app(503, HubBusy.type, HubBusy.title, ENDING_DETAIL, after=RETRY_AFTER)

    async def ended(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            # It cancels what outlives shutdown_timeout, and would answer 500; what is sent now still goes out.
            if scope["type"] != ScopeType.HTTP or not readiness.draining or state_of(scope).status:
                raise
            await give_up(scope, receive, send)

    return ended


def with_bounds(app: ASGIApp) -> ASGIApp:
    """Wrap ``app``: a head that is larger than any that makes sense, or names no host, is refused."""

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        unfit = _unfit(scope) if scope["type"] == ScopeType.HTTP else None
        await (unfit or app)(scope, receive, send)

    return bounded


def refused_by_server(sinks: Sequence[Sink], ids: Iterator[str]) -> OnRefused:
    """What makes an event of a request that never became one: no HTTP, too large a head, or one that never ended."""

    def refused(status: int, kind: str) -> str:
        request_id = next(ids)
        event = RequestEvent(request_id, request_info("other", "-", "other", "-"), status, kind, 0.0)
        for sink in sinks:
            sink((event,))
        return request_id

    return refused


def _unfit(scope: HTTPScope) -> ASGIApp | None:
    """What answers a request whose head is none that makes sense; None for all others."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URI:
        return refusing_app(414, "uri_too_long", "The URI is too long", f"At most {MAX_URI} bytes are read.")
    if sum(len(name) + len(value) + LINE_OVERHEAD for name, value in scope["headers"]) > MAX_HEADERS:
        return refusing_app(
            431, "headers_too_large", "The header is too large", f"At most {MAX_HEADERS} bytes are read."
        )
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or (scope["http_version"] == "1.1" and not hosts) or not all(map(_HOST.fullmatch, hosts)):
        detail = "Send one line Host: <host>[:<port>] (RFC 9112 §3.2)."
        return refusing_app(400, "bad_request", "The request names no host", detail)
    return None
