"""Turns for later: who came first has the one that is due first, and none is used long after its time."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.admission.delayed_turns import DelayedTurns
from proxy.admission.gate import Allowance, Gate
from proxy.admission.grant import MIN_GRACE, Grant
from tests.shield_fixture import Held, both, go, holding, server_of, shield, switch, tell_time
from tests.support import Clock, until


@pytest.mark.usefixtures("virtual_time")
async def test_who_came_first_has_the_turn_that_is_due_first() -> None:
    later, had = DelayedTurns[str](), list[tuple[int, str | None]]()

    async def wait(came: int, turn: str, seconds: float) -> None:
        had.append((came, await later.due(came, turn, seconds, 5.0)))

    await asyncio.gather(wait(2, "second", 0.01), wait(1, "last", 0.02), wait(0, "first", 0.0))
    assert had == [(0, "first"), (1, "second"), (2, "last")]
    assert not later


async def test_the_turn_of_who_is_gone_is_for_the_next() -> None:
    later = DelayedTurns[str]()
    gone, cancelled = (asyncio.create_task(later.due(came, f"{came}", 0.5, 0.01)) for came in (0, 1))
    stays = asyncio.create_task(later.due(2, "own", 0.5, 5.0))
    await asyncio.sleep(0)
    assert len(later) == 3
    cancelled.cancel()
    assert await gone is None
    assert await stays == "0"
    assert not later
    await asyncio.sleep(0.05)  # what is due then is for nobody


@pytest.mark.usefixtures("virtual_time")
async def test_a_turn_that_is_due_when_nobody_waits_any_more_is_no_fault() -> None:
    later, faults = DelayedTurns[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    assert await later.due(0, "turn", 0.002, 0.0) is None
    await asyncio.sleep(0.004)
    assert not faults


def test_a_turn_is_good_for_the_time_of_a_burst_and_for_that_of_a_busy_machine() -> None:
    turn = Grant("t", 0.0, 100.0, "gate", Gate(0.0), 0)
    for burst, good_for in ((40.0, 2.0), (1.0, MIN_GRACE)):
        allowance = Allowance(rate=20.0, burst=burst, concurrency=1)
        assert turn.is_valid(100.0 + good_for - 0.01, allowance)
        assert not turn.is_valid(100.0 + good_for + 0.01, allowance)


class Asleep(DelayedTurns[Any]):
    """Those whose turns are for later, until they are woken."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms: list[asyncio.Event] = []

    async def due(self, place: int, turn: Any, wait: float, seconds: float) -> Any:  # noqa: ARG002
        self.alarms.append(asyncio.Event())
        await self.alarms[-1].wait()
        return turn


@both
async def test_turns_that_were_not_used_in_time_do_not_pile_up(server: str | None) -> None:
    """Five turns were paid for when the process was stopped for a second: the budget has a burst of two for then."""
    clock, asleep = Clock(1000.0), Asleep()
    one = shield(server_of(server), Allowance(rate=50.0, burst=2, concurrency=9), clock=clock)
    one._delayed_turns = asleep
    tell_time(one, clock)
    for _ in range(2):
        await go(one)
    waiting = [asyncio.create_task(go(one)) for _ in range(5)]
    await until(lambda: len(asleep.alarms) == 5)
    clock.advance(1.0)
    tell_time(one, clock)
    for alarm in asleep.alarms:
        alarm.set()
    await until(lambda: len(asleep.alarms) == 8)
    assert sum(caller.done() for caller in waiting) <= 2
    for alarm in asleep.alarms:
        alarm.set()
    await asyncio.gather(*waiting)
    await one.drain(1)


@both
async def test_a_turn_that_finds_no_slot_in_its_time_is_charged_anew(server: str | None) -> None:
    """The hub is slow, then well again: what was paid for meanwhile is not to come on top of what may be had then."""
    clock, asleep = Clock(1000.0), Asleep()
    one = shield(server_of(server), Allowance(rate=100.0, burst=1, concurrency=2), clock=clock)
    one._delayed_turns = asleep
    tell_time(one, clock)
    (slow,) = await holding(one, 1)
    other, late = Held(one), asyncio.create_task(go(one))
    await until(lambda: len(asleep.alarms) == 2)
    asleep.alarms[0].set()
    await other.begun.wait()
    asleep.alarms[1].set()
    await until(lambda: bool(one._queue))
    clock.advance(1.0)
    tell_time(one, clock)
    await slow.end()
    await late
    await one.drain(1)
    with pytest.raises(errors.HubBusy) as caught:
        await go(one, patience=0.0)
    assert caught.value.retry_after == pytest.approx(0.01), "the one turn that there was is had"
    await other.end()
    await one.drain(1)


async def test_turns_that_were_granted_for_later_are_charged_where_that_is_forgotten() -> None:
    """By a Redis that was flushed, by this process' own gate, and by Redis again: never twice as many at once."""
    server = fakeredis.FakeServer()
    one = shield(server, Allowance(100.0, 5, 100))
    begun: list[float] = []
    now = asyncio.get_running_loop().time

    async def caller() -> None:
        async with one.turn(5.0):
            begun.append(now())

    started = now()
    callers = [asyncio.create_task(caller()) for _ in range(60)]
    await asyncio.sleep(0.1)
    await fakeredis.FakeAsyncRedis(server=server).flushall()
    await asyncio.sleep(0.1)
    switch(one, on=False)
    await asyncio.sleep(0.1)
    switch(one, on=True)
    await asyncio.gather(*callers)
    assert len(begun) == 60
    for number, at in enumerate(sorted(begun), start=1):
        assert number <= 5 + 100 * (at - started) + 1
    await one.drain(1)
