"""Fixtures."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import uvicorn.server
from hypothesis import settings

from proxy.answer.encodings import Coding, encode
from tests.fleet import HubProcess, hub_process
from tests.processes import PATIENCE, send
from tests.support import KEY, RedisServer, started_redis

# How long an example takes is the machine's: also where Hypothesis does not see that this is CI.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def servers_end_promptly() -> Iterator[None]:
    """Servers in this process look twenty times as often whether they are to end.

    uvicorn sleeps 0.1 s between looks, and once more when it ends: with two servers each, hundreds of tests would
    spend more time on that than on what they show.
    """
    hasty = SimpleNamespace(**{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(seconds / 20)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", hasty)
        yield


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis server for tests that leave it running."""
    with started_redis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A real Redis server for one test, which may do to it what it likes."""
    with started_redis() as server:
        yield server


@pytest.fixture(scope="session")
def simulate() -> Iterator[HubProcess]:
    """A simulator in a process of its own, on which the world stands still."""
    with hub_process() as it:
        yield it
        it.process.send_signal(signal.SIGINT)
        assert it.process.wait(PATIENCE) == 0


@pytest.fixture
def hub(simulate: HubProcess) -> str:
    """The URL of the simulator, which is as it was at first."""
    simulate.faults()
    simulate.clear()
    send(f"{simulate.url}/_simulator/key", "PUT", {"api_key": KEY})
    return simulate.url


@pytest.fixture
def variants_made(monkeypatch: pytest.MonkeyPatch) -> list[Coding]:
    """The coding of each variant that is made from now on."""
    made: list[Coding] = []

    def counting(body: bytes, coding: Coding) -> bytes:
        made.append(coding)
        return encode(body, coding)

    monkeypatch.setattr("proxy.known.encoder.encode", counting)
    return made
