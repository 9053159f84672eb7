"""``/metrics``: what an operator's alarm has to know, in Prometheus' text format; read when it is scraped.

Each process speaks for itself: with several workers behind one port, a scrape gets one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from proxy.errors import HubRefusedCredential
from proxy.fetch import Fetcher, Upstream
from proxy.redis_link import RedisLink
from proxy.web.reading import reading, respond

METRICS_PATH: Final = "/metrics"
PREFIX: Final = "generations_proxy"


def metrics_handler(fetcher: Fetcher, upstreams: Mapping[str, Upstream], redis: RedisLink | None) -> HTTPRouteHandler:
    """The handler of ``/metrics``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(fetcher, upstreams, redis))

    @reading(METRICS_PATH)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        headers = {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"}
        return respond(request, 200, headers, generate_latest(registry))

    return metrics


class _Metrics(Collector):
    """Labels are bounded: the names of credentials are the operator's, kinds of faults are redis-py's classes."""

    def __init__(self, fetcher: Fetcher, upstreams: Mapping[str, Upstream], redis: RedisLink | None) -> None:
        self._fetcher = fetcher
        self._upstreams = upstreams
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        refused = GaugeMetricFamily(
            f"{PREFIX}_credential_refused", "1 if the hub refused this token when last asked.", labels=["credential"]
        )
        for name, state in self._fetcher.hub_states.items():
            refused.add_metric([name], state == HubRefusedCredential.type)
        yield refused
        requests = CounterMetricFamily(
            f"{PREFIX}_hub_requests", "Requests sent to the hub, answered or not.", labels=["credential"]
        )
        for name, upstream in self._upstreams.items():
            requests.add_metric([name], upstream.hub.requests)
        yield requests
        if self._redis is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_redis_up", "1 if Redis answered when last asked.", value=self._redis.state == "up"
            )
            faults = CounterMetricFamily(f"{PREFIX}_redis_faults", "Faults of Redis.", labels=["call", "fault"])
            for kind, times in self._redis.faults.items():
                call, _, fault = kind.partition(": ")
                faults.add_metric([call, fault], times)
            yield faults
