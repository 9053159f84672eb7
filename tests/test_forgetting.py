"""A Redis that forgets all replicas' gate again and again is not gone by."""

from __future__ import annotations

from proxy.admission.forgetting import LASTING, Forgetting
from tests.support import Clock


def test_what_is_forgotten_twice_within_two_seconds_is_not_gone_by_until_it_lasts() -> None:
    clock = Clock(1000.0)
    it = Forgetting(clock)
    for born, after in ((5.0, 0.0), (5.0, 0.1), (6.0, 0.1), (6.0, 0.1), (9.0, LASTING)):
        clock.advance(after)
        it.note(born)
        assert not it.again_and_again, "when the process begins, and each time for itself"
    for born in (9.1, 9.2, 10.5):
        clock.advance(LASTING / 2)
        it.note(born)
        assert it.again_and_again
    clock.advance(LASTING)
    assert not it.again_and_again


def test_a_late_answer_is_of_no_other_gate() -> None:
    it = Forgetting(Clock(1000.0))
    for born in (5.0, 6.0, 5.0, 6.0, 5.0):
        it.note(born)
    assert not it.again_and_again
