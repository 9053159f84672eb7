"""Admission to the hub: in line, in the budget, outside of pauses; agreed over Redis, or alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.admission.delayed_turns import DelayedTurns
from proxy.admission.gate import Allowance, Gate, Refused
from proxy.admission.gate_evictions import MIN_GATE_SECONDS
from proxy.admission.gates import CROWDED_SECONDS, Gates
from proxy.admission.grant import MIN_GRACE, Asker, Grant
from proxy.admission.pending_releases import PendingReleases
from proxy.admission.refusals import GaveWay
from proxy.admission.shared_gate import SharedGate
from proxy.admission.shield import Shield
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.allotment import allotted, current_allotment
from proxy.redis.claims import Claim, WantedTurn
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.redis_keys import NOBODYS
from tests.support import Clock

ALLOWANCE = Allowance(rate=1e6, burst=1e6, concurrency=2)


class Switch(RedisLink):
    """A link that can be switched off, and whose answers to one command can be lost, or held back."""

    on = True
    lost = slow = ""

    async def call(self, command: str, call: Any) -> Any:
        if not self.on:
            return None
        answer = await super().call(command, call)
        if command == self.slow:
            self.answered.set()
            await self.released.wait()
        return None if command == self.lost else answer

    def hold_back(self, command: str) -> None:
        self.slow, self.answered, self.released = command, asyncio.Event(), asyncio.Event()


def shield(server: fakeredis.FakeServer | None = None, allowance: Allowance = ALLOWANCE, **named: Any) -> Shield:
    shared = None
    if server is not None:
        shared = SharedGate(Switch(fakeredis.FakeAsyncRedis(server=server), 2.0))
    clock = {"clock": named["clock"]} if "clock" in named else {}
    return Shield(Gates(allowance, shared, gate_name=lambda: "gp1:{g}", **named), **clock)


def switch(one: Shield, *, on: bool) -> None:
    assert one._gates._shared is not None
    one._gates._shared._link.on = on  # type: ignore[attr-defined]


async def go(one: Shield, error: errors.ProxyError | None = None, patience: float = 5.0, **named: Any) -> None:
    async with one.turn(patience, **named):
        if error is not None:
            raise error


class Held:
    """A turn that lasts until it is told to end."""

    def __init__(self, one: Shield, **named: Any) -> None:
        self.begun, self._may_end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(one, **named))

    async def _run(self, one: Shield, **named: Any) -> None:
        async with one.turn(5.0, **named):
            self.begun.set()
            await self._may_end.wait()

    async def end(self) -> None:
        self._may_end.set()
        await self.task


async def holding(one: Shield, turns: int) -> list[Held]:
    """Turns that have begun."""
    held = [Held(one) for _ in range(turns)]
    for each in held:
        await each.begun.wait()
    return held


async def left_without_redis(**named: Any) -> Shield:
    """One whose turn has ended while Redis could not be told."""
    one = shield(fakeredis.FakeServer(), **named)
    (held,) = await holding(one, 1)
    switch(one, on=False)
    await held.end()
    return one


both = pytest.mark.parametrize("server", [None, "redis"], ids=["alone", "with Redis"])


def server_of(name: str | None) -> fakeredis.FakeServer | None:
    return None if name is None else fakeredis.FakeServer()


@both
async def test_no_more_at_once_than_allowed_and_in_the_order_of_coming(server: str | None) -> None:
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


async def test_room_made_by_another_replica_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that leaves tells; the other, first in line, does not wait for its own look."""
    monkeypatch.setattr("proxy.admission.queue.ROOM_CHECK", 60.0)
    server = fakeredis.FakeServer()
    here, there = shield(server), shield(server)
    subscription = fakeredis.FakeAsyncRedis(server=server).pubsub()
    await subscription.subscribe(NOBODYS.news)
    held = [Held(there), Held(there)]
    for each in held:
        await each.begun.wait()
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

    async def noting(self: Switch, command: str, how: Any) -> Any:
        if command == "gate_release":
            left.append(current_allotment().left(1.0))
        return await call(self, command, how)

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
async def test_who_waits_in_vain_is_told_how_long_it_would_take(server: str | None) -> None:
    one = shield(server_of(server), Allowance(rate=0.1, burst=1, concurrency=5))
    await go(one)
    with pytest.raises(errors.HubBusy) as caught:
        await go(one)
    assert 9 < (caught.value.retry_after or 0) <= 10
    await one.drain(1)


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
    held = Held(one)
    await held.begun.wait()
    with pytest.raises(GaveWay):
        await go(one, ahead=True)
    await go(one)
    await held.end()
    await one.drain(1)
    await go(one, ahead=True)
    await one.drain(1)


