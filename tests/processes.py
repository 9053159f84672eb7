"""Commands in processes of their own, and waiting for what they do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proxy.commands.sockets import LOOPBACK
from tests.support import KEY, ROOT, free_port

COMMAND = [sys.executable, "-m", "proxy"]
PATIENCE = 60.0
"""Seconds in which anything comes about, also where several processes start on a machine that is busy."""
_NOT_INHERITED = ("PROXY_", "OXEN_", "REDIS_", "PYTHONDONTWRITEBYTECODE")


def environment(**given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return {**kept, "PYTHONUNBUFFERED": "1", **given}


def run(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=ROOT,
    )


@contextmanager
def running(*arguments: str, output: int = subprocess.PIPE, **given: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(**given),
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def get(url: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def send(url: str, method: str, data: Any = None) -> None:
    request = urllib.request.Request(url, data=json.dumps(data).encode(), method=method)
    with urllib.request.urlopen(request, timeout=20):
        pass


def eventually(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if look():
                return
        time.sleep(0.02)
    pytest.fail("did not come about in time")


def is_ready(url: str) -> bool:
    return get(f"{url}/health/ready")[0] == 200


@contextmanager
def serving(
    hub: str, *arguments: str, output: int = subprocess.PIPE, **given: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    settings = {"OXEN_HUB_URL": hub, "OXEN_API_KEY": KEY, "PROXY_PORT": str(port), **given}
    with running("serve", *arguments, output=output, **settings) as process:
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: is_ready(url))
        yield url, process
