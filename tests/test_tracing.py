"""W3C trace contexts: strictly read, continued, passed to the hub; and the spans that OpenTelemetry is given."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from proxy import tracing
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.settings import TracingSettings
from proxy.simulator import Fault
from proxy.web.telemetry import spans
from tests.support import LIST, Rig, rig

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{CALLER}-01"
ON = TracingSettings(enabled=True)


def test_a_valid_context_is_continued() -> None:
    trace = tracing.begin([GIVEN], 0.0)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, CALLER, True)
    assert trace.span_id not in (CALLER, "0" * 16)
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"
    below = trace.child()
    assert (below.trace_id, below.parent_id) == (TRACE, trace.span_id)
    assert not tracing.begin([GIVEN[:-1] + "0"], 1.0).sampled, "the caller decides"
    assert tracing.begin([GIVEN[:-2] + "ff"], 0.0).traceparent.endswith("-01"), "flags nobody knows are not passed on"


@pytest.mark.parametrize(
    "given",
    [
        [],
        [GIVEN, GIVEN],
        [""],
        [GIVEN.upper()],
        [f" {GIVEN}"],
        [f"{GIVEN}\n"],
        [f"{GIVEN}-x"],
        [f"01{GIVEN[2:]}"],
        [f"ff{GIVEN[2:]}"],
        [f"00-{'0' * 32}-{CALLER}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [GIVEN.replace("4bf9", "\uff14bf9")],
        [GIVEN[:-1]],
        [GIVEN.replace("-", "_")],
    ],
)
def test_anything_else_begins_a_trace_of_our_own(given: list[str]) -> None:
    trace = tracing.begin(given, 1.0)
    assert trace.parent_id is None
    assert trace.trace_id != TRACE
    assert trace.sampled
    assert not tracing.begin(given, 0.0).sampled


@given(st.text(max_size=80))
def test_nothing_that_is_given_comes_out_but_ids(given: str) -> None:
    out = tracing.begin([given], 1.0).traceparent
    assert tracing.begin([out], 0.0).trace_id == out[3:35], "what is passed on is valid"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "OTLPSpanExporter", lambda: exporter)
    return exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def hub_saw(it: Rig) -> list[str | None]:
    return [request.headers.get("traceparent") for request in it.hub.journal.requests]


async def test_a_request_and_what_it_asked_of_the_hub_are_two_spans(exported: InMemorySpanExporter) -> None:
    async with rig(tracing=ON) as it:
        it.hub.faults.set(Fault(latency=0.01))
        answer = await it.get("page_size=5", traceparent=GIVEN, tracestate="vendor=secret-of-the-caller")
        sent = it.hub.journal.requests[-1].headers
    found = by_name(exported)
    server, client = found["GET list"], found["hub"]
    assert server.context is not None
    assert client.context is not None
    assert server.parent is not None
    assert client.parent is not None
    assert f"{server.context.trace_id:032x}" == f"{client.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == CALLER
    assert client.parent.span_id == server.context.span_id
    assert sent["traceparent"] == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert "tracestate" not in sent
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert (server.attributes or {})["generations_proxy.outcome"] == "miss"
    assert (server.end_time or 0) - (server.start_time or 0) >= 10_000_000
    assert server.resource.attributes["service.name"] == "generations-proxy"
    assert TRACE not in str(answer.headers)


async def test_what_is_not_sampled_is_not_sent_but_passed_on(exported: InMemorySpanExporter) -> None:
    async with rig(tracing=ON) as it:
        await it.get("page_size=5", traceparent=f"00-{TRACE}-{CALLER}-00")
        (seen,) = hub_saw(it)
    assert not exported.get_finished_spans()
    assert (seen or "").startswith(f"00-{TRACE}-")
    assert (seen or "").endswith("-00")


async def test_an_error_is_an_errors_span(exported: InMemorySpanExporter) -> None:
    async with rig(tracing=ON) as it:
        it.hub.faults.set(Fault(status=500))
        await it.get()
    found = by_name(exported)
    assert found["GET list"].status.description == found["hub"].status.description == "hub_failed"


async def test_callers_who_share_a_request_are_traced_each(exported: InMemorySpanExporter) -> None:
    async with rig(tracing=ON) as it:
        it.hub.faults.set(Fault(latency=0.05))
        await asyncio.gather(*(asyncio.create_task(it.get("page_size=5")) for _ in range(3)))
        assert it.hub_requests == 1
    traces = {span.context.trace_id for span in exported.get_finished_spans() if span.context}
    assert len(traces) == 3
    assert len(exported.get_finished_spans()) == 4


async def test_without_tracing_nothing_of_a_callers_reaches_the_hub() -> None:
    async with rig() as it:
        await it.get(traceparent=GIVEN)
        assert hub_saw(it) == [None]
        assert it.events[0].trace is None


async def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """By OTLP over HTTP, as any collector takes it."""
    received: list[bytes] = []

    async def collector(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        received.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with listen(LOOPBACK, 0) as sock:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url_of(sock))
        async with serving(collector, sock), rig(tracing=ON) as it:
            await it.get("page_size=5", traceparent=GIVEN)
            await it.caller.get("/health/live")
        read = [ExportTraceServiceRequest.FromString(body) for body in received]
    names = {span.name for one in read for r in one.resource_spans for s in r.scope_spans for span in s.spans}
    assert names == {"GET list", "GET health", "hub"}


async def test_a_collector_that_cannot_be_reached_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5")  # it tries again once
    monkeypatch.setattr("proxy.app.DRAIN_TIMEOUT", 0.2)
    before = set(threading.enumerate())
    async with rig(tracing=ON) as it:
        began = asyncio.get_running_loop().time()
        assert (await it.caller.get(LIST)).status_code == httpx.codes.OK
    assert asyncio.get_running_loop().time() - began < 5
    for one in set(threading.enumerate()) - before:
        if one.name.startswith("Otel"):  # it would go on in the tests that come after this, and log there
            await asyncio.to_thread(one.join, 20)
            assert not one.is_alive()
