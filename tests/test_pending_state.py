"""What Redis could not be told of the hub's pauses, or has forgotten: it is told, and nothing of it is lost."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from proxy import errors
from tests.shield_fixture import go, holding, link_of, look, shield, switch
from tests.support import Clock


async def test_a_pause_goes_on_when_redis_goes_and_is_told_when_it_is_back() -> None:
    server = fakeredis.FakeServer()
    here, there = shield(server), shield(server)
    with pytest.raises(errors.HubRateLimited):
        await go(there, errors.HubRateLimited("429", retry_after=60.0))
    with pytest.raises(errors.HubRateLimited):
        await go(here)
    switch(here, on=False)
    with pytest.raises(errors.HubRateLimited):
        await go(here)  # it heard of it in time

    server = fakeredis.FakeServer()
    here, there = shield(server), shield(server)
    switch(here, on=False)
    with pytest.raises(errors.HubUnavailable):
        await go(here, errors.HubUnavailable("503", retry_after=60.0))
    await go(there)
    switch(here, on=True)
    with pytest.raises(errors.HubUnavailable):
        await go(here)
    with pytest.raises(errors.HubUnavailable):
        await go(there)
    await there.drain(1)


async def test_a_429_to_what_redis_granted_begins_a_pause_also_after_turns_without_redis() -> None:
    server = fakeredis.FakeServer()
    one, other = shield(server), shield(server)

    async def limited() -> None:
        async with one.turn(5.0):
            switch(one, on=False)
            await go(one)
            raise errors.HubRateLimited("too many", retry_after=9.0)

    with pytest.raises(errors.HubRateLimited):
        await limited()
    switch(one, on=True)
    with pytest.raises(errors.HubRateLimited):
        await go(one)
    with pytest.raises(errors.HubRateLimited):
        await go(other)
    await one.drain(1)


@pytest.mark.parametrize("then", ["gone", "flushed"])
async def test_a_late_429_is_not_forgotten_with_redis(then: str) -> None:
    server = fakeredis.FakeServer()
    one = shield(server)

    async def limited() -> None:
        async with one.turn(5.0):
            with pytest.raises(errors.HubRateLimited):
                await go(one, errors.HubRateLimited("too many", retry_after=0.0))
            await go(one)
            await one.drain(1)
            raise errors.HubRateLimited("too many", retry_after=9.0)

    with pytest.raises(errors.HubRateLimited):
        await limited()
    if then == "gone":
        switch(one, on=False)
    else:
        await fakeredis.FakeAsyncRedis(server=server).flushall()
    with pytest.raises(errors.HubRateLimited):
        await go(one)
    await one.drain(1)


async def test_a_probe_that_fails_as_redis_goes_leaves_the_hub_alone_for_longer() -> None:
    one = shield(fakeredis.FakeServer())
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("too many", retry_after=0.0))

    async def probe() -> None:
        async with one.turn(5.0):
            with pytest.raises(errors.HubRateLimited):
                await go(one)  # beside it
            switch(one, on=False)
            raise errors.HubFailed("500")

    with pytest.raises(errors.HubFailed):
        await probe()
    with pytest.raises(errors.HubResting) as caught:
        await go(one)
    assert 0.9 < (caught.value.retry_after or 0.0) <= 2.0
    await one.drain(1)


@pytest.mark.parametrize("how", ["gate_admit", "gate_release", "page_look"])
async def test_an_answer_from_before_a_pause_that_redis_has_not_heard_of_does_not_end_it(how: str) -> None:
    """Calls overlap: one was asked before the hub's 429, which Redis could not be told, and is answered after it."""
    one = shield(fakeredis.FakeServer())
    link = link_of(one)
    wanted = await look(one) if how == "page_look" else None
    other = (await holding(one, 1))[0] if how == "gate_release" else None

    late: list[asyncio.Task[None]] = []

    async def limited() -> None:
        async with one.turn(5.0):
            link.hold_back(how)
            if wanted is None:
                late.append(asyncio.create_task(go(one) if other is None else other.end()))
                await link.answered.wait()
            switch(one, on=False)
            raise errors.HubRateLimited("too many", retry_after=9.0)

    with pytest.raises(errors.HubRateLimited):
        await limited()
    switch(one, on=True)
    link.released.set()
    await asyncio.gather(*late)
    if wanted is not None:
        await go(one, wanted=wanted)
    await one.drain(1)
    with pytest.raises(errors.HubRateLimited):
        await go(one)
    await one.drain(1)


async def test_who_was_turned_away_by_a_probe_knows_of_no_pause() -> None:
    """It would tell Redis of it when the probe has ended the pause, and so begin another."""
    server = fakeredis.FakeServer()
    one, other = shield(server), shield(server)
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("too many", retry_after=0.01))
    await asyncio.sleep(0.02)
    (probe,) = await holding(one, 1)
    with pytest.raises(errors.HubRateLimited):
        await go(other)
    await probe.end()
    await one.drain(1)
    for each in (other, one, other):
        await go(each)
        await each.drain(1)


async def test_a_pause_that_others_have_ended_is_not_brought_back_by_a_turn_of_before_it() -> None:
    """Redis misses that it was answered; what is told then is what this process' own gate made of it: nothing."""
    server = fakeredis.FakeServer()
    one, other = shield(server), shield(server)
    (held,) = await holding(one, 1)
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("too many", retry_after=0.0))
    await go(other)
    await other.drain(1)
    switch(one, on=False)
    await held.end()
    await one.drain(1)
    switch(one, on=True)
    async with one.turn(5.0):
        assert (await other.standing()).pause.strikes == 0
    await one.drain(1)


async def test_a_redis_that_was_flushed_is_told_of_what_is_under_way() -> None:
    server = fakeredis.FakeServer()
    one, other = shield(server), shield(server)
    held = await holding(one, 2)
    await fakeredis.FakeAsyncRedis(server=server).flushall()
    wanted = one.wanted(0.0)
    assert wanted is not None
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0)
    with pytest.raises(errors.HubBusy):
        await go(other, patience=0.0)
    assert (await one.standing()).held == 2
    for each in held:
        await each.end()
    await one.drain(1)
    assert (await one.standing()).held == 0


async def test_a_redis_that_was_flushed_is_told_of_the_pause() -> None:
    server = fakeredis.FakeServer()
    one = shield(server)
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("too many", retry_after=9.0))
    await fakeredis.FakeAsyncRedis(server=server).flushall()
    with pytest.raises(errors.HubRateLimited):
        await go(one)
    await fakeredis.FakeAsyncRedis(server=server).flushall()
    wanted = await look(one)
    with pytest.raises(errors.HubRateLimited):
        async with one.turn(5.0, wanted=wanted):
            pass


async def test_of_a_pause_that_was_over_a_flushed_redis_is_told_nothing() -> None:
    """Another's probe may have ended it, which this process need not have heard of."""
    server, clock = fakeredis.FakeServer(), Clock(1000.0)
    one = shield(server, clock=clock)
    with pytest.raises(errors.HubRateLimited):
        await go(one, errors.HubRateLimited("too many", retry_after=9.0))
    clock.advance(9.5)
    await fakeredis.FakeAsyncRedis(server=server).flushall()
    held = await holding(one, 2)  # of a probe there is one
    for each in held:
        await each.end()
    await one.drain(1)
