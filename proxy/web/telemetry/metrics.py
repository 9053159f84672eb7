"""``/metrics``, in Prometheus' text format: of all worker processes behind the port, whichever of them is asked.

With several, each sample carries the worker's number. Adding them up here would not do: the sum falls when a worker
is replaced, and Prometheus would take what is left of it for new requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from proxy.core import Core
from proxy.siblings import Siblings
from proxy.web.handlers import get_handler, respond
from proxy.web.health import Readiness
from proxy.web.telemetry.request_metrics import RequestMetrics
from proxy.web.telemetry.state_metrics import StateMetrics

METRICS_PATH: Final = "/metrics"
TOPIC: Final = "metrics"
"""What workers ask each other."""


class _Family(Struct, array_like=True):
    """A metric on its way between workers; samples are name, labels and value."""

    name: str
    text: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


class Metrics:
    """All metrics of this process.

    Attributes:
        requests: the sinks.
    """

    def __init__(self, core: Core, readiness: Readiness, siblings: Siblings | None = None) -> None:
        self._core = core
        self._siblings = siblings
        self._registry = CollectorRegistry(auto_describe=False)
        self.requests = RequestMetrics()
        self._state = StateMetrics(core, readiness)
        self._registry.register(self.requests)
        self._registry.register(self._state)
        ProcessCollector(registry=self._registry)
        if siblings is not None:
            siblings.answers[TOPIC] = self._encoded

    async def text(self) -> bytes:
        """What Prometheus reads."""
        if self._siblings is None:
            return generate_latest(_Fixed(await self._collected()))
        answers = await self._siblings.ask(TOPIC)
        return generate_latest(_Fixed(_merged(answers)))

    async def _collected(self) -> list[Metric]:
        standings = await self._core.standings()
        self._state.standings = standings
        return list(self._registry.collect())

    async def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(
            [
                _Family(one.name, one.documentation, one.type, [(s.name, s.labels, s.value) for s in one.samples])
                for one in await self._collected()
            ]
        )


class _Fixed(Collector):
    """Metrics that have been collected."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _merged(answers: dict[int, bytes]) -> Iterable[Metric]:
    """The families of all workers, each sample with its worker's number."""
    merged: dict[str, Metric] = {}
    for number, answer in answers.items():
        for family in msgspec.msgpack.decode(answer, type=list[_Family]):
            metric = merged.setdefault(family.name, Metric(family.name, family.text, family.kind))
            for name, labels, value in family.samples:
                metric.add_sample(name, {**labels, "worker": str(number)}, value)
    return merged.values()


def metrics_handler(metrics: Metrics) -> HTTPRouteHandler:
    """The handler of ``/metrics``."""

    @get_handler(METRICS_PATH)
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        headers = {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"}
        return respond(request, 200, headers, await metrics.text())

    return show