@both
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.HubRateLimited("429", retry_after=7.0), errors.HubRateLimited),
        (errors.HubUnavailable("503", retry_after=7.0), errors.HubUnavailable),
    ],
)
async def test_a_cooldown(server: str | None, error: errors.HubError, kind: type[errors.HubError]) -> None:
    one = shield(server_of(server))
    with pytest.raises(kind):
        await go(one, error)
    with pytest.raises(kind) as caught:
        await go(one)
    assert 6 < (caught.value.retry_after or 0) <= 7


@both
async def test_a_429_without_a_time_gets_one(server: str | None) -> None:
    one = shield(server_of(server))
    with pytest.raises(errors.HubRateLimited) as caught:
        await go(one, errors.HubRateLimited("429"))
    assert 0 < (caught.value.retry_after or 0) <= 1


@both
async def test_a_429_that_says_at_once_is_told_so(server: str | None) -> None:
    one = shield(server_of(server))
    with pytest.raises(errors.HubRateLimited) as caught:
        await go(one, errors.HubRateLimited("429", retry_after=0.0))
    assert caught.value.retry_after == 0.0
    await one.drain(1)


async def test_who_waited_for_a_slot_in_vain_is_told_to_wait_as_long_again() -> None:
    clock = Clock()
    one = shield(None, Allowance(1e6, 1e6, 1), clock=clock)
    (held,) = await holding(one, 1)
    waiting = asyncio.create_task(go(one, patience=0.05))
    await asyncio.sleep(0)
    clock.advance(1.5)
    with pytest.raises(errors.HubBusy) as caught:
        await waiting
    assert caught.value.retry_after == 1.5
    await held.end()
    await one.drain(1)


@both
@pytest.mark.parametrize("kind", [errors.HubFailed, errors.HubUnreachable, errors.HubTimeout, errors.HubAnswerCutOff])
async def test_the_breaker(server: str | None, kind: type[errors.HubError]) -> None:
    one = shield(server_of(server))
    for _ in range(5):
        with pytest.raises(kind):
            await go(one, kind("x"))
    with pytest.raises(errors.HubResting) as caught:
        await go(one)
    assert 0 < (caught.value.retry_after or 0) <= 1


@both
@pytest.mark.parametrize(
    "error",
    [
        *[errors.HubFoundNothing("404", b"{}"), errors.HubRejectedQuestion("400", None)],
        *[errors.HubRefusedCredential("401"), errors.HubAnswerNotAPage("x"), errors.HubRedirected("302")],
    ],
)
async def test_a_hub_that_answers_is_not_failing(server: str | None, error: errors.ProxyError) -> None:
    one = shield(server_of(server))
    for _ in range(20):
        with pytest.raises(type(error)):
            await go(one, error)
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


async def test_without_redis_each_keeps_to_its_share() -> None:
    one = shield(fakeredis.FakeServer(), Allowance(rate=0.004, burst=8, concurrency=8), replicas=lambda: 4)
    await go(one)
    switch(one, on=False)
    await go(one, patience=0.0)
    with pytest.raises(errors.HubBusy) as caught:
        await go(one)
    assert (caught.value.retry_after or 0) > 900, "a quarter of the rate, and no burst, which others may just have had"
    held: list[Held] = []
    one = shield(fakeredis.FakeServer(), Allowance(1e6, 1e6, 8), replicas=lambda: 4)
    switch(one, on=False)
    for _ in range(2):
        held.append(Held(one))
        await held[-1].begun.wait()
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0)
    for each in held:
        await each.end()
    await one.drain(1)


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


async def test_a_turn_granted_before_redis_went_ends_well() -> None:
    one = await left_without_redis()
    await one.drain(1)
    for _ in range(4):
        await go(one)
    await one.drain(1)


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


async def test_ending_does_not_wait_for_redis_to_be_back() -> None:
    one = await left_without_redis()
    async with asyncio.timeout(1.0):
        assert await one.drain(9.0) == 0


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
    held = Held(one)
    await held.begun.wait()
    renewed = one._gates._local._slots.copy()
    async with asyncio.timeout(5):
        while one._gates._local._slots == renewed:
            await asyncio.sleep(0.005)
    await held.end()
    await one.drain(1)


# Turns that another script grants.

LOOKED_FOR = page_question("c", ListQuery())


async def look(one: Shield) -> WantedTurn:
    """Look into Redis with a claim, as the path of a question does."""
    wanted = one.wanted(5.0)
    assert wanted is not None
    assert one._gates._shared is not None
    found = await Shared(one._gates._shared._link).look_up(
        LOOKED_FOR, claim=Claim(LOOKED_FOR, wanted.ticket, (0.0, 0.0), wanted)
    )
    assert found is not None
    assert found.leased == (found.turn is not None)
    wanted.answer = found.turn
    return wanted


