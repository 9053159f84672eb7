"""Histograms that cost a hit next to nothing: prometheus-client's own lock, and look at labels, at each value.

Nothing is locked here, as the event loop's thread both counts and reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from msgspec import Struct
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from proxy.web.telemetry.families import PREFIX


class Tally(Struct):
    """What was observed: how many values up to each bound, and above the last; and their sum."""

    bounds: Sequence[float]
    counts: list[int]
    sum: float = 0.0

    def observe(self, values: Sequence[float]) -> None:
        """Take in values: many cost less than each alone."""
        bounds, counts = self.bounds, self.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)


class Histogram(dict[str, Tally]):
    """Tallies by the value of one label."""

    def __init__(self, bounds: Sequence[float], known: Iterable[str] = ()) -> None:
        super().__init__()
        self._bounds = bounds
        for value in known:
            self[value]  # so that it is shown with nothing in it

    def __missing__(self, label: str) -> Tally:
        self[label] = tally = Tally(self._bounds, [0] * (len(self._bounds) + 1))
        return tally

    def family(self, name: str, text: str, label: str) -> Metric:
        """All of it, as Prometheus has it: counts are cumulative there."""
        family = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, tally in self.items():
            family.add_metric([value], list(zip(names, accumulate(tally.counts), strict=True)), tally.sum)
        return family
