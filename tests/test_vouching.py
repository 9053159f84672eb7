"""An answer for any page of a listing vouches for all of them, or retires them all, in every replica."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest

from proxy.answer.outcome import Hit, Landed, Miss
from proxy.answer.record import Record, Stamp
from proxy.fetch import ATTEMPTS
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from tests.page_fixture import OTHER, QUESTION, fixture


async def test_an_answer_for_any_page_keeps_all_fresh() -> None:
    """One caller who polls page 1 keeps pages 2…N fresh for nothing."""
    async with fixture() as it:
        await it.ask(OTHER)
        for _ in range(10):
            await it.ask(QUESTION, max_age=0)
            it.clock.advance(4)
        asked = it.hub.asked
        hit = await it.ask(OTHER)
        assert isinstance(hit, Hit)
        assert hit.age < 5
        assert it.hub.asked == asked


async def test_no_answer_keeps_others_fresh_for_longer_than_max_page_age() -> None:
    async with fixture(max_page_age=30) as it:
        await it.ask(OTHER)
        for _ in range(8):
            it.clock.advance(4)
            await it.ask(QUESTION, max_age=0)
        assert isinstance(await it.ask(OTHER), Miss)


async def test_an_answer_with_another_stamp_retires_all_pages() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.hub.total += 1
        await it.ask(page_question("c", ListQuery(page=3)))
        for question in (QUESTION, OTHER):
            outcome = await it.ask(question)
            assert isinstance(outcome, Miss)
            assert outcome.page.stamp.total_entries == 10


async def test_a_late_charge_shows_within_settled_ttl() -> None:
    """The hub may change a terminal row's cost a little later; the totals tell."""
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.hub.cost = "0.0400"
        it.clock.advance(5.1)
        for question in (OTHER, QUESTION):
            assert (await it.ask(question)).page.stamp.total_cost == "0.0400"


async def test_another_page_size_is_the_same_listing_other_filters_are_not() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        it.hub.total += 1
        await it.ask(page_question("c", ListQuery(model="m")))
        assert isinstance(await it.ask(QUESTION), Hit)
        await it.ask(page_question("c", ListQuery(page_size=5)))
        assert isinstance(await it.ask(QUESTION), Miss)


@pytest.mark.usefixtures("virtual_time")
async def test_an_overlapping_answer_of_another_moment_is_asked_for_again() -> None:
    """Two requests under way at once: whose answer is the older one cannot be known, so the hub is asked again."""
    async with fixture() as it:
        it.hub.gate.clear()
        slow = asyncio.create_task(it.ask(QUESTION))
        await asyncio.sleep(0.01)
        it.clock.advance(0.1)
        first_gate, it.hub.gate = it.hub.gate, asyncio.Event()
        it.hub.gate.set()
        await it.ask(OTHER)
        assert it.hub.asked == 2
        it.clock.advance(0.1)
        it.hub.total += 1
        first_gate.set()
        outcome = await slow
        assert it.hub.asked == 3
        assert outcome.page.stamp.total_entries == 10
        assert isinstance(await it.ask(OTHER), Miss), "the other page is of the older moment now"


async def test_replicas_learn_of_each_others_moves_through_redis() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        await it.ask(QUESTION)
        assert isinstance(await other.answer(QUESTION), Hit)
        it.hub.total += 1
        await other.answer(OTHER)
        outcome = await it.ask(QUESTION)
        assert isinstance(outcome, Miss)
        assert outcome.page.stamp.total_entries == 10


async def test_a_crowd_shares_what_is_behind_if_it_was_asked_for_after_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listing that moves faster than a page of it comes: to ask for oneself would bring nothing newer."""
    async with fixture() as it:
        known = it.pages._known

        async def moves(*arguments: Any, **named: Any) -> Landed:
            it.clock.advance(1)
            total = 100 + it.hub.asked
            known._memory.learn(OTHER.listing, Record(Stamp(total, None), 0.0, it.clock(), it.clock()))
            return await learn(*arguments, **named)

        learn = known.learn
        monkeypatch.setattr(known, "learn", moves)
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*(it.pages.answer(OTHER) for _ in range(6)))
        assert all(isinstance(outcome, Miss) for outcome in outcomes)
        assert it.fetcher.learned["behind"] == it.hub.asked == ATTEMPTS
