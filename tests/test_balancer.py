"""The balancer and the Redis of ``deploy``, run by hand: no rolling restart and no lost replica loses anything."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis

from proxy.commands.sockets import LOOPBACK
from tests.fleet import HubProcess, Load, Replica, hub_process, load
from tests.processes import eventually, get
from tests.support import LIST, ROOT, free_port, redis_binary

pytestmark = pytest.mark.slow
DEPLOY = ROOT / "deploy"
PASSWORD = "Xq7-pw_of.redis"


def haproxy() -> str:
    found = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no haproxy on PATH")
    return found


@contextmanager
def redis_of_deploy(directory: Path) -> Iterator[tuple[str, Path]]:
    """Redis as compose starts it; its URL, and the file that holds the password."""
    if redis_binary() != shutil.which("redis-server"):
        pytest.skip("there is no redis-server on PATH")
    password, port = directory / "password", free_port()
    password.write_text(PASSWORD + "\n")
    given = {"CONFIGURATION": str(DEPLOY / "redis" / "redis.conf"), "PASSWORD_FILE": str(password)}
    options = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(directory)]
    command = ["sh", str(DEPLOY / "redis" / "start.sh"), *options]
    with subprocess.Popen(command, env={**os.environ, **given}, stdout=subprocess.DEVNULL) as process:
        try:
            client = redis.Redis(port=port, password=PASSWORD)
            eventually(lambda: _answers(client))
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert line.startswith(b"redis-server"), "it hears the SIGTERM of whoever ends the container"
            assert PASSWORD.encode() not in line
            yield f"redis://{LOOPBACK}:{port}/0", password
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _shares(replica: Replica) -> bool:
    return bool(replica.health()["redis"]["state"] == "up")


@dataclass
class Balanced:
    url: str
    hub: HubProcess
    replicas: list[Replica]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    tmp_path = tmp_path_factory.mktemp("balancer")
    with ExitStack() as stack:
        redis_url, password = stack.enter_context(redis_of_deploy(tmp_path))
        hub = stack.enter_context(hub_process())
        settings = {"REDIS_URL": redis_url, "PROXY_REDIS_PASSWORD_FILE": str(password), "PROXY_HUB_RATE": "1000"}
        settings["PROXY_STATUS_OPEN"] = "true"
        replicas = [Replica(hub.url, settings) for _ in range(2)]
        for replica in replicas:
            stack.callback(replica.close)
            replica.start(wait=False)
        for replica in replicas:
            eventually(partial(_shares, replica))
        port = free_port()
        config = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
        for name, where in (("proxy-a:8080", replicas[0].port), ("proxy-b:8080", replicas[1].port)):
            config = config.replace(name, f"{LOOPBACK}:{where}")
        (tmp_path / "haproxy.cfg").write_text(config.replace("bind :8080", f"bind {LOOPBACK}:{port}"))
        command = [haproxy(), "-f", str(tmp_path / "haproxy.cfg")]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        stack.callback(process.kill)
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: get(f"{url}/health/ready")[0] == 200)
        yield Balanced(url, hub, replicas)


def urls(it: Balanced) -> list[str]:
    return [f"{it.url}{LIST}?status=succeeded&page_size=5&page={page % 6 + 1}" for page in range(12)]


def requests(replica: Replica) -> float:
    counted = [line for line in get(f"{replica.url}/metrics")[2].decode().splitlines() if 'endpoint="list"' in line]
    return sum(float(line.split()[-1]) for line in counted)


def serves(replica: Replica) -> bool:
    """Whether the balancer has found that it does."""
    return requests(replica) > 10


async def under_load(it: Balanced, deed: str) -> Load:
    async with load(urls(it)) as seen:
        await asyncio.sleep(1)
        for replica in it.replicas:
            if deed == "restart":
                assert await asyncio.to_thread(replica.end, signal.SIGTERM) == 0
            else:
                await asyncio.to_thread(replica.end, signal.SIGKILL)
            await asyncio.to_thread(replica.start)
            await asyncio.to_thread(eventually, partial(serves, replica))
    return seen


@pytest.mark.parametrize("deed", ["restart", "loss"])
def test_callers_notice_nothing(it: Balanced, deed: str) -> None:
    """Each replica is told to stop and started again, or is lost without a word, while twelve callers ask."""
    seen = asyncio.run(under_load(it, deed))
    assert set(seen.statuses) == {200}
    assert seen.statuses[200] > 100


def test_the_status_page_of_any_replica_tells_of_both(it: Balanced) -> None:
    def told() -> bool:
        found = json.loads(get(f"{it.url}/status.json")[2])
        return bool(found["scope"] == "fleet" and len(found["processes"]) == 2)

    eventually(told)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/./metrics", "/api/../metrics"])
def test_metrics_are_not_to_be_had_through_it_however_they_are_spelled(it: Balanced, path: str) -> None:
    status, _, body = get(f"{it.url}{path}")
    assert (status, json.loads(body)["error"]["type"]) == (404, "resource_not_found")
    assert get(f"{it.replicas[0].url}/metrics")[0] == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/schema/openapi.json", "/status", "/status.json"])
def test_what_is_for_everybody_is_to_be_had_through_it(it: Balanced, path: str) -> None:
    assert get(f"{it.url}{path}")[0] == 200
