"""Turns at the hub: rate, burst, concurrency, cooldown, breaker; and Redis' rules are Python's."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admission.breaker import FAILURES, WINDOW
from proxy.admission.gate import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_RETRY,
    SLOT_SECONDS,
    Allowance,
    AskerState,
    Gate,
    Pause,
    Refused,
    Report,
    Standing,
    Turn,
)
from proxy.admission.shared_gate import SharedGate
from proxy.hub.retry_after import MAX_WAIT
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis_keys import gate_tag
from proxy.secret import Secret
from tests.support import RedisServer

ALLOWANCE = Allowance(rate=10.0, burst=4, concurrency=3)
ANSWERED, FAILING, ABANDONED = Report("answered"), Report("failing"), Report("abandoned")
T0 = 1_000_000.0


class Asking:
    """Asks a gate as a shield does."""

    def __init__(self, allowance: Allowance = ALLOWANCE) -> None:
        self.gate, self.allowance, self.now = Gate(T0), allowance, T0
        self.tickets = (f"t{number}" for number in itertools.count())

    def ask(self, patience: float = 0.0, **named: Any) -> tuple[str, Turn | Refused]:
        ticket = next(self.tickets)
        return ticket, self.gate.admit(ticket, self.now, self.allowance, patience=patience, **named)

    def go(self, report: Report = ANSWERED, jitter: float = 1.0) -> Pause:
        """A turn from its beginning to its end, which takes no time."""
        ticket, turn = self.ask()
        assert isinstance(turn, Turn), turn
        return self.gate.release(ticket, self.now, turn.epoch, report, jitter, self.allowance)

    def refusal(self, patience: float = 0.0) -> Refused:
        _, refused = self.ask(patience)
        assert isinstance(refused, Refused)
        return refused


def test_a_burst_then_the_rate() -> None:
    it = Asking()
    for _ in range(4):
        it.go()
    refused = it.refusal()
    assert refused.reason == "rate"
    assert refused.wait == pytest.approx(0.1)
    it.now += 0.1
    it.go()
    assert it.refusal().wait == pytest.approx(0.1)
    it.now += 60
    for _ in range(4):
        it.go()
    assert it.refusal().reason == "rate", "the burst does not grow while nobody asks"


def test_turns_for_later_come_in_order_and_hold_no_slot() -> None:
    it = Asking()
    for _ in range(4):
        it.go()
    turns = [it.ask(patience=10)[1] for _ in range(5)]
    assert [turn.wait for turn in turns] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    epoch = it.gate.epoch
    assert it.refusal(patience=0.59).wait == pytest.approx(0.6), "the true waiting time"
    it.now += 0.1
    assert isinstance(it.ask(paid=epoch)[1], Turn), "no slot was taken by those who wait"


def test_slots_are_freed_by_leaving_or_by_time() -> None:
    it = Asking()
    held = [it.ask() for _ in range(3)]
    assert it.refusal() == Refused("concurrency", 0.0)
    ticket, turn = held[0]
    assert isinstance(turn, Turn)
    it.gate.release(ticket, it.now, turn.epoch, ANSWERED, 0.5, it.allowance)
    it.go()
    it.now += SLOT_SECONDS / 2
    it.gate.renew(held[1][0], it.now)
    it.now += SLOT_SECONDS / 2 + 0.01
    taken = [it.ask()[1] for _ in range(3)]
    assert [type(one) for one in taken] == [Turn, Turn, Refused], "the renewed one is still held, the other has died"


def test_half_is_left_to_callers_by_those_who_refresh_ahead() -> None:
    it = Asking(Allowance(rate=10.0, burst=8, concurrency=4))
    ahead = it.allowance.ahead()
    admitted = 0
    while isinstance(it.gate.admit(f"a{admitted}", it.now, ahead, patience=0.0), Turn):
        admitted += 1
    assert admitted == 2, "of four slots"
    for number in range(admitted):
        it.gate.release(f"a{number}", it.now, 0, ANSWERED, 0.5, it.allowance)
    for _ in range(2):
        it.go()
    refused = it.gate.admit("a9", it.now, ahead, patience=0.0)
    assert isinstance(refused, Refused)
    assert refused.reason == "rate", "half of the burst is used"
    it.go()


@pytest.mark.parametrize("outcome", ["limited", "unavailable"])
def test_a_pause_as_long_as_the_hub_says_then_one_probe(outcome: Any) -> None:
    it = Asking()
    assert it.go(Report(outcome, 7.0)) == Pause(7.0, outcome, 1)
    it.now += 6.75
    assert it.refusal() == Refused(outcome, 0.25)
    it.now += 0.25
    ticket, probe = it.ask()
    assert isinstance(probe, Turn)
    assert it.refusal() == Refused(outcome, PROBE_RETRY), "one probe"
    assert it.gate.release(ticket, it.now, probe.epoch, ANSWERED, 0.5, it.allowance) == Pause(0.0, outcome, 0)
    it.go()
    it.go()


def test_without_a_time_pauses_double_up_to_a_limit() -> None:
    it = Asking()
    seconds = []
    for _ in range(9):
        pause = it.go(Report("limited"), jitter=1.0)
        seconds.append(pause.seconds)
        it.now += pause.seconds
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    it.go()
    assert it.go(Report("limited"), jitter=0.0).seconds == FIRST_PAUSE / 2, "an answer begins it anew; jitter halves"


def test_a_time_that_turns_out_too_short_is_doubled_too() -> None:
    it = Asking()
    assert it.go(Report("limited", 1.0)).seconds == 1.0
    it.now += 1
    assert it.go(Report("limited", 1.0)).seconds == 2.0
    it.now += 2
    assert it.go(Report("limited", 90.0)).seconds == 90.0, "never shorter than the hub says"


def test_many_refusals_at_once_are_one_strike() -> None:
    it = Asking()
    turns = [it.ask() for _ in range(3)]
    pauses = []
    for ticket, turn in turns:
        assert isinstance(turn, Turn)
        pauses.append(it.gate.release(ticket, it.now, turn.epoch, Report("limited", None), 1.0, it.allowance))
    assert [pause.strikes for pause in pauses] == [1, 1, 1]


def test_an_answer_to_what_was_sent_before_a_pause_does_not_end_it() -> None:
    it = Asking()
    ticket, turn = it.ask()
    assert isinstance(turn, Turn)
    it.go(Report("limited", 5.0))
    assert it.gate.release(ticket, it.now, turn.epoch, ANSWERED, 0.5, it.allowance).seconds == 5.0


def test_a_late_429_that_names_a_time_begins_a_pause_where_there_is_none_any_more() -> None:
    it = Asking()
    (ticket, turn), (other, another) = it.ask(), it.ask()
    assert isinstance(turn, Turn)
    assert isinstance(another, Turn)
    it.go(Report("limited", 0.0))
    it.go()
    late = it.gate.release(ticket, it.now, turn.epoch, Report("limited", 5.0), 1.0, it.allowance)
    assert late == Pause(5.0, "limited", 1), "with a probe at its end"
    later = it.gate.release(other, it.now, another.epoch, Report("limited", 7.0), 1.0, it.allowance)
    assert later == Pause(7.0, "limited", 1)


def test_a_turn_that_is_asked_for_once_more_is_granted_again() -> None:
    """Redis is asked once more if its answer was lost with the connection: that costs no second unit of the rate."""
    it = Asking(Allowance(1.0, 1, 1))
    ticket, turn = it.ask()
    assert it.gate.admit(ticket, it.now, it.allowance, patience=0.0) == turn
    assert it.gate.standing(it.now, it.allowance) == Standing(0.0, 1, Pause())
    it.gate.release(ticket, it.now, 0, ANSWERED, 0.5, it.allowance)
    assert it.refusal().wait == pytest.approx(1.0)


def test_a_probe_that_dies_is_replaced() -> None:
    it = Asking()
    it.go(Report("limited", 1.0))
    it.now += 1
    assert isinstance(it.ask()[1], Turn)
    it.now += SLOT_SECONDS + 0.01
    assert isinstance(it.ask()[1], Turn)


def test_the_breaker_opens_at_half_of_enough_failures() -> None:
    it = Asking(Allowance(1e6, 1e6, 10))
    for _ in range(FAILURES):
        it.go(ANSWERED)
    for _ in range(FAILURES - 1):
        assert it.go(FAILING).strikes == 0
    pause = it.go(FAILING)
    assert (pause.cause, pause.strikes) == ("failing", 1)
    assert it.refusal().reason == "failing"


def test_few_failures_or_old_ones_do_not_open_it() -> None:
    it = Asking(Allowance(1e6, 1e6, 10))
    for _ in range(10):
        for _ in range(FAILURES - 1):
            assert it.go(FAILING).strikes == 0
        it.now += WINDOW
    for _ in range(40):
        it.go(ANSWERED)
    for _ in range(FAILURES + 20):
        assert it.go(FAILING).strikes == 0, "less than half"


SENT = {"f": FAILING, "a": ANSWERED, "l": Report("limited", 0.01)}


def sent(text: str) -> list[tuple[str, Any]]:
    """Requests that end at once, as letters say, and seconds that pass."""
    todo: list[tuple[str, Any]] = []
    for word in text.split():
        if word.isalpha():
            todo += [step for letter in word for step in (("ask", 0.0), ("leave", SENT[letter]))]
        else:
            todo.append(("pass", float(word)))
    return todo


@pytest.mark.parametrize(
    ("text", "strikes"),
    [
        ("fff 4.5 ff", 1),
        ("fff 5.5 ff", 1),
        ("fff 9.5 ff", 1),
        ("fff 10.5 ff", 0),
        ("fff 4 a 4 ff", 1),
        ("f 5 ff 5 ff", 0),
        ("aaaaa fffff", 1),
        ("aaaaaa fffff", 0),
        ("aaaaaa 5.5 fffff", 0),
        ("aaaaaa 5.5 ffffff", 1),
        ("aaaaaaaaa 10.5 fffff", 1),
        ("fffff 2 a f", 0),  # it has had its effect
        ("fffff 2 f", 2),
        ("l 1.5 l 0.9 ff", 2),  # still in the second pause, as the hub has named too short a time before
        ("l 1.5 l 2.5 a ffff", 0),
    ],
)
async def test_five_failures_in_ten_seconds_if_they_are_half_of_all(text: str, strikes: int) -> None:
    """Here and in Redis."""
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0))
    await both_ways(shared, "gate", AMPLE, sent(text))
    standing = await shared.standing("gate", AMPLE)
    assert standing is not None
    assert standing.pause.strikes == strikes


def test_a_probe_that_fails_makes_the_next_pause_longer() -> None:
    it = Asking(Allowance(1e6, 1e6, 10))
    for _ in range(FAILURES):
        pause = it.go(FAILING)
    for seconds in (1.0, 2.0, 4.0, 8.0):
        assert pause.seconds == seconds
        it.now += seconds
        pause = it.go(FAILING)
    it.now += pause.seconds
    assert it.go(ANSWERED).strikes == 0
    assert it.go(FAILING).strikes == 0, "closed again, with a window of its own"


def test_an_abandoned_probe_lets_the_next_one_try() -> None:
    it = Asking()
    it.go(Report("limited", 1.0))
    it.now += 1
    assert it.go(ABANDONED).strikes == 1
    it.go()


def test_turns_granted_for_after_a_pause_began_are_void() -> None:
    """Their holders are charged once more; and the pause gives back what comes in meanwhile, not the burst."""
    it = Asking()
    for _ in range(4):
        it.go()
    for _ in range(50):
        it.ask(patience=10)
    it.now += 0.1
    epoch = it.gate.epoch
    ticket, turn = it.ask(paid=epoch)
    assert isinstance(turn, Turn)
    it.gate.release(ticket, it.now, turn.epoch, Report("limited", 0.2), 0.5, it.allowance)
    it.now += 0.2
    it.go()
    turns = [it.ask(patience=10, paid=epoch)[1] for _ in range(3)]
    assert [turn.wait for turn in turns] == pytest.approx([0.0, 0.1, 0.2])


def test_a_share_is_never_nothing() -> None:
    assert Allowance(20.0, 40, 8).share(3) == Allowance(20 / 3, 40 / 3, 2, MAX_WAIT + 3 / 20)
    assert Allowance(20.0, 40, 8).share(3, 2) == Allowance(40 / 3, 80 / 3, 5, MAX_WAIT + 3 / 20)
    assert Allowance(2.0, 1, 1).share(50) == Allowance(2 / 50, 1.0, 1, MAX_WAIT + 50 / 2)
    assert Allowance(2.0, 1, 1).ahead() == Allowance(2.0, 1.0, 1)


def test_what_was_charged_at_the_rate_of_a_few_is_no_clock_that_is_wrong() -> None:
    """For whom all agree may ask after one who is the only one as far as it knows."""
    gate, allowance = Gate(T0), Allowance(1.0, 2, 4, reach=10.0)
    assert isinstance(gate.admit("a", T0, allowance.share(40, 1), patience=10.0, paid=None), Turn)
    late = gate.admit("d", T0, allowance.share(40, 40), patience=1.0, paid=None)
    assert isinstance(late, Refused)
    assert late.wait > 30


def test_a_gate_that_takes_over_begins_with_one_turn() -> None:
    it = Asking()
    it.gate.spend_burst(it.now, it.allowance)
    it.go()
    assert it.refusal().wait == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1.5)), max_size=80))
def test_never_more_than_rate_and_burst(steps: list[tuple[float, float]]) -> None:
    """Whatever is asked when, in any time there begin no more turns than burst + rate times time."""
    it = Asking(Allowance(10.0, 4, 1000))
    begun = []
    for passes, patience in steps:
        it.now += passes / 10
        _, turn = it.ask(patience)
        if isinstance(turn, Turn):
            begun.append(it.now + turn.wait)
    begun.sort()
    for first, start in enumerate(begun):
        for number, end in enumerate(begun[first:], start=1):
            assert number <= 4 + 10 * (end - start) + 1e-6


# The rules in Redis are the same.

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
AMPLE = Allowance(1000.0, 1000, 1000)


async def both_ways(shared: SharedGate, name: str, allowance: Allowance, todo: list[tuple[str, Any]]) -> None:
    gate, now, under_way = Gate(T0), T0, list[tuple[str, int]]()
    # In Redis a gate begins with the first who asks.
    begun = itertools.dropwhile(lambda step: step[0] in ("pass", "leave"), todo)
    for number, (what, value) in enumerate(begun):
        shared.now = now
        match what:
            case "pass":
                now += value
            case "ask" | "ahead" | "again":
                ticket = under_way[-1][0] if what == "again" and under_way else f"t{number}"
                asked = allowance.ahead() if what == "ahead" else allowance
                here = gate.admit(ticket, now, asked, patience=value)
                answer = await shared.admit(name, ticket, asked, patience=value, paid=None, reported=AskerState())
                assert answer is not None
                assert answer[0] == here
                if isinstance(here, Turn):
                    under_way.append((ticket, here.epoch))
            case "leave" if under_way:
                ticket, epoch = under_way.pop(0)
                jitter = (number % 10) / 10
                here_pause = gate.release(ticket, now, epoch, value, jitter, allowance)
                assert await shared.release(name, ticket, epoch, value, jitter, allowance) == here_pause
        shared.now = now
        standing = await shared.standing(name, allowance)
        assert standing is not None
        here_standing = gate.standing(now, allowance)
        assert (standing.held, standing.pause) == (here_standing.held, here_standing.pause)
        assert standing.turns == pytest.approx(here_standing.turns)


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


async def test_something_else_under_the_keys() -> None:
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


@pytest.mark.parametrize("seconds", [1e17, float("inf"), float("nan")])
def test_a_pause_that_others_tell_of_is_an_hour_at_most(seconds: float) -> None:
    """Of another release, or garbage; and this process would tell a Redis that has forgotten of it."""
    gate = Gate(T0)
    gate.mirror(Pause(seconds, "limited", 1), T0)
    assert gate.asker_state(T0, ALLOWANCE, unreported=True).pause == Pause(MAX_WAIT, "limited", 1)


def test_a_pause_that_others_tell_of_again_is_the_same_one() -> None:
    """All who ask beside its probe are told of it; if Redis goes then, that the probe has failed is to count here."""
    it = Asking()
    it.gate.mirror(Pause(1.0, "limited", 1), it.now)
    it.gate.mirror(Pause(3.0, "limited", 1), it.now)
    assert it.refusal() == Refused("limited", 3.0), "it may become longer"
    it.now += 3
    ticket, probe = it.ask()
    assert isinstance(probe, Turn)
    it.now += 0.1
    it.gate.mirror(Pause(0.0, "failing", 1), it.now)  # as a granted turn says it, which knows no cause
    assert it.gate.pause(it.now) == Pause(0.0, "limited", 1)
    assert it.gate.release(ticket, it.now, probe.epoch, FAILING, 1.0, it.allowance) == Pause(2.0, "failing", 2)


def test_what_began_before_a_pause_that_others_tell_of_is_no_strike() -> None:
    it = Asking()
    ticket, turn = it.ask()
    assert isinstance(turn, Turn)
    it.gate.mirror(Pause(0.0, "limited", 1), it.now)
    assert it.gate.release(ticket, it.now, turn.epoch, Report("limited"), 1.0, it.allowance) == Pause(0.0, "limited", 1)


async def test_a_gate_that_is_told_of_a_pause_or_is_crowded_is_not_kept_for_good() -> None:
    redis = fakeredis.FakeAsyncRedis()
    shared = SharedGate(RedisLink(redis, 5.0), now=T0)
    told = AskerState(Pause(5.0, "limited", 3))
    await shared.admit("told", "t", ALLOWANCE, patience=0.0, paid=None, reported=told)
    await redis.zadd("crowded:slots", {f"{number}": T0 + SLOT_SECONDS for number in range(3)})
    await shared.admit("crowded", "t", ALLOWANCE, patience=0.0, paid=None, reported=AskerState())
    for gate in ("told", "crowded"):
        assert 0 < await redis.pttl(f"{gate}:gate") <= 2 * MAX_WAIT * 1000


def test_the_longest_pause_is_a_minute() -> None:
    assert LONGEST_PAUSE == 60.0
