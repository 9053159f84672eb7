"""A hub that dawdles costs a caller no more than its patience, where a page is kept that may be served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.answer.outcome import Hit, Miss, StaleHit
from tests.page_fixture import OTHER, QUESTION, fixture


@pytest.mark.usefixtures("virtual_time")
async def test_a_slow_hub_costs_no_more_than_patience_where_a_page_is_kept() -> None:
    """And the refresh goes on."""
    async with fixture(patience=0.02) as it:
        await it.ask()
        it.clock.advance(6)
        it.hub.gate.clear()
        stale = await it.ask()
        assert isinstance(stale, StaleHit)
        assert (stale.reason, stale.age) == ("patience", 6)
        assert it.hub.asked == 2
        it.hub.gate.set()
        await it.pages.drain(5)
        assert isinstance(await it.ask(), Hit)
        assert it.hub.asked == 2


async def test_patience_counts_from_when_the_hub_began_to_dawdle(virtual_time: Callable[[], float]) -> None:
    """Who joins a fetch for which others have waited already does not wait as long once more, in vain."""
    async with fixture(patience=1.0) as it:

        async def waited() -> float:
            began = virtual_time()
            assert isinstance(await it.ask(), StaleHit)
            return virtual_time() - began

        await it.ask()
        it.clock.advance(6)
        it.hub.gate.clear()
        assert [await waited() for _ in range(3)] == pytest.approx([1.0, 0.0, 0.0])
        it.hub.gate.set()
        await it.pages.drain(5)
        it.clock.advance(6)
        it.hub.gate.clear()
        assert await waited() == pytest.approx(1.0), "each fetch is waited for"
        it.hub.gate.set()
        assert it.hub.asked == 3


@pytest.mark.usefixtures("virtual_time")
async def test_patience_without_a_servable_page_waits() -> None:
    async with fixture(patience=0.0) as it:
        it.hub.gate.clear()
        task = asyncio.create_task(it.ask())
        await asyncio.sleep(0.02)
        assert not task.done()
        it.hub.gate.set()
        assert isinstance(await task, Miss)


@pytest.mark.usefixtures("virtual_time")
async def test_patience_never_shows_a_moment_that_was_retired_meanwhile() -> None:
    async with fixture(patience=0.05) as it:
        await it.ask(QUESTION)
        it.clock.advance(6)
        slow_gate, it.hub.gate = it.hub.gate, asyncio.Event()
        task = asyncio.create_task(it.ask(QUESTION))
        await asyncio.sleep(0.01)
        held, it.hub.gate = it.hub.gate, slow_gate
        it.clock.advance(0.1)
        it.hub.total += 1
        await it.ask(OTHER)
        await asyncio.sleep(0.1)
        assert not task.done(), "what is kept is of an older moment than others were shown"
        it.clock.advance(0.1)
        held.set()
        assert (await task).page.stamp.total_entries == 10
