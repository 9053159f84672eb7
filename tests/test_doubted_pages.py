"""Pages that an event has made doubtful, with the clock in hand and the hub's answers gated by events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest

from proxy.answer.directives import Directives
from proxy.answer.freshness import DOUBT_GRACE
from proxy.answer.outcome import Hit, Miss, StaleHit
from proxy.known.completion import Completion
from proxy.pages import Pages
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from tests.page_fixture import OTHER, QUESTION, Fixture, fixture

DONE = Completion("0e8a1f64-0000-4000-8000-000000000001", "succeeded", "video", "veo-4", "{}")
IMAGES = page_question("c", ListQuery(media_type="image"))


def happen(it: Fixture, *others: Pages, after: float = 1.0) -> None:
    """A generation ends, so many seconds from now; all replicas hear of it."""
    it.clock.advance(after)
    for one in (it.pages, *others):
        one._known.doubts.add("default", DONE, it.clock())


async def look_through(pages: Pages) -> None:
    pages.refresh_ahead.refresh_doubted("default")
    await asyncio.sleep(0)


async def drained(pages: Pages) -> None:
    assert await pages.drain(5) == 0


async def test_a_completion_is_seen_whatever_settled_ttl_is() -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        await it.ask(IMAGES)
        happen(it)
        outcome = await it.ask()
        assert isinstance(outcome, Miss)
        assert outcome.forward == "stale"
        assert isinstance(await it.ask(IMAGES), Hit), "it has no videos"
        assert isinstance(await it.ask(), Hit), "asked for after the event"


async def test_one_answer_confirms_all_settled_pages_of_the_listing() -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        await it.ask(OTHER)
        happen(it)
        await it.ask()
        assert isinstance(await it.ask(OTHER), Hit)
        assert it.hub.asked == 3


async def test_min_refresh_yields_to_an_event() -> None:
    async with fixture(settled_ttl=3600, min_refresh=60) as it:
        await it.ask()
        happen(it)
        assert isinstance(await it.ask(), Miss)


async def test_many_events_cost_no_more_than_a_request_each_moment() -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        happen(it, after=DOUBT_GRACE / 2)
        assert isinstance(await it.ask(), Hit)
        it.clock.advance(DOUBT_GRACE / 2)
        assert isinstance(await it.ask(), Miss)


@pytest.mark.usefixtures("virtual_time")
async def test_a_doubted_page_stands_in() -> None:
    async with fixture(settled_ttl=3600, patience=0.01) as it:
        await it.ask()
        happen(it)
        it.hub.gate.clear()
        outcome = await it.ask()
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "patience"
        it.hub.gate.set()
        await drained(it.pages)
        happen(it)
        it.hub.status = 500
        outcome = await it.ask()
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "hub_failed"


async def test_an_answer_that_was_asked_for_before_the_event_confirms_nothing() -> None:
    async with fixture(settled_ttl=3600) as it:
        it.hub.gate.clear()
        first = asyncio.create_task(it.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        happen(it)
        it.hub.gate.set()
        landed = await first
        assert isinstance(landed, Miss), "whoever asked before the event may have it"
        assert landed.ttl <= 0
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 2


async def test_a_flight_from_before_the_event_does_not_do_for_a_caller_after_it() -> None:
    async with fixture(settled_ttl=3600) as it:
        it.hub.gate.clear()
        first = asyncio.create_task(it.ask())
        while not it.hub.asked:
            await asyncio.sleep(0)
        happen(it)
        second = asyncio.create_task(it.ask())
        await asyncio.sleep(0)
        it.hub.gate.set()
        before, after = await first, await second
        assert it.hub.asked == 2
        assert before.page.asked_at < it.clock() <= after.page.asked_at


async def test_events_without_end_do_not_keep_a_caller_waiting() -> None:
    async with fixture(settled_ttl=3600) as it:
        it.hub.gate.clear()
        tasks = [asyncio.create_task(it.ask()) for _ in range(5)]
        for _ in range(20):
            await asyncio.sleep(0)
        it.hub.gate.set()
        while not all(task.done() for task in tasks):
            happen(it, after=0.001)
            await asyncio.sleep(0)
        assert it.hub.asked <= 2


async def test_what_another_replica_got_before_the_event_does_not_do() -> None:
    async with fixture(fakeredis.FakeServer(), settled_ttl=3600) as it:
        await it.ask()
        other = it.replica()
        happen(it, other)
        outcome: Any = await other.answer(QUESTION, Directives())
        assert isinstance(outcome, Miss)
        assert it.hub.asked == 2
        outcome = await it.ask()
        assert isinstance(outcome, Hit), "and what it got after the event does"
        assert outcome.source == "redis"


async def test_pages_in_demand_are_refreshed_at_once() -> None:
    async with fixture(settled_ttl=3600) as it:
        for question in (QUESTION, OTHER, IMAGES):
            await it.ask(question)
        happen(it)
        await look_through(it.pages)
        await drained(it.pages)
        assert it.hub.asked == 4, "one page vouches for all settled pages of its listing"
        for question in (QUESTION, OTHER, IMAGES):
            assert isinstance(await it.ask(question), Hit)


async def test_a_crowd_of_events_is_worth_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        looks = []
        lately = it.pages.demand.in_demand

        def counted() -> Iterator[Question]:
            looks.append(it.clock())
            return lately()

        monkeypatch.setattr(it.pages.demand, "in_demand", counted)
        for _ in range(100):
            happen(it, after=0.01)
            it.pages.refresh_ahead.refresh_doubted("default")
        await asyncio.sleep(0)
        assert len(looks) == 1
        await drained(it.pages)
        assert it.hub.asked == 2
        happen(it)
        await look_through(it.pages)
        await drained(it.pages)
        assert (len(looks), it.hub.asked) == (2, 3), "and the next is worth another"


async def test_what_nobody_asked_lately_is_not_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        monkeypatch.setattr("proxy.questions.demand.DEMAND_SECONDS", -1.0)
        happen(it)
        await look_through(it.pages)
        await drained(it.pages)
        assert it.hub.asked == 1


async def test_an_event_during_the_refresh_has_it_done_again() -> None:
    async with fixture(settled_ttl=3600) as it:
        await it.ask()
        happen(it)
        it.hub.gate.clear()
        await look_through(it.pages)
        while it.hub.asked < 2:
            await asyncio.sleep(0)
        happen(it)
        await look_through(it.pages)
        it.hub.gate.set()
        await drained(it.pages)
        assert it.hub.asked == 3
        assert isinstance(await it.ask(), Hit)


async def test_replicas_refresh_once() -> None:
    async with fixture(fakeredis.FakeServer(), settled_ttl=3600) as it:
        replicas = [it.pages, it.replica(), it.replica()]
        for one in replicas:
            await one.answer(QUESTION, Directives())
        happen(it, *replicas[1:])
        for one in replicas:
            await look_through(one)
        for one in replicas:
            await drained(one)
        assert it.hub.asked == 2
