"""Prometheus' families, made of numbers that are kept elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX: Final = "generations_proxy"
Labels: TypeAlias = Any
"""A tuple of label values; mappings are invariant in their keys, and tuples differ in length."""


def gauge(name: str, text: str, labels: list[str], values: Mapping[Labels, float] | float) -> Metric:
    """What is so now, by the values of its labels; a plain number has none."""
    return _filled(GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels), values)


def counter(name: str, text: str, labels: list[str], values: Mapping[Labels, float] | float) -> Metric:
    """What has been counted since the start, likewise."""
    return _filled(CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Labels, float] | float) -> Metric:
    for key, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(key, float(value))
    return family
