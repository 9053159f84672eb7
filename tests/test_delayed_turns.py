"""Turns for later: who came first has the one that is due first."""

from __future__ import annotations

import asyncio

from proxy.admission.delayed_turns import DelayedTurns


async def test_who_came_first_has_the_turn_that_is_due_first() -> None:
    later, had = DelayedTurns[str](), list[tuple[int, str | None]]()

    async def wait(came: int, turn: str, seconds: float) -> None:
        had.append((came, await later.due(came, turn, seconds, 5.0)))

    await asyncio.gather(wait(2, "second", 0.01), wait(1, "last", 0.02), wait(0, "first", 0.0))
    assert had == [(0, "first"), (1, "second"), (2, "last")]
    assert not later


async def test_the_turn_of_who_is_gone_is_for_the_next() -> None:
    later = DelayedTurns[str]()
    gone, cancelled = (asyncio.create_task(later.due(came, f"{came}", 0.5, 0.01)) for came in (0, 1))
    stays = asyncio.create_task(later.due(2, "own", 0.5, 5.0))
    await asyncio.sleep(0)
    assert len(later) == 3
    cancelled.cancel()
    assert await gone is None
    assert await stays == "0"
    assert not later
    await asyncio.sleep(0.05)  # what is due then is for nobody


async def test_a_turn_that_is_due_when_nobody_waits_any_more_is_no_fault() -> None:
    later, faults = DelayedTurns[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    assert await later.due(0, "turn", 0.002, 0.0) is None
    await asyncio.sleep(0.004)
    assert not faults
