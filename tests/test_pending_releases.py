"""Slots that Redis could not be told are free, or of whose grant nothing was heard: they are given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.pending_releases import PendingReleases
from proxy.admission.shield import Shield
from tests.shield_fixture import Held, go, holding, link_of, shield, switch
from tests.support import Clock


async def left_without_redis(**named: Any) -> Shield:
    """One whose turn has ended while Redis could not be told."""
    one = shield(fakeredis.FakeServer(), **named)
    (held,) = await holding(one, 1)
    switch(one, on=False)
    await held.end()
    return one


async def test_a_turn_granted_before_redis_went_ends_well() -> None:
    one = await left_without_redis()
    await one.drain(1)
    for _ in range(4):
        await go(one)
    await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_a_slot_that_could_not_be_given_back_is_as_soon_as_redis_is_back() -> None:
    """Else it would take the place of a request, of any replica, for as long as a slot lasts."""
    server = fakeredis.FakeServer()
    here, there = shield(server), shield(server)
    held = await holding(here, 2)
    waiting = Held(there)
    switch(here, on=False)
    for each in held:
        await each.end()
    await asyncio.sleep(0.01)
    assert not waiting.begun.is_set()
    switch(here, on=True)
    async with asyncio.timeout(1.0):  # a slot lasts for 2 s
        await waiting.begun.wait()
    await waiting.end()
    for one in (here, there):
        assert await one.drain(1) == 0
    assert (await here.standing()).held == 0


@pytest.mark.usefixtures("virtual_time")
async def test_ending_does_not_wait_for_redis_to_be_back() -> None:
    one = await left_without_redis()
    async with asyncio.timeout(1.0):
        assert await one.drain(9.0) == 0


@pytest.mark.usefixtures("virtual_time")
async def test_a_slot_is_not_given_back_for_ever() -> None:
    clock = Clock(1000.0)
    one = await left_without_redis(clock=clock)
    await asyncio.sleep(0.05)
    assert one._gates._pending_releases._pending
    clock.advance(10.0)
    async with asyncio.timeout(1.0):
        while one._gates._pending_releases._retries._runs:
            await asyncio.sleep(0.01)
    assert not one._gates._pending_releases._pending


@pytest.mark.parametrize("takes", [(), ("b",), ("a", "b")])
async def test_one_slot_of_each_gate_finds_out_whether_redis_takes_them(takes: tuple[str, ...]) -> None:
    """A Redis that refuses is not asked for each of them ten times a second."""
    told: Counter[str] = Counter()

    async def tell(gate: str, _: str) -> bool:
        told[gate] += 1
        return gate in takes

    releases = PendingReleases(tell, clock=Clock())
    for number in range(40):
        releases.free("ab"[number % 2], str(number))
    await releases.drain(1.0)
    assert told == {gate: 20 if gate in takes else 1 for gate in "ab"}


@pytest.mark.parametrize("patience", [0.0, 0.01])
async def test_a_turn_that_was_granted_in_a_lost_answer_to_who_is_refused_is_given_back(patience: float) -> None:
    """This process' own gate has no more slots: without that one, as the whole of all replicas' are held."""
    one = shield(fakeredis.FakeServer(), Allowance(1e6, 1e6, 3), replicas=lambda: 3)
    link = link_of(one)
    (held,) = await holding(one, 1)
    link.lost = "gate_admit"
    with pytest.raises(errors.HubBusy):
        await go(one, patience=patience)
    link.lost = ""
    await one.drain(1)
    assert (await one.standing()).held == 1
    await held.end()
    await one.drain(1)


async def test_who_is_cancelled_while_redis_is_asked_leaves_nothing_behind() -> None:
    one = shield(fakeredis.FakeServer())
    link = link_of(one)
    link.hold_back("gate_admit")
    one._gates._pending_state.turns = 7
    asking = asyncio.create_task(go(one))
    await link.answered.wait()
    switch(one, on=False)
    asking.cancel()
    await asyncio.wait({asking})
    assert one._gates._pending_state.turns == 7, "what it was to tell is told by the next one"
    switch(one, on=True)
    assert (await one.standing()).held == 1
    await one.drain(1)
    assert (await one.standing()).held == 0