async def lost_look(one: Shield) -> WantedTurn:
    """The same, with an answer that comes too late."""
    wanted = await look(one)
    wanted.answer = None
    return wanted


async def test_a_turn_that_a_look_has_brought() -> None:
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


@pytest.mark.parametrize("patience", [0.0, 0.01])
async def test_a_turn_that_was_granted_in_a_lost_answer_to_who_is_refused_is_given_back(patience: float) -> None:
    """This process' own gate has no more slots: without that one, as the whole of all replicas' are held."""
    one = shield(fakeredis.FakeServer(), Allowance(1e6, 1e6, 3), replicas=lambda: 3)
    link: Any = one._gates._shared and one._gates._shared._link
    (held,) = await holding(one, 1)
    link.lost = "gate_admit"
    with pytest.raises(errors.HubBusy):
        await go(one, patience=patience)
    link.lost = ""
    await one.drain(1)
    assert (await one.standing()).held == 1
    await held.end()
    await one.drain(1)


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


async def test_who_is_cancelled_while_redis_is_asked_leaves_nothing_behind() -> None:
    one = shield(fakeredis.FakeServer())
    link: Any = one._gates._shared and one._gates._shared._link
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


@pytest.mark.parametrize("how", ["gate_admit", "gate_release", "page_look"])
async def test_an_answer_from_before_a_pause_that_redis_has_not_heard_of_does_not_end_it(how: str) -> None:
    """Calls overlap: one was asked before the hub's 429, which Redis could not be told, and is answered after it."""
    one = shield(fakeredis.FakeServer())
    link: Any = one._gates._shared and one._gates._shared._link
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


def tell_time(one: Shield, clock: Clock) -> None:
    """Have Redis go by this clock."""
    if one._gates._shared is not None:
        one._gates._shared.now = clock()


class Asleep(DelayedTurns[Any]):
    """Those whose turns are for later, until they are woken."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms: list[asyncio.Event] = []

    async def due(self, place: int, turn: Any, wait: float, seconds: float) -> Any:  # noqa: ARG002
        self.alarms.append(asyncio.Event())
        await self.alarms[-1].wait()
        return turn


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(2.0):
        while not holds():
            await asyncio.sleep(0)


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
    await until(lambda: one._queue)
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


@pytest.mark.parametrize("by", ["gate", "look"])
async def test_a_redis_that_forgets_at_each_call_grants_no_turn_at_each(by: str) -> None:
    """As one that evicts does. A gate that was forgotten begins with a turn: it is not gone by from the third on."""
    server, clock = fakeredis.FakeServer(), Clock(1000.0)
    one = shield(server, Allowance(rate=0.01, burst=8, concurrency=8), replicas=lambda: 2, clock=clock)
    await go(one)
    had = 0
    for _ in range(20):
        await one.drain(1)
        await fakeredis.FakeAsyncRedis(server=server).flushall()
        with contextlib.suppress(errors.HubBusy):
            await go(one, patience=0.0, wanted=one.wanted(0.0) and await look(one) if by == "look" else None)
            had += 1
    assert had == 3, "one more is of this process' own gate"
    assert one.wanted(5.0) is None
    clock.advance(MIN_GATE_SECONDS)
    await one.drain(1)
    await go(one, patience=0.0)
    assert one.wanted(5.0) is not None, "it lasts: all replicas' gate is asked again"
    await one.drain(1)


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


async def test_processes_without_redis_keep_to_their_share() -> None:
    one = shield(None, Allowance(10.0, 8.0, 8), replicas=lambda: 2)
    assert (await one.standing()).turns == 4
    held = await holding(one, 4)
    with pytest.raises(errors.HubBusy):
        await go(one, patience=0.0)
    for each in held:
        await each.end()
    await one.drain(1)


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


async def test_no_turns_by_a_look_where_the_gate_is_to_be_told_or_asked_apart(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_turn_is_good_for_the_time_of_a_burst_and_for_that_of_a_busy_machine() -> None:
    turn = Grant("t", 0.0, 100.0, "gate", Gate(0.0), 0)
    for burst, good_for in ((40.0, 2.0), (1.0, MIN_GRACE)):
        allowance = Allowance(rate=20.0, burst=burst, concurrency=1)
        assert turn.is_valid(100.0 + good_for - 0.01, allowance)
        assert not turn.is_valid(100.0 + good_for + 0.01, allowance)


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
