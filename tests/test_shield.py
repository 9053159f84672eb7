"""Turns at the hub: in order, no more at once than allowed, over all replicas, and given back at their end."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.refusals import GaveWay
from proxy.redis.allotment import allotted, current_allotment
from proxy.redis_keys import NOBODYS
from tests.shield_fixture import Held, Switch, both, go, holding, server_of, shield


@both
@pytest.mark.usefixtures("virtual_time")
async def test_turns_come_in_order_and_no_more_at_once_than_allowed(server: str | None) -> None:
    one = shield(server_of(server))
    held = await holding(one, 2)
    order: list[int] = []

    async def caller(number: int) -> None:
        async with one.turn(5.0):
            order.append(number)

    waiting = []
    for number in range(5):
        waiting.append(asyncio.create_task(caller(number)))
        await asyncio.sleep(0.01)
    assert order == []
    await held[0].end()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    await held[1].end()
    await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_room_made_by_another_replica_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that leaves tells; the other, first in line, does not wait for its own look."""
    monkeypatch.setattr("proxy.admission.queue.ROOM_CHECK", 60.0)
    server = fakeredis.FakeServer()
    here, there = shield(server), shield(server)
    subscription = fakeredis.FakeAsyncRedis(server=server).pubsub()
    await subscription.subscribe(NOBODYS.news)
    held = await holding(there, 2)
    waiting = Held(here)
    await asyncio.sleep(0.05)
    assert not waiting.begun.is_set()
    await held[0].end()
    async with asyncio.timeout(2):
        while (message := await subscription.get_message(timeout=1)) is None or message["type"] != "message":
            pass
    assert message["data"] == b"room gp1:{g}"
    here.make_room(b"gp1:{g}")
    async with asyncio.timeout(2):
        await waiting.begun.wait()
    await waiting.end()
    await held[1].end()
    await subscription.aclose()  # type: ignore[no-untyped-call]
    for one in (here, there):
        await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_leaving_comes_after_the_answer_unless_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admission.shield.RELEASE_DELAY", 1.0)
    one = shield(fakeredis.FakeServer())
    held = await holding(one, 2)
    waiting = Held(one)
    await asyncio.sleep(0.02)
    await held[0].end()
    async with asyncio.timeout(0.9):
        await waiting.begun.wait()
    await waiting.end()
    await held[1].end()
    assert (await one.standing()).held == 2
    await one.drain(5)
    assert (await one.standing()).held == 0


async def test_a_turn_is_given_back_in_no_callers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis may have cost a caller all of that by then, and what is cut short leaves the slot taken."""
    left: list[float] = []
    call = Switch.call

    async def noting(self: Switch, command: str, how: Any, **named: Any) -> Any:
        if command == "gate_release":
            left.append(current_allotment().left(1.0))
        return await call(self, command, how, **named)

    monkeypatch.setattr(Switch, "call", noting)
    one = shield(fakeredis.FakeServer())
    with allotted():
        current_allotment().charge(10.0)
        await go(one)
        await one.drain(1)
    assert left == [1.0]


async def test_a_probe_that_was_answered_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admission.shield.RELEASE_DELAY", 9.0)
    one = shield(fakeredis.FakeServer())
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("x", retry_after=0.05))
    await asyncio.sleep(0.06)
    await go(one)
    assert await one.drain(1) == 0
    assert (await one.standing()).pause.strikes == 0


@both
async def test_turns_for_later_are_waited_for(server: str | None) -> None:
    one = shield(server_of(server), Allowance(rate=50.0, burst=1, concurrency=5))
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(go(one) for _ in range(4)))
    assert asyncio.get_running_loop().time() - began > 0.05
    await one.drain(1)


@both
async def test_refreshing_ahead_gives_way(server: str | None) -> None:
    one = shield(server_of(server), Allowance(1e6, 1e6, 2))
    (held,) = await holding(one, 1)
    with pytest.raises(GaveWay):
        await go(one, ahead=True)
    await go(one)
    await held.end()
    await one.drain(1)
    await go(one, ahead=True)
    await one.drain(1)


async def test_all_replicas_share_budget_and_cooldown() -> None:
    server = fakeredis.FakeServer()
    replicas = [shield(server, Allowance(rate=0.001, burst=6, concurrency=5)) for _ in range(3)]
    for one in replicas * 2:
        await go(one, patience=0.0)
        await one.drain(1)  # slots are given back a little later
    for one in replicas:
        with pytest.raises(errors.HubBusy):
            await go(one)
        await one.drain(1)
    others = fakeredis.FakeServer()
    replicas = [shield(others) for _ in range(3)]
    with pytest.raises(errors.HubRateLimited):
        await go(replicas[0], errors.HubRateLimited("429", retry_after=60.0))
    for one in replicas:
        with pytest.raises(errors.HubRateLimited):
            await go(one)


async def test_who_asks_while_nobody_waits_does_not_wait_for_the_answers_to_others() -> None:
    """One after the other, forty callers at a Redis of 10 ms would wait 400 ms for the last one's turn."""
    one = shield(fakeredis.FakeServer(), Allowance(1e6, 1e6, 40))
    asking = most = 0
    answers = asyncio.Event()
    assert one._gates._shared is not None
    admit = one._gates._shared.admit

    async def slowly(*arguments: Any, **named: Any) -> Any:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await answers.wait()
        asking -= 1
        return await admit(*arguments, **named)

    one._gates._shared.admit = slowly  # type: ignore[method-assign]
    callers = [asyncio.create_task(go(one)) for _ in range(40)]
    await asyncio.sleep(0.01)
    answers.set()
    await asyncio.gather(*callers)
    assert most == 40
    await one.drain(1)


async def test_a_fault_of_ours_frees_the_slot_and_says_nothing_of_the_hub() -> None:
    one = shield(None, Allowance(1e6, 1e6, 1))
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            async with one.turn(1.0):
                raise ZeroDivisionError
    await go(one)
    await one.drain(1)


async def test_a_long_request_keeps_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admission.shield.SLOT_SECONDS", 0.04)
    clock = itertools.count()
    one = shield(None, Allowance(1e6, 1e6, 1), clock=lambda: next(clock) * 0.001)
    (held,) = await holding(one, 1)
    renewed = one._gates._local._slots.copy()
    async with asyncio.timeout(5):
        while one._gates._local._slots == renewed:
            await asyncio.sleep(0.005)
    await held.end()
    await one.drain(1)
