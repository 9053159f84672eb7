"""The gate in Redis: it decides as Python's does, is told what it does not know, and survives what is wrong in it."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admission.gate import SLOT_SECONDS, Allowance, AskerState, Gate, Pause, Refused, Report, Standing, Turn
from proxy.admission.shared_gate import SharedGate
from proxy.hub.retry_after import MAX_WAIT
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis_keys import gate_tag
from proxy.secret import Secret
from tests.gate_fixture import ABANDONED, ALLOWANCE, AMPLE, ANSWERED, FAILING, T0, both_ways
from tests.support import RedisServer

steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.sampled_from([0.01, 0.1, 0.5, 1.0, 2.0, 2.1, 6.0, 30.0])),
        st.tuples(st.just("pass"), st.sampled_from([-0.5, -3.0, -20.0, -2 * MAX_WAIT])),
        st.tuples(st.just("ask"), st.sampled_from([0.0, 0.15, 2.0])),
        st.tuples(st.just("ahead"), st.just(0.0)),
        st.tuples(st.just("again"), st.sampled_from([0.0, 2.0])),
        st.tuples(
            st.just("leave"),
            st.sampled_from(
                [
                    *[ANSWERED, FAILING, FAILING, FAILING, ABANDONED],
                    *[Report("limited"), Report("limited", 0.0), Report("limited", 3.0), Report("unavailable", 1.0)],
                ]
            ),
        ),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(st.sampled_from([ALLOWANCE, AMPLE]), steps)
async def test_lua_decides_as_python_does(allowance: Allowance, todo: list[tuple[str, Any]]) -> None:
    await both_ways(SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0)), "gate", allowance, todo)


async def test_a_real_redis_decides_as_python_does(redis_server: RedisServer) -> None:
    client = connect(Secret(redis_server.url))
    collected: list[tuple[Allowance, list[tuple[str, Any]]]] = []

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from([ALLOWANCE, AMPLE]), steps)
    def cases(allowance: Allowance, todo: list[tuple[str, Any]]) -> None:
        collected.append((allowance, todo))

    cases()
    for number, (allowance, todo) in enumerate(collected):
        await both_ways(SharedGate(RedisLink(client, 5.0)), gate_tag(str(number)), allowance, todo)
    await client.aclose()


in_a_pause = st.lists(
    st.one_of(
        st.just("flush"),
        st.sampled_from([0.01, 0.6, 2.1]),
        st.sampled_from([ANSWERED, FAILING, ABANDONED, Report("limited"), Report("limited", 3.0)]),
        st.sampled_from([Report("limited", 40.0), Report("unavailable", 40.2), Report("refused")]),
    ),
    max_size=12,
)


async def both_in_a_pause(shared: SharedGate, redis: Any, todo: list[Any]) -> None:
    """What is under way when a pause begins ends in it, and Redis forgets everything now and then."""
    gate, now, allowance = Gate(T0), T0, Allowance(10.0, 40, 40)
    turns = [gate.admit(f"t{number}", now, allowance, patience=0.0) for number in range(13)]
    for number, what in enumerate([Report("limited", 30.0), *todo]):
        shared.now = now
        match what:
            case "flush":
                await redis.flushall()
            case float():
                now += what
            case Report():
                ticket, turn = f"t{number}", turns[number]
                assert isinstance(turn, Turn)
                told = gate.asker_state(now, allowance, unreported=False)
                here = gate.release(ticket, now, turn.epoch, what, 0.5, allowance)
                there = await shared.release("gate", ticket, turn.epoch, what, 0.5, allowance, reported=told)
                assert there is not None
                assert (there.cause, there.strikes) == (here.cause, here.strikes) == ("limited", 1)
                assert there.seconds == pytest.approx(here.seconds)
                standing = await shared.standing("gate", allowance)
                assert standing is not None
                assert standing.pause.seconds == pytest.approx(here.seconds), "as it is told to others"


@settings(deadline=None)
@given(in_a_pause)
async def test_what_ends_in_a_pause_changes_as_much_where_redis_has_forgotten(todo: list[Any]) -> None:
    """It is told of the pause in the same call: what began before ends none, and is no strike, there as here."""
    redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    await both_in_a_pause(SharedGate(RedisLink(redis, 5.0)), redis, todo)


async def test_redis_takes_over_a_pause_that_it_did_not_hear_of() -> None:
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0), now=T0)
    over, lasting = Pause(0.0, "limited", 3), Pause(5.0, "limited", 3)
    for told in (AskerState(), AskerState(over)):
        answer = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=told)
        assert answer is not None
        assert isinstance(answer[0], Turn), "of one that is over, others may have heard, and ended it"
        assert answer[1] == Pause()
    for told in (AskerState(lasting), AskerState(), AskerState(Pause(4.9, "limited", 3))):
        answer = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=told)
        assert answer == (Refused("limited", 5.0), lasting, T0)
    await shared.admit("h", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState(over, unreported=True))
    standing = await shared.standing("h", ALLOWANCE)
    assert standing is not None
    assert standing.pause == over


async def test_redis_that_has_forgotten_is_told_of_the_pause_and_that_the_burst_is_used_up() -> None:
    redis = fakeredis.FakeAsyncRedis()
    shared = SharedGate(RedisLink(redis, 5.0), now=T0)
    pause = Pause(5.0, "limited", 3)
    answer = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState(pause))
    assert answer == (Refused("limited", 5.0), pause, T0)
    await redis.flushall()
    allowance = Allowance(10.0, 20.0, 100)
    for turn in range(3):
        answer = await shared.admit("g", f"{turn}", allowance, patience=9.0, paid=None, reported=AskerState(busy=True))
        assert answer is not None
        assert isinstance(answer[0], Turn)
        assert answer[0].wait == pytest.approx(turn / 10)


async def test_redis_that_has_forgotten_is_told_even_by_who_is_turned_away() -> None:
    """The next one, who has asked for nothing of late, finds the burst used up as well."""
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0), now=T0)
    busy = await shared.admit("g", "a", Allowance(10.0, 4, 0), patience=0.0, paid=None, reported=AskerState(busy=True))
    assert busy == (Refused("concurrency", 0.0), None, T0)
    standing = await shared.standing("g", ALLOWANCE)
    assert standing is not None
    assert standing.turns == pytest.approx(1.0)


@pytest.mark.parametrize(("spent", "left", "wait"), [(1, 2.0, 0.0), (2, 1.0, 0.0), (3, 0.0, 0.1), (100, 0.0, 0.1)])
async def test_turns_that_were_had_without_redis_are_charged_when_it_is_told(
    spent: int, left: float, wait: float
) -> None:
    """To the burst of all, but no further: nobody is to wait for what was had by the share of one."""
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0), now=T0)
    first = await shared.admit("g", "a", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    assert first is not None
    assert isinstance(first[0], Turn)
    pause = await shared.release("g", "a", first[0].epoch, ANSWERED, 0.0, ALLOWANCE, reported=AskerState(spent=spent))
    assert pause == Pause()
    standing = await shared.standing("g", ALLOWANCE)
    assert standing is not None
    assert standing.turns == pytest.approx(left)
    answer = await shared.admit("g", "b", ALLOWANCE, patience=9.0, paid=None, reported=AskerState())
    assert answer is not None
    assert answer[0].wait == pytest.approx(wait)


async def test_something_else_under_the_keys_is_written_over() -> None:
    redis = fakeredis.FakeAsyncRedis()
    for key in ("g:gate", "g:slots"):
        await redis.set(key, "x")
    shared = SharedGate(RedisLink(redis, 5.0))
    answer = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    assert answer is not None
    assert isinstance(answer[0], Turn)
    for key in ("g:gate", "g:slots"):
        await redis.set(f"other:{key}", "x")
    assert await shared.standing("other:g", ALLOWANCE) == Standing(ALLOWANCE.burst, 0, Pause())
    await redis.set("g:slots", "x")
    assert await shared.release("g", "t", 0, ANSWERED, 0.5, ALLOWANCE) == Pause()
    assert 0 < await redis.pttl("g:gate") <= 2 * 3600 * 1000, "nothing is kept for good"


@pytest.mark.parametrize("told", [AskerState(), AskerState(spent=2)], ids=["asks", "tells"])
@pytest.mark.parametrize("wait", [0.0, 0.1], ids=["for now", "for later"])
@pytest.mark.parametrize("right", ["zadd", "hset", "pexpire"])
async def test_a_redis_that_refuses_a_part_charges_nothing(
    redis_server: RedisServer, right: str, wait: float, told: AskerState
) -> None:
    """It takes nothing back of what was written before: else it would charge turns, and grant none of them."""
    name, limited = f"{right} {wait} {told.spent}", f"lacks-{right}"
    redis_server.command("ACL", "SETUSER", limited, "reset", "on", "nopass", "~*", "&*", "+@all", f"-{right}")
    all_rights = connect(Secret(redis_server.url))
    some = connect(Secret(redis_server.url.replace("://", f"://{limited}:x@")))
    gate, refusing = (SharedGate(RedisLink(client, 5.0), now=T0) for client in (all_rights, some))
    for turn in range(5 if wait else 2):
        # who is told of what a young gate has forgotten is refused that
        gate.now = T0 if turn else T0 - 2 * SLOT_SECONDS
        await gate.admit(name, f"{turn}", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
        await gate.release(name, f"{turn}", 0, ABANDONED, 0.5, ALLOWANCE)
    for turn in range(5):
        answer = await refusing.admit(name, f"refused {turn}", ALLOWANCE, patience=9.0, paid=None, reported=told)
        assert answer is None, "so this process' own gate is asked"
    standing = await gate.standing(name, ALLOWANCE)
    assert standing is not None
    assert standing.turns == pytest.approx(0.0 if wait else 3.0, abs=1e-6)
    await asyncio.gather(all_rights.aclose(), some.aclose())


WRONG = [b"1e17", b"17900000000.0", b"inf", b"-inf", b"nan", b"", b"x"]


@pytest.mark.parametrize("field", ["next", "until", "strikes", "epoch", "window", "cause", "probe", "crowded"])
@pytest.mark.parametrize("wrong", [*WRONG, b"turn", b"\xff"])
async def test_one_wrong_value_in_a_gate_stops_nobody(field: str, wrong: bytes) -> None:
    """It would stop all replicas, and none of them would come to write another."""
    redis = fakeredis.FakeAsyncRedis()
    shared = SharedGate(RedisLink(redis, 5.0), now=T0)
    allowance = Allowance(10.0, 4, 3, reach=15.0)
    for turn in range(4):
        await shared.admit("g", f"{turn}", allowance, patience=0.0, paid=None, reported=AskerState())
        await shared.release("g", f"{turn}", 0, ANSWERED, 0.5, allowance)
    await redis.hset("g:gate", field, wrong)
    standing = await shared.standing("g", allowance)
    assert standing is not None
    assert standing.pause.seconds == 0.0
    answer = await shared.admit("g", "t", allowance, patience=0.1, paid=None, reported=AskerState())
    assert answer is not None
    assert isinstance(answer[0], Turn)
    pause = await shared.release("g", "t", answer[0].epoch, Report("limited", 3.0), 0.5, allowance)
    assert pause == Pause(3.0, "limited", 1)
    assert 0 < await redis.pttl("g:gate") <= 2 * MAX_WAIT * 1000


async def test_a_slot_without_an_end_ends() -> None:
    redis = fakeredis.FakeAsyncRedis()
    shared = SharedGate(RedisLink(redis, 5.0), now=T0)
    await redis.zadd("g:slots", {"a": float("inf"), "b": T0 + 1e9, "c": T0 + SLOT_SECONDS})
    full = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    assert full == (Refused("concurrency", 0.0), None, T0)
    shared.now = T0 + SLOT_SECONDS
    answer = await shared.admit("g", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    assert answer is not None
    assert isinstance(answer[0], Turn)


async def test_a_clock_that_steps_back_leaves_no_pause_and_a_used_burst() -> None:
    """Redis may fail over to a host whose clock is behind: what is written there was meant by another clock."""
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0), now=T0)
    allowance = Allowance(10.0, 4, 3, reach=15.0)
    await shared.admit("g", "a", allowance, patience=0.0, paid=None, reported=AskerState())
    await shared.release("g", "a", 0, Report("limited", 3.0), 0.5, allowance)
    shared.now = T0 - 2 * MAX_WAIT
    for wait in (0.0, 0.1):
        answer = await shared.admit("g", "a", allowance, patience=1.0, paid=None, reported=AskerState())
        assert answer is not None
        assert isinstance(answer[0], Turn)
        assert answer[0].wait == pytest.approx(wait)
        await shared.release("g", "a", answer[0].epoch, ANSWERED, 0.5, allowance)
    shared.now += MAX_WAIT + 3
    answer = await shared.admit("g", "b", allowance, patience=0.0, paid=None, reported=AskerState())
    assert answer is not None
    assert isinstance(answer[0], Turn), "it is forgotten for good, also when its time comes once more"


async def test_a_gate_that_is_told_of_a_pause_or_is_crowded_is_not_kept_for_good() -> None:
    redis = fakeredis.FakeAsyncRedis()
    shared = SharedGate(RedisLink(redis, 5.0), now=T0)
    told = AskerState(Pause(5.0, "limited", 3))
    await shared.admit("told", "t", ALLOWANCE, patience=0.0, paid=None, reported=told)
    await redis.zadd("crowded:slots", {f"{number}": T0 + SLOT_SECONDS for number in range(3)})
    await shared.admit("crowded", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    for gate in ("told", "crowded"):
        assert 0 < await redis.pttl(f"{gate}:gate") <= 2 * MAX_WAIT * 1000
