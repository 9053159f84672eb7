"""How the application ends: leases first, everything under one deadline, and no fault keeps the rest from ending."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from proxy.settings import StatusSettings
from proxy.simulator import Simulator
from proxy.tasks.detached import Detached, drain_all
from tests.support import KEY as TOKEN
from tests.support import Clock, Gated, rig, still_world


def hub() -> Gated:
    clock = Clock()
    return Gated(Simulator(still_world(clock), api_key=TOKEN, clock=clock))


async def leases(redis: fakeredis.FakeAsyncRedis) -> list[bytes]:
    return [key async for key in redis.scan_iter("gp1:*:lease")]


async def test_leases_are_given_up_before_anything_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.app.DRAIN_TIMEOUT", 60.0)
    server, transport = fakeredis.FakeServer(), hub()
    redis = fakeredis.FakeAsyncRedis(server=server)
    ending = asyncio.Event()

    async def live() -> None:
        async with rig(redis=fakeredis.FakeAsyncRedis(server=server), transport=transport) as it:
            asking = asyncio.create_task(it.get("namespace=ox"))
            await transport.asked.wait()
            asking.cancel()
            await ending.wait()

    living = asyncio.create_task(live())
    async with asyncio.timeout(10):
        while not await leases(redis):
            await asyncio.sleep(0.001)
        ending.set()
        while await leases(redis):
            await asyncio.sleep(0.001)
        assert not living.done(), "the hub is still waited for"
        transport.answers.set()
        await living


async def test_a_fault_keeps_nothing_else_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = hub()
    transport.answers.set()
    closed: list[str] = []

    async def fail(*_: object) -> None:
        raise TypeError("a bug")

    async def note(link: object) -> None:
        closed.append(type(link).__name__)

    monkeypatch.setattr("proxy.web.status.Status.aclose", fail)
    monkeypatch.setattr("proxy.events.events.Events.aclose", fail)
    monkeypatch.setattr("proxy.redis.link.RedisLink.aclose", note)
    with pytest.raises(ExceptionGroup):  # Litestar runs the lifespan in a group of tasks
        async with rig(redis=fakeredis.FakeAsyncRedis(), transport=transport, status=StatusSettings(open=True)) as it:
            await it.get("namespace=ox")
    assert transport.closed
    assert closed == ["RedisLink"]


async def test_parts_share_one_deadline() -> None:
    holders = [Detached() for _ in range(20)]
    never = asyncio.Event()
    for one in holders:
        one.spawn(never.wait())
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await drain_all(0.1, *holders) == len(holders)
    assert loop.time() - began < 1.5
    never.set()
    assert await drain_all(5, *holders) == 0
