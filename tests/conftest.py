"""Fixtures."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn.server
from hypothesis import HealthCheck, settings

from proxy.answer.encodings import Coding, encode
from tests.fleet import HubProcess, hub_process
from tests.processes import PATIENCE, send
from tests.support import KEY, RedisServer, started_redis

# How long an example takes is the machine's: also where Hypothesis does not see that this is CI.
settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@pytest.fixture
async def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The event loop's time, which passes only while there is nothing else to do: nobody waits for it.

    For what is about seconds, and would else be about how busy the machine is. Not for sockets and threads, which take
    real time.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    select, passed = loop._selector.select, 0.0  # type: ignore[attr-defined]  # typeshed knows of none

    def pass_at_once(timeout: float | None = None) -> list[Any]:
        nonlocal passed
        found: list[Any] = select(timeout if timeout is None else 0)
        passed += 0.0 if found else timeout or 0.0
        return found

    def now() -> float:
        return 1000.0 + passed

    monkeypatch.setattr(loop._selector, "select", pass_at_once)  # type: ignore[attr-defined]
    monkeypatch.setattr(loop, "time", now)
    return now


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
