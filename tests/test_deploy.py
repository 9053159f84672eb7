"""Dockerfile and compose file, without an engine: read, and what they would run is run by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.app import SHUTDOWN_TIMEOUT
from proxy.config.fields import fields
from proxy.settings import CacheSettings
from tests.processes import PATIENCE, eventually, get, running
from tests.support import ROOT, free_port

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def instruction(name: str) -> list[str]:
    """The arguments of all instructions of that name, in order."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def healthcheck() -> list[str]:
    (arguments,) = instruction("HEALTHCHECK")
    command: list[str] = json.loads(arguments.split("CMD ")[1])
    return command


def image_environment() -> dict[str, str]:
    pairs = (pair.split("=", 1) for line in instruction("ENV") for pair in line.split())
    return {name: value for name, value in pairs if name != "PATH"}


def test_the_image_is_slim_locked_and_not_root() -> None:
    assert all("-slim" in base for base in instruction("FROM"))
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert instruction("USER")[-1].isdigit()
    assert json.loads(instruction("CMD")[-1]) == ["generations-proxy", "serve"]


def test_what_the_image_copies_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in instruction("COPY"):
        if not line.startswith("--from"):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source.removeprefix('./')}" in [entry.rstrip("/") for entry in ignored]


def test_a_process_may_have_the_memory_that_it_needs() -> None:
    """At most, and something beside for what is under way: else whoever limits it kills it under load."""
    readme = (ROOT / "README.md").read_text()
    (needed,) = re.findall(r"needs at most about (\d+) MiB and ([\d.]+) times `memory_bytes`", readme)
    mebibytes = float(needed[0]) + float(needed[1]) * CacheSettings().memory_bytes / 2**20
    assert mebibytes > max(map(int, re.findall(r"^\| a header that means nothing \| (\d+) \|$", readme, re.MULTILINE)))
    manifests = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "deployment.yaml").read_text())
    (pod,) = (one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment")
    resources = pod["containers"][0]["resources"]
    assert int(resources["requests"]["memory"].removesuffix("Mi")) >= mebibytes - 2
    limit = int(resources["limits"]["memory"].removesuffix("Mi"))
    assert limit >= 1.5 * mebibytes
    for name in ("proxy-a", "proxy-b"):
        assert int(COMPOSE["services"][name]["mem_limit"].removesuffix("m")) == limit


def test_the_lock_holds_every_dependency_with_hashes() -> None:
    pinned = re.findall(
        r"^([a-z0-9-]+)==[^ ]+ (?:; [^\\]+)?\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", LOCK, re.MULTILINE
    )
    assert len(pinned) == len(re.findall(r"^[a-z0-9-]+==", LOCK, re.MULTILINE))
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert declared
    assert set(re.findall(r'"([a-z-]+)', declared[1])) <= set(pinned)


@pytest.mark.parametrize("name", ["httpx", "litestar", "redis", "uvicorn"])
def test_what_the_proxy_knows_from_the_inside_is_not_taken_in_just_any_release(name: str) -> None:
    """A plain pip install goes without the lock."""
    assert re.search(rf'^  "{name}>=[0-9.]+,<[0-9.]+",', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_compose_names_what_exists() -> None:
    services = COMPOSE["services"]
    proxy = services["proxy-a"]
    assert services["proxy-b"] == proxy
    variables = {field.variable for field in fields()}
    assert set(proxy["environment"]) <= variables
    assert proxy["environment"]["OXEN_API_KEY_FILE"] == "/run/secrets/" + proxy["secrets"][0]
    assert set(proxy["secrets"]) == set(COMPOSE["secrets"])
    assert set(proxy["depends_on"]) <= set(COMPOSE["services"])
    assert proxy["environment"]["REDIS_URL"].split("/")[2].split(":")[0] in COMPOSE["services"]
    assert proxy["environment"]["PROXY_REDIS_PASSWORD_FILE"] == "/run/secrets/redis_password"
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "nothing beyond this machine"
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].replace("./", "/") in (ROOT / ".gitignore").read_text().split()


def test_compose_gives_the_drain_its_time() -> None:
    defaults = {field.variable: field.default for field in fields()}
    needed = defaults["PROXY_SERVER_DRAIN_DELAY"] + defaults["PROXY_SERVER_SHUTDOWN_TIMEOUT"] + SHUTDOWN_TIMEOUT  # type: ignore[operator]
    assert float(COMPOSE["services"]["proxy-a"]["stop_grace_period"].removesuffix("s")) > needed
    assert f"at most {SHUTDOWN_TIMEOUT:g} s later" in " ".join((ROOT / "README.md").read_text().split())


def test_no_log_of_a_container_fills_the_disk() -> None:
    """Docker's default driver keeps all of it, and there is a line for each request."""
    for service in COMPOSE["services"].values():
        options = service["logging"]["options"]
        assert (service["logging"]["driver"], int(options["max-file"])) == ("local", 3)
        assert re.fullmatch(r"\d+m", options["max-size"])


def test_compose_observes_only_if_asked_to() -> None:
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert {name for name, given in profiles.items() if given == ["observability"]} == {"prometheus", "grafana"}
    assert {name for name, given in profiles.items() if not given} == {"proxy-a", "proxy-b", "balancer", "redis"}


def test_prometheus_and_the_balancer_know_both_replicas() -> None:
    for file in ("prometheus/prometheus.yml", "haproxy/haproxy.cfg"):
        named = set(re.findall(r"\b(proxy-\w+):8080", (ROOT / "deploy" / file).read_text()))
        assert named == {name for name in COMPOSE["services"] if name.startswith("proxy-")}


def test_the_examples_policy_lets_its_own_script_run() -> None:
    page = (ROOT / "deploy" / "examples" / "browser.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    assert base64.b64encode(hashlib.sha256(script).digest()).decode() in page.decode().partition("<style>")[0]


def test_the_healthcheck_succeeds_only_while_it_serves() -> None:
    """Healthy while it serves, unhealthy without it; whatever proxy Docker's client has put into the environment."""
    port, elsewhere = str(free_port()), f"http://127.0.0.1:{free_port()}"
    given = {"PROXY_PORT": port, "http_proxy": elsewhere, "HTTP_PROXY": elsewhere, "no_proxy": ""}
    environment = {**os.environ, **image_environment(), **given}
    command = [sys.executable, *healthcheck()[1:]]
    assert subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=False).returncode != 0
    with running("serve", OXEN_API_KEY="x", PROXY_PORT=port):
        eventually(lambda: get(f"http://127.0.0.1:{port}/health/live")[0] == 200)
        assert subprocess.run(command, env=environment, timeout=PATIENCE, check=False).returncode == 0


@pytest.mark.slow
def test_the_images_installation_works_by_hand(tmp_path: Path) -> None:
    """The RUN lines of the build stage, in a folder that holds only what COPY brings."""
    source, venv = tmp_path / "src", tmp_path / "venv"
    source.mkdir()
    for name in ("requirements.lock", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["cp", "-r", ROOT / "proxy", source], check=True)
    build_stage = DOCKERFILE.split("FROM")[1]
    commands = [line.replace("/venv", str(venv)) for line in re.findall(r"^RUN (.*)$", build_stage, re.MULTILINE)]
    commands[0] = commands[0].replace("python", sys.executable, 1)
    assert len(commands) == 3
    for command in commands:
        subprocess.run(command.split(), cwd=source, check=True, timeout=300, capture_output=True)
    done = subprocess.run(
        [venv / "bin" / "generations-proxy", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "generations-proxy" in done.stdout
