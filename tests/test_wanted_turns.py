"""Turns that a look into Redis brings with a question's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.shield import Shield
from proxy.redis.claims import WantedTurn
from tests.shield_fixture import LOOKED_FOR, Held, Switch, go, holding, look, shield, switch


async def lost_look(one: Shield) -> WantedTurn:
    """The same, with an answer that comes too late."""
    wanted = await look(one)
    wanted.answer = None
    return wanted


async def test_a_turn_that_a_look_has_brought_is_not_asked_for_again() -> None:
    one = shield(fakeredis.FakeServer())
    wanted = await look(one)
    assert (await one.standing()).held == 1
    switch(one, on=False)  # nobody is asked for it again
    async with one.turn(5.0, wanted=wanted):
        switch(one, on=True)
        assert (await one.standing()).held == 1
    await one.drain(1)
    assert (await one.standing()).held == 0


@pytest.mark.parametrize("how", [look, lost_look])
async def test_a_turn_that_is_of_no_use_is_given_back(how: Callable[[Shield], Awaitable[WantedTurn]]) -> None:
    one = shield(fakeredis.FakeServer())
    one.give_back(await how(one))
    await one.drain(1)
    assert (await one.standing()).held == 0


async def test_where_nobody_is_to_ask_the_hub_no_turn_is_taken() -> None:
    server = fakeredis.FakeServer()
    one = shield(server)
    await fakeredis.FakeAsyncRedis(server=server).set(f"{LOOKED_FOR.page_key}:lease", "another's")
    wanted = await look(one)
    assert wanted.answer is None
    assert (await one.standing()).held == 0
    one.give_back(wanted)
    await one.drain(1)  # else the turn may be taken first, and then given back
    async with one.turn(5.0, wanted=wanted):
        assert (await one.standing()).held == 1
    await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_a_look_that_finds_no_room_waits_in_line() -> None:
    one = shield(fakeredis.FakeServer())
    held = await holding(one, 2)
    late = Held(one, wanted=await look(one))
    await asyncio.sleep(0.02)
    assert not late.begun.is_set()
    assert one.wanted(5.0) is None, "those in line come first"
    await held[0].end()
    await late.begun.wait()
    await late.end()
    await held[1].end()
    await one.drain(1)
    assert (await one.standing()).held == 0


async def test_a_look_whose_turn_comes_later_waits_for_that() -> None:
    one = shield(fakeredis.FakeServer(), Allowance(rate=20.0, burst=1.0, concurrency=9))
    began = asyncio.get_running_loop().time()
    await go(one)
    await go(one, wanted=await look(one))
    assert asyncio.get_running_loop().time() - began >= 0.045
    await one.drain(1)


async def test_a_look_brings_no_turn_where_the_gate_is_to_be_told_or_asked_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shield().wanted(5.0) is None
    one = shield(fakeredis.FakeServer())
    switch(one, on=False)
    await go(one)
    assert one.wanted(5.0) is None, "this process' own gate grants turns"
    switch(one, on=True)
    await go(one)
    assert one.wanted(5.0) is not None
    monkeypatch.setattr(Switch, "whole", False)
    assert one.wanted(5.0) is None, "in a cluster, the gate and the page are in different slots"
    await one.drain(1)


@pytest.mark.usefixtures("virtual_time")
async def test_a_turn_that_was_lost_by_who_waited_in_vain_is_given_back() -> None:
    one = shield(fakeredis.FakeServer())
    wanted = await lost_look(one)
    (held,) = await holding(one, 1)
    waiting = Held(one)
    while not one._queue:
        await asyncio.sleep(0)
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0, wanted=wanted)
    async with asyncio.timeout(1.0):  # a slot lasts for 2 s
        await waiting.begun.wait()
    await waiting.end()
    await held.end()
    await one.drain(1)
    assert (await one.standing()).held == 0


@pytest.mark.parametrize("back", [True, False])
async def test_a_turn_that_was_granted_in_an_answer_that_is_lost_ends_with_the_one_in_its_place(*, back: bool) -> None:
    """Else each such answer would take a place of all replicas for as long as a slot lasts."""
    one = shield(fakeredis.FakeServer())
    wanted = await lost_look(one)
    switch(one, on=back)
    async with one.turn(5.0, wanted=wanted):
        switch(one, on=True)
        assert (await one.standing()).held == 1
    await one.drain(1)
    assert (await one.standing()).held == 0


async def test_a_failing_hub_is_told_once_of_a_turn_whose_grant_was_lost() -> None:
    """The process' own gate, which granted it, draws the conclusions; all replicas' only learns that it is over."""
    one = shield(fakeredis.FakeServer())
    wanted = await lost_look(one)
    switch(one, on=False)

    async def limited() -> None:
        async with one.turn(5.0, wanted=wanted):
            switch(one, on=True)
            raise errors.HubRateLimited("too many", retry_after=9.0)

    with pytest.raises(errors.HubRateLimited):
        await limited()
    await one.drain(1)
    standing = await one.standing()
    assert standing.held == 0
    assert standing.pause.strikes == 1, "others are told before anybody asks here again"
    assert standing.pause.seconds == pytest.approx(9.0, abs=1.0)
    assert not one._gates._pending_state.has_pause
