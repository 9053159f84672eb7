"""What is counted as it happens: callers' requests and the hub's answers.

Each label has a bounded number of values: endpoints and outcomes are the proxy's own words, statuses are the proxy's
or three digits of the hub's, credentials are named by the operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from msgspec import Struct
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from proxy.hub.client import HubCall
from proxy.web.telemetry.event import RequestEvent
from proxy.web.telemetry.families import counter
from proxy.web.telemetry.tallies import Histogram, Tally

SERVED_OUTCOMES: Final = ("hit", "stale", "joined", "miss")
_FAST: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_HUB: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_AGES: Final = (0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 600, 3600, 86_400)
_LABELS: Final = attrgetter("info.endpoint", "outcome", "status")


class _Requests(Struct):
    """Requests with the same labels: how many, how long they took, and how old what they were served was."""

    seconds: Tally | None
    ages: Tally | None
    count: int = 0


class RequestMetrics(Collector):
    """Two sinks, and the metrics that they fill."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], _Requests] = {}
        self._seconds = Histogram(_FAST, (*SERVED_OUTCOMES, "other"))
        self._ages = Histogram(_AGES, SERVED_OUTCOMES)
        self._bytes = 0
        self._hub_requests: Counter[tuple[str, int, str]] = Counter()
        self._hub_seconds = Histogram(_HUB)

    def note(self, events: Sequence[RequestEvent]) -> None:
        """Take in requests."""
        for (endpoint, outcome, status), alike in groupby(events, _LABELS):
            requests = self._requests.get((endpoint, outcome, status)) or self._begin(endpoint, outcome, status)
            same = list(alike)
            requests.count += len(same)
            if requests.seconds is not None:
                requests.seconds.observe([event.seconds for event in same])
            if requests.ages is not None:
                requests.ages.observe([event.age for event in same if event.age is not None])
            self._bytes += sum([event.bytes for event in same])

    def _begin(self, endpoint: str, outcome: str, status: int) -> _Requests:
        """The first request of its kind."""
        seconds = None if endpoint == "events" else self._seconds[outcome if outcome in SERVED_OUTCOMES else "other"]
        ages = self._ages[outcome] if outcome in SERVED_OUTCOMES else None
        self._requests[endpoint, outcome, status] = requests = _Requests(seconds, ages)
        return requests

    def note_hub(self, call: HubCall) -> None:
        """Take in a request to the hub."""
        self._hub_requests[call.credential, call.status, call.failure] += 1
        self._hub_seconds[call.credential].observe([call.seconds])

    def collect(self) -> Iterator[Metric]:
        """Everything up to now."""
        found = self._requests.items()
        requests = {(endpoint, outcome, str(status or "none")): one.count for (endpoint, outcome, status), one in found}
        yield counter(
            "requests",
            "Requests answered; status none: the caller had gone.",
            ["endpoint", "outcome", "status"],
            requests,
        )
        text = "From a request's head to its answer's end; event streams are left out."
        yield self._seconds.family("request_duration_seconds", text, "outcome")
        text = "Seconds since the hub vouched for what was served."
        yield self._ages.family("served_age_seconds", text, "outcome")
        yield counter("response_bytes", "Bytes of answers' bodies.", [], self._bytes)
        asked = {
            (name, str(status or "none"), error or "none"): n for (name, status, error), n in self._hub_requests.items()
        }
        text = "Requests to the hub that have ended, by status (none: no answer) and the error's type (none: no error)."
        yield counter("hub_requests", text, ["credential", "status", "error"], asked)
        text = "How long the hub took to answer, or not to."
        yield self._hub_seconds.family("hub_request_duration_seconds", text, "credential")
