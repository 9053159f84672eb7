"""Spans of OpenTelemetry, made of what has happened: a server's span of each request, a client's of each to the hub.

The ids are given out when a request begins (``proxy.tracing``), as the hub is told of them; the spans are made when it
is over, all at once, and sent by the SDK's own thread. Where to, the standard variables say:
``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_SERVICE_NAME``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from litestar.types import HTTPScope
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context

from proxy import NAME, __version__, tracing
from proxy.hub.client import HubCall
from proxy.tracing import Trace
from proxy.web.telemetry.event import RequestEvent

_HEADER: Final = tracing.HEADER.encode()


class Spans:
    """Two sinks, and whatever sends what they make.

    Args:
        ratio: part of the traces that begin here which are kept; those that a caller began, it decides.
        exporter: in place of OTLP over HTTP.
    """

    def __init__(self, ratio: float, exporter: SpanExporter | None = None) -> None:
        self._ratio = ratio
        self._ids = _GivenIds()
        named = {"service.version": __version__}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            named["service.name"] = NAME
        self._provider = TracerProvider(resource=Resource.create(named), id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME, __version__)

    def begin(self, scope: HTTPScope) -> Trace:
        """The trace of a request that has just come."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
        return tracing.begin(given, self._ratio)

    def note(self, events: Sequence[RequestEvent]) -> None:
        """Make the spans of requests."""
        for event in events:
            self._note(event)

    def _note(self, event: RequestEvent) -> None:
        if event.trace is None or not event.trace.sampled:
            return
        info = event.info
        attributes: dict[str, str | int | float] = {
            "http.request.method": info.method,
            "http.response.status_code": event.status,
            "url.path": info.path,
            "enduser.id": info.caller,
            "generations_proxy.request_id": event.request_id,
            "generations_proxy.outcome": event.outcome,
            "generations_proxy.listing": info.listing,
        }
        if event.age is not None:
            attributes["generations_proxy.age"] = event.age
        failed = event.outcome if event.status >= 500 else ""
        self._make(f"{info.method} {info.endpoint}", event.trace, SpanKind.SERVER, event.seconds, attributes, failed)

    def note_hub(self, call: HubCall) -> None:
        """Make the span of a request to the hub."""
        if call.trace is None or not call.trace.sampled:
            return
        attributes: dict[str, str | int | float] = {
            "http.request.method": "GET",
            "http.response.status_code": call.status,
            "generations_proxy.credential": call.credential,
        }
        self._make("hub", call.trace, SpanKind.CLIENT, call.seconds, attributes, call.failure)

    async def aclose(self, timeout: float) -> None:
        """Send what is left, in at most ``timeout`` seconds; a collector that hangs is not waited for."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await closed.wait()

    def _make(
        self,
        name: str,
        trace: Trace,
        kind: SpanKind,
        seconds: float,
        attributes: Mapping[str, str | int | float],
        failed: str,
    ) -> None:
        ended = time.time_ns()
        self._ids.next = trace
        span = self._tracer.start_span(
            name, _under(trace), kind, attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        if failed:
            span.set_status(StatusCode.ERROR, failed)
        span.end(ended)


class _GivenIds(IdGenerator):
    """Ids that have been given out before; each span is made in one go, so there is but one at a time."""

    next: Trace

    def generate_trace_id(self) -> int:
        return int(self.next.trace_id, 16)

    def generate_span_id(self) -> int:
        return int(self.next.span_id, 16)


def _under(trace: Trace) -> Context:
    """The context that makes a span the child of the trace's parent."""
    if trace.parent_id is None:
        return Context()
    parent = SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())
