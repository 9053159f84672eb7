"""Whose gate grants turns: all replicas' in Redis, or this process' own, with its share, while that is away."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance, Refused
from proxy.admission.gates import CROWDED_SECONDS, Gates
from proxy.admission.grant import Asker, Grant
from proxy.admission.refusals import GaveWay
from proxy.admission.shared_gate import SharedGate
from tests.shield_fixture import ALLOWANCE, Held, Switch, go, holding, look, shield, switch
from tests.support import Clock


@pytest.mark.parametrize("garbage", [False, True])
async def test_a_request_under_way_keeps_its_slot_of_all_replicas(*, garbage: bool) -> None:
    """Else more would be under way at once than the hub is to have, as soon as one takes longer than a slot lasts."""
    redis = fakeredis.FakeAsyncRedis()
    gates = Gates(ALLOWANCE, SharedGate(Switch(redis, 2.0)), gate_name=lambda: "gp1:{g}")
    grant = await gates.ask(Asker("ticket"), ALLOWANCE, 0.0, paid=None)
    assert isinstance(grant, Grant)
    if garbage:
        await redis.set("gp1:{g}:slots", "garbage")
    else:
        await redis.zadd("gp1:{g}:slots", {"ticket": 1.0})
    assert (await gates.standing()).held == 0
    await gates.renew(grant)
    assert (await gates.standing()).held == 1


async def test_processes_without_redis_keep_to_their_share() -> None:
    one = shield(None, Allowance(10.0, 8.0, 8), replicas=lambda: 2)
    assert (await one.standing()).turns == 4
    held = await holding(one, 4)
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0)
    for each in held:
        await each.end()
    await one.drain(1)


async def test_while_redis_is_away_each_keeps_to_its_share() -> None:
    one = shield(fakeredis.FakeServer(), Allowance(rate=0.004, burst=8, concurrency=8), replicas=lambda: 4)
    await go(one)
    switch(one, on=False)
    await go(one, patience=0.0)
    with pytest.raises(errors.HubBusy) as caught:
        await go(one)
    assert (caught.value.retry_after or 0) > 900, "a quarter of the rate, and no burst, which others may just have had"
    one = shield(fakeredis.FakeServer(), Allowance(1e6, 1e6, 8), replicas=lambda: 4)
    switch(one, on=False)
    held = await holding(one, 2)
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0)
    for each in held:
        await each.end()
    await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_where_others_hold_all_slots_an_answer_that_is_late_gives_none_besides() -> None:
    """On a busy machine one answer in some thousands is; what a process' share has would come on top of all."""
    server, clock = fakeredis.FakeServer(), Clock()
    here, there = shield(server, replicas=lambda: 2, agreeing=lambda: 2, clock=clock), shield(server)
    held = await holding(there, 2)
    waiting = Held(here)
    await asyncio.sleep(0.02)
    switch(here, on=False)
    here.make_room()
    await asyncio.sleep(0.02)
    assert not waiting.begun.is_set()
    clock.now += CROWDED_SECONDS
    async with asyncio.timeout(2.0):  # one who waits looks for itself four times a second
        await waiting.begun.wait()
    for each in (*held, waiting):
        await each.end()
    for one in (here, there):
        await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_a_slot_that_redis_holds_for_a_turn_that_is_over_is_used_while_it_is_away() -> None:
    """Else a busy process would leave the hub alone for half a second when Redis dies."""
    server, clock = fakeredis.FakeServer(), Clock()
    here = shield(server, replicas=lambda: 2, agreeing=lambda: 2, clock=clock)
    held = await holding(here, 2)
    waiting = Held(here)
    await asyncio.sleep(0.02)
    switch(here, on=False)
    for each in held:
        await each.end()
    async with asyncio.timeout(0.2):  # one who waits looks for itself four times a second
        await waiting.begun.wait()
    await waiting.end()
    await here.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_what_one_process_alone_holds_is_its_own() -> None:
    server, clock = fakeredis.FakeServer(), Clock()
    here, gone = shield(server, clock=clock), shield(server)
    held = await holding(gone, 2)  # of a process that has ended
    waiting = Held(here)
    await asyncio.sleep(0.02)
    switch(here, on=False)
    here.make_room()
    async with asyncio.timeout(0.2):
        await waiting.begun.wait()
    for each in (*held, waiting):
        await each.end()
    for one in (here, gone):
        await one.drain(1)


@pytest.mark.parametrize("by_a_look", [False, True])
async def test_that_there_is_no_slot_for_who_gives_way_says_nothing_of_callers(*, by_a_look: bool) -> None:
    """Half of the slots are left to them. What a look says of those counts as what the gate says."""
    server, clock = fakeredis.FakeServer(), Clock()
    here, there = shield(server, replicas=lambda: 2, agreeing=lambda: 2, clock=clock), shield(server)
    held = await holding(there, 2 if by_a_look else 1)
    if by_a_look:
        assert isinstance(here._gates.granted(await look(here)), Refused)
    else:
        with pytest.raises(GaveWay):
            await go(here, ahead=True)
    switch(here, on=False)
    if by_a_look:
        with pytest.raises(errors.HubBusy):
            await go(here, patience=0.01)
    else:
        await go(here, patience=0.01)
    for each in held:
        await each.end()
    for one in (here, there):
        await one.drain(1)
