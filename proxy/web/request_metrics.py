"""What is counted as it happens: callers' requests and the hub's answers.

Each label has a bounded number of values: endpoints and outcomes are the proxy's own words, statuses are the proxy's
or three digits of the hub's, credentials are named by the operator. The objects behind labels are looked up once
and kept, as a look-up costs several times what counting does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from proxy.hub import HubCall
from proxy.web.telemetry import RequestEvent

PREFIX: Final = "generations_proxy"
SERVED: Final = ("hit", "stale", "joined", "miss")
_FAST: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_HUB: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_AGES: Final = (0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 600, 3600, 86_400)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: when it began, which nobody asks


class RequestMetrics:
    """Two sinks, and the metrics that they fill."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            f"{PREFIX}_requests", "Requests answered.", ["endpoint", "outcome", "status"], registry=registry
        )
        self._seconds = Histogram(
            f"{PREFIX}_request_duration_seconds",
            "From a request's head to its answer's end; event streams are left out.",
            ["outcome"],
            buckets=_FAST,
            registry=registry,
        )
        self._ages = Histogram(
            f"{PREFIX}_served_age_seconds",
            "Seconds since the hub vouched for what was served.",
            ["outcome"],
            buckets=_AGES,
            registry=registry,
        )
        self._bytes = Counter(f"{PREFIX}_response_bytes", "Bytes of answers' bodies.", registry=registry)
        self._hub_requests = Counter(
            f"{PREFIX}_hub_requests",
            "Requests to the hub that have ended, by its status (none: no answer) and the error's type, if it is one.",
            ["credential", "status", "error"],
            registry=registry,
        )
        self._hub_seconds = Histogram(
            f"{PREFIX}_hub_request_duration_seconds",
            "How long the hub took to answer, or not to.",
            ["credential"],
            buckets=_HUB,
            registry=registry,
        )
        self._counting: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._timing = {name: self._seconds.labels(name).observe for name in (*SERVED, "other")}
        self._ageing = {name: self._ages.labels(name).observe for name in SERVED}
        self._hub_counting: dict[tuple[str, int, str], Callable[[], None]] = {}

    def note(self, event: RequestEvent) -> None:
        """Take in a request."""
        key = (event.endpoint, event.outcome, event.status)
        count = self._counting.get(key)
        if count is None:
            count = self._counting[key] = self._requests.labels(*key).inc
        count()
        if event.endpoint != "events":
            (self._timing.get(event.outcome) or self._timing["other"])(event.seconds)
        if event.age is not None:
            self._ageing[event.outcome](event.age)
        self._bytes.inc(event.bytes)

    def note_hub(self, call: HubCall) -> None:
        """Take in a request to the hub."""
        key = (call.credential, call.status, call.failure)
        count = self._hub_counting.get(key)
        if count is None:
            labels = (call.credential, str(call.status or "none"), call.failure)
            count = self._hub_counting[key] = self._hub_requests.labels(*labels).inc
        count()
        self._hub_seconds.labels(call.credential).observe(call.seconds)
