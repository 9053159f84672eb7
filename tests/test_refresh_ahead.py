"""Pages in demand are refreshed before they go stale, and nobody who waits is held up by that."""

from __future__ import annotations

import asyncio

import pytest

from proxy.answer.outcome import Hit
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from tests.page_fixture import OTHER, QUESTION, fixture


async def test_a_page_often_asked_for_is_refreshed_ahead() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        assert isinstance(await it.ask(), Hit)
        await it.pages.drain(5)
        assert it.hub.asked == 2
        it.clock.advance(1)
        hit = await it.ask()
        assert isinstance(hit, Hit)
        assert hit.age == pytest.approx(1)


async def test_a_page_seldom_asked_for_is_not_refreshed_ahead() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.4)
        assert isinstance(await it.ask(), Hit)
        it.clock.advance(100)
        await it.pages.drain(5)
        assert it.hub.asked == 1


@pytest.mark.usefixtures("virtual_time")
async def test_refreshing_ahead_leaves_room_for_callers_who_wait() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        it.hub.gate.clear()
        waiting = [asyncio.create_task(it.ask(page_question("c", ListQuery(model=f"m{n}")))) for n in range(4)]
        await asyncio.sleep(0.01)
        assert isinstance(await it.ask(), Hit)
        await asyncio.sleep(0.01)
        assert it.hub.asked == 1 + len(waiting), "half of hub.concurrency is in use"
        it.hub.gate.set()
        await asyncio.gather(*waiting)


async def test_one_refresh_ahead_vouches_for_a_whole_listing() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.clock.advance(4.6)
        it.hub.gate.clear()
        for question in (QUESTION, OTHER, QUESTION):
            assert isinstance(await it.ask(question), Hit)
        it.hub.gate.set()
        await it.pages.drain(5)
        assert it.hub.asked == 3
        it.clock.advance(2)
        assert isinstance(await it.ask(OTHER), Hit)
