"""The breaker: how many failures within what time begin a pause."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from proxy.admission.breaker import FAILURES, WINDOW
from proxy.admission.gate import Allowance, Report
from proxy.admission.shared_gate import SharedGate
from proxy.redis.link import RedisLink
from tests.gate_fixture import AMPLE, ANSWERED, FAILING, Asking, both_ways


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
async def test_five_failures_in_ten_seconds_open_it_if_they_are_half_of_all(text: str, strikes: int) -> None:
    """Here and in Redis."""
    shared = SharedGate(RedisLink(fakeredis.FakeAsyncRedis(), 5.0))
    await both_ways(shared, "gate", AMPLE, sent(text))
    standing = await shared.standing("gate", AMPLE)
    assert standing is not None
    assert standing.pause.strikes == strikes
