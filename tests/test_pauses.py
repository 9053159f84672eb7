"""Pauses: for how long the hub is left alone, which answers begin and end that, and the probe."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.admission.gate import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_RETRY,
    SLOT_SECONDS,
    Gate,
    Pause,
    Refused,
    Report,
    Turn,
)
from proxy.hub.retry_after import MAX_WAIT
from tests.gate_fixture import ABANDONED, ALLOWANCE, ANSWERED, FAILING, T0, Asking


@pytest.mark.parametrize("outcome", ["limited", "unavailable"])
def test_a_pause_is_as_long_as_the_hub_says_and_ends_with_one_probe(outcome: Any) -> None:
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


def test_the_longest_pause_is_a_minute() -> None:
    assert LONGEST_PAUSE == 60.0


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


def test_a_probe_that_dies_is_replaced() -> None:
    it = Asking()
    it.go(Report("limited", 1.0))
    it.now += 1
    assert isinstance(it.ask()[1], Turn)
    it.now += SLOT_SECONDS + 0.01
    assert isinstance(it.ask()[1], Turn)


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
