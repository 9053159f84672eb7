"""A Redis that forgets all replicas' gate again and again is not gone by."""

from __future__ import annotations

import contextlib

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.gate_evictions import MIN_GATE_SECONDS, GateEvictions
from tests.shield_fixture import go, look, shield
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
