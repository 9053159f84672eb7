"""Alerts and dashboard: held against what the proxy exports, and run by a real Prometheus before a running demo."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.commands.sockets import LOOPBACK
from proxy.web.telemetry.metrics import METRICS_PATH
from tests.processes import PATIENCE, eventually, get, running
from tests.support import ROOT, free_port, rig

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/generations-proxy.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {name} on PATH")
    return found


async def test_every_metric_that_is_asked_for_is_exported() -> None:
    async with rig() as it:
        await it.get()
        families = list(text_string_to_metric_families((await it.caller.get(METRICS_PATH)).text))
    exported = {sample.name for family in families for sample in family.samples}
    exported |= {f"{family.name}_total" for family in families if family.type == "counter"}
    asked = [expression for _, expression in QUERIES] + [rule["expr"] for rule in RULES]
    named = {name for expression in asked for name in re.findall(r"\b(?:generations_proxy|process)_\w+", expression)}
    assert len(named) > 15
    assert named <= exported


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        places |= cells
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["datasources"][0]["uid"]}


def test_every_fault_that_needs_somebody_has_its_alert() -> None:
    about = " ".join(rule["expr"] for rule in RULES)
    for metric in ("credential_refused", 'cause="failing"', "limited", "redis_state", "served_age", "memory_trusted"):
        assert metric in about
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.slow
def test_promtool_takes_the_rules_and_each_alert_is_tested() -> None:
    tool = binary("promtool")
    for what in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([tool, *what], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = (PROMETHEUS / "alerts_test.yml").read_text()
    assert {rule["alert"] for rule in RULES} <= set(re.findall(r"alertname: (\w+)", alerts)), "each is tested"


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """A real one with the configuration of ``deploy``, which scrapes this target every second."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (directory / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"{LOOPBACK}:{free_port()}"
    options = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with subprocess.Popen(
        [binary("prometheus"), *options, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: get(f"http://{address}/-/ready")[0] == 200)
            yield f"http://{address}"
        finally:
            process.kill()


def asked(url: str, expression: str) -> list[float]:
    query = urllib.parse.urlencode({"query": expression.replace("$__rate_interval", "8s")})
    status, _, body = get(f"{url}/api/v1/query?{query}")
    answer = json.loads(body)
    assert status == 200, answer
    return [float(series["value"][1]) for series in answer["data"]["result"]]


@pytest.mark.slow
def test_every_panel_has_data_of_a_running_demo(tmp_path: Path) -> None:
    port = free_port()
    with (
        running("demo", "--port", str(port), output=subprocess.DEVNULL),
        prometheus(tmp_path, f"{LOOPBACK}:{port}") as url,
    ):
        eventually(lambda: get(f"http://{LOOPBACK}:{port}/health/ready")[0] == 200)
        pending = list(QUERIES)
        until = time.monotonic() + PATIENCE
        while pending and time.monotonic() < until:
            time.sleep(1)
            pending = [one for one in pending if not any(math.isfinite(value) for value in asked(url, one[1]))]
        assert not pending, "panels without data"
        eventually(lambda: asked(url, "sum(rate(generations_proxy_requests_total[$__rate_interval]))")[0] > 10)
        rules = json.loads(get(f"{url}/api/v1/rules")[2])["data"]["groups"][0]["rules"]
        assert len(rules) == len(RULES)
        assert {(rule["health"], rule["state"]) for rule in rules} == {("ok", "inactive")}
