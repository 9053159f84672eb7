"""Histograms of our own are shown as prometheus-client's are."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client import Histogram as Reference
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from proxy.web.telemetry.families import PREFIX
from proxy.web.telemetry.tallies import Histogram

BOUNDS = (0.0001, 0.25, 1, 86_400)
VALUES = st.sampled_from([0.0, *BOUNDS]) | st.floats(0, 1e6)


@given(st.lists(st.tuples(st.sampled_from(["hit", "miss"]), VALUES)))
def test_a_histogram_is_shown_as_prometheus_client_shows_one(observed: list[tuple[str, float]]) -> None:
    ours = Histogram(BOUNDS, ["hit"])
    registry = CollectorRegistry()
    reference = Reference(f"{PREFIX}_seconds", "How long.", ["outcome"], buckets=BOUNDS, registry=registry)
    reference.labels("hit")
    for outcome, value in observed:
        ours[outcome].observe([value])
        reference.labels(outcome).observe(value)

    class Ours(Collector):
        def collect(self) -> Iterator[Metric]:
            yield ours.family("seconds", "How long.", "outcome")

    shown = CollectorRegistry()
    shown.register(Ours())
    expected = [line for line in generate_latest(registry).splitlines() if b"_created" not in line]
    assert generate_latest(shown).splitlines() == expected
