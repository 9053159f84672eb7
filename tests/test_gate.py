"""Turns at the hub: rate, burst and concurrency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.gate import SLOT_SECONDS, Allowance, Gate, Pause, Refused, Standing, Turn
from proxy.hub.retry_after import MAX_WAIT
from tests.gate_fixture import ANSWERED, T0, Asking


def test_a_burst_is_granted_and_then_the_rate() -> None:
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


def test_a_turn_that_is_asked_for_once_more_is_granted_again() -> None:
    """Redis is asked once more if its answer was lost with the connection: that costs no second unit of the rate."""
    it = Asking(Allowance(1.0, 1, 1))
    ticket, turn = it.ask()
    assert it.gate.admit(ticket, it.now, it.allowance, patience=0.0) == turn
    assert it.gate.standing(it.now, it.allowance) == Standing(0.0, 1, Pause())
    it.gate.release(ticket, it.now, 0, ANSWERED, 0.5, it.allowance)
    assert it.refusal().wait == pytest.approx(1.0)


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
def test_no_more_turns_begin_than_rate_and_burst_allow(steps: list[tuple[float, float]]) -> None:
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
