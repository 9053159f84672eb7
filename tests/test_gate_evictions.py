"""A Redis that forgets all replicas' gate again and again is not gone by."""

from __future__ import annotations

from proxy.admission.gate_evictions import MIN_GATE_SECONDS, GateEvictions
from tests.support import Clock


def test_what_is_forgotten_twice_within_two_seconds_is_not_gone_by_until_it_lasts() -> None:
    clock = Clock(1000.0)
    it = GateEvictions(clock)
    for born, after in ((5.0, 0.0), (5.0, 0.1), (6.0, 0.1), (6.0, 0.1), (9.0, MIN_GATE_SECONDS)):
        clock.advance(after)
        it.note(born)
        assert not it.frequent, "when the process begins, and each time for itself"
    for born in (9.1, 9.2, 10.5):
        clock.advance(MIN_GATE_SECONDS / 2)
        it.note(born)
        assert it.frequent
    clock.advance(MIN_GATE_SECONDS)
    assert not it.frequent


def test_a_late_answer_is_of_no_other_gate() -> None:
    it = GateEvictions(Clock(1000.0))
    for born in (5.0, 6.0, 5.0, 6.0, 5.0):
        it.note(born)
    assert not it.frequent
