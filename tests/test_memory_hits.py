"""What is answered at once while the hub is left alone: what asking it would end in, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest

from proxy.admission.refusals import CHECK_INTERVAL, GaveWay
from proxy.answer.directives import NO_DIRECTIVES, Directives
from proxy.answer.outcome import Hit, Landed, Miss, StaleHit
from proxy.errors import HubBusy, HubRateLimited
from proxy.fetch_queue import Wait
from proxy.known.trust import Trust
from proxy.questions.demand import TICK
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.settings import HubSettings
from tests.page_fixture import OTHER, QUESTION, Fixture, fixture
from tests.support import Clock


async def become_stale(it: Fixture, clock: Clock | None = None) -> Clock:
    """Have the page, and let it grow stale; return the clock that the shield goes by."""
    it.shield._clock = it.shield._gates._clock = clock = clock or Clock()
    await it.ask()
    it.clock.advance(6)
    return clock


async def begin_backoff(it: Fixture, clock: Clock, status: int = 429) -> StaleHit:
    """Have the hub left alone, and known to be, at a time when the page is stale; return what a caller gets then."""
    await become_stale(it, clock)
    it.hub.status = status
    await it.ask(max_age=0.0)
    await it.fetcher.drain(1)  # else the next one follows this one's flight to its end
    outcome = await it.ask(max_age=0.0)
    assert isinstance(outcome, StaleHit)
    return outcome


@pytest.mark.parametrize(("status", "reason"), [(429, "hub_rate_limited"), (503, "hub_unavailable")])
async def test_a_stale_page_is_at_hand_while_the_hub_rests(status: int, reason: str) -> None:
    async with fixture() as it:
        it.hub.retry_after = "9"
        slow = await begin_backoff(it, Clock(), status)
        asked = it.hub.asked
        at_once = it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES)
        assert at_once == slow
        assert isinstance(at_once, StaleHit)
        assert at_once.reason == reason
        assert at_once.ttl < 0
        assert it.hub.asked == asked


async def test_a_stale_page_is_at_hand_while_the_hub_fails_too_often() -> None:
    async with fixture() as it:
        await become_stale(it)
        it.hub.status = 500
        outcomes = [await it.ask() for _ in range(8)]
        assert {outcome.reason for outcome in outcomes} == {"hub_failed", "hub_resting"}
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) == outcomes[-1]


async def test_one_caller_in_a_while_looks_whether_it_still_rests() -> None:
    async with fixture() as it:
        clock = Clock()
        await begin_backoff(it, clock)
        for _ in range(5):
            clock.advance(CHECK_INTERVAL)
            assert isinstance(await it.ask(), StaleHit), "the one that looks"
            assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES)
        for _ in range(2):
            clock.advance(CHECK_INTERVAL)
            assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None
            assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES), "the others need not wait for that"
        clock.advance(2 * CHECK_INTERVAL)
        for _ in range(2):
            assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None, "nobody has looked for too long"
        clock.advance(100)
        it.hub.status = 200
        assert isinstance(await it.ask(), Miss)
        it.clock.advance(6)
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


async def test_a_page_that_is_gone_is_not_at_hand() -> None:
    async with fixture(stale_if_error=10) as it:
        await begin_backoff(it, Clock())
        it.clock.advance(20)
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


@pytest.mark.parametrize("status", [401, 403])
async def test_nothing_is_at_hand_where_a_right_may_have_been_withdrawn(status: int) -> None:
    async with fixture() as it:
        await become_stale(it)
        it.hub.status = status
        for _ in range(3):
            with pytest.raises(Exception, match=r"token|403"):
                await it.ask()
            assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


async def test_a_stale_page_is_at_hand_while_the_rate_is_used_up() -> None:
    """Until somebody who waits as long as any would be granted a turn."""
    async with fixture() as it:
        clock = await become_stale(it)
        allowance, gate = it.shield.allowance, it.shield._gates._local
        patience = it.shield._longest
        gate._next_at = clock() + (allowance.burst - 1) / allowance.rate + patience + CHECK_INTERVAL / 2
        slow = await it.ask()
        assert isinstance(slow, StaleHit)
        assert slow.reason == "hub_busy"
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) == slow
        with pytest.raises(HubBusy) as told:
            await it.ask(OTHER)
        assert told.value.retry_after == pytest.approx(patience + CHECK_INTERVAL / 2, abs=0.01), (
            "when a turn may be had"
        )
        clock.advance(CHECK_INTERVAL / 2)
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None, "one looks whether there is a turn"
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES)
        waiting = asyncio.create_task(it.ask(OTHER))
        clock.advance(2 * CHECK_INTERVAL)
        while it.shield.hold_off() is not None:
            await asyncio.sleep(0)
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None, "there is, though for later"
        waiting.cancel()


async def test_who_waits_for_longer_than_callers_has_a_turn_though_they_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a crowd keeps nobody from learning whose generation an event tells of."""
    async with fixture() as it:
        clock = await become_stale(it)
        allowance, gate, patience = it.shield.allowance, it.shield._gates._local, it.shield._longest
        waited = []

        async def due(_place: int, turn: Any, wait: float, _seconds: float) -> Any:
            waited.append(wait)
            return turn

        async def refused(page: int) -> bool:
            gate._next_at = clock() + (allowance.burst - 1) / allowance.rate + patience + 1.0
            with pytest.raises(HubBusy):
                await it.ask(page_question("c", ListQuery(page=page)))
            return it.shield.hold_off() is not None

        monkeypatch.setattr(it.shield._delayed_turns, "due", due)
        assert await refused(3)
        monkeypatch.setattr(it.pages.queue, "_limits", HubSettings(max_waiting=1))
        monkeypatch.setattr(it.pages.queue, "waiting", 1)
        longer = Wait(asyncio.get_running_loop().time() + 4 * patience, reserved=True)
        assert isinstance(await it.pages.answer(OTHER, wait=longer), Miss)
        assert waited == [pytest.approx(patience + 1.0)]
        monkeypatch.setattr(it.pages.queue, "waiting", 0)
        assert await refused(4), "they are turned away as soon as ever"


async def test_nothing_is_at_hand_where_somebody_gave_way_for_whom_nobody_waits() -> None:
    """Half of the budget is left to callers."""
    async with fixture() as it:
        clock = await become_stale(it)
        it.shield._gates._local._next_at = clock() + it.shield._longest + 1.0
        with pytest.raises(GaveWay):
            async with it.shield.turn(it.shield._longest, ahead=True):
                pass
        assert it.shield.hold_off() is None
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


async def test_nothing_is_at_hand_where_merely_all_slots_are_taken() -> None:
    """One may become free at any time."""
    async with fixture() as it:
        clock = await become_stale(it)
        it.shield._gates._local._slots = {
            f"t{number}": clock() + 1000 for number in range(it.shield.allowance.concurrency)
        }
        with pytest.raises(HubBusy):
            async with it.shield.turn(0.0):
                pass
        assert it.shield.hold_off() is None
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


async def test_directives_are_heeded_as_ever() -> None:
    async with fixture() as it:
        await begin_backoff(it, Clock())
        at_hand = it.pages.memory_hits
        assert at_hand.answer(QUESTION, Directives(only_if_cached=True)) is None
        allowed = at_hand.answer(QUESTION, Directives(max_stale=60.0))
        assert isinstance(allowed, StaleHit)
        assert allowed.reason == "allowed"
        fresh = at_hand.answer(QUESTION, Directives(max_age=0.0))
        assert fresh == await it.ask(max_age=0.0)


@pytest.mark.parametrize(("statuses", "at_once"), [(["succeeded"], True), (["processing"], False)])
async def test_a_live_page_may_be_newer_in_another_replica(
    monkeypatch: pytest.MonkeyPatch, statuses: list[str], *, at_once: bool
) -> None:
    """Its listing's totals do not tell: so Redis is asked, and what that knows is at hand."""
    async with fixture(fakeredis.FakeServer()) as it:
        monkeypatch.setattr(Trust, "news_flowing", True)
        it.hub.statuses = statuses
        await begin_backoff(it, Clock())
        at_hand = it.pages.memory_hits
        it.clock.advance(2 * TICK)
        assert (at_hand.answer(QUESTION, NO_DIRECTIVES) is not None) is at_once
        assert isinstance(await it.ask(), StaleHit)
        assert isinstance(at_hand.answer(QUESTION, NO_DIRECTIVES), StaleHit), "somebody has just looked"
        it.clock.advance(2 * TICK)
        assert (at_hand.answer(QUESTION, NO_DIRECTIVES) is not None) is at_once


async def test_a_page_that_is_due_is_not_refreshed_while_the_hub_rests() -> None:
    async with fixture() as it:
        clock = Clock()
        it.shield._clock = it.shield._gates._clock = clock
        await it.ask()
        it.hub.status = 429
        it.clock.advance(1)
        for _ in range(2):
            await it.ask(max_age=0.0)
        asked = it.hub.asked
        it.clock.advance(3.8)
        assert isinstance(await it.ask(), Hit)
        assert not it.pages.refresh_ahead._under_way
        clock.advance(CHECK_INTERVAL)
        assert isinstance(await it.ask(), Hit)
        assert it.pages.refresh_ahead._under_way, "to look whether it still rests"
        await it.pages.drain(1)
        assert it.hub.asked == asked


async def test_while_redis_cannot_be_asked_nobody_waits_for_it() -> None:
    """What a look would tell is known: nothing, so that memory answers, by what it has learned since."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        clock = it.shared._link._clock = Clock()
        at_hand = it.pages.memory_hits
        await it.ask()
        assert at_hand.answer(QUESTION, NO_DIRECTIVES) is None, "without news, Redis is looked into"
        server.connected = False
        assert isinstance(await it.ask(), Miss)
        hit = at_hand.answer(QUESTION, NO_DIRECTIVES)
        assert isinstance(hit, Hit)
        assert hit.ttl <= 1
        it.clock.advance(1)
        assert at_hand.answer(QUESTION, NO_DIRECTIVES) is None, "apart from others nothing is fresh for longer"
        assert isinstance(await it.ask(), Miss)
        assert isinstance(at_hand.answer(QUESTION, NO_DIRECTIVES), Hit)
        clock.advance(1)
        assert at_hand.answer(QUESTION, NO_DIRECTIVES) is None, "somebody has to look whether it is back"
        server.connected = True
        await it.ask()
        assert at_hand.answer(QUESTION, NO_DIRECTIVES) is None


async def test_what_redis_may_know_better_is_not_served_before_it_was_looked_for() -> None:
    """A fault of another call says nothing of this: what was there before is not doubted until somebody has looked."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        it.shared._link._fault("publish", "TimeoutError")
        assert it.shared.backing_off
        assert it.pages.memory_hits.answer(QUESTION, NO_DIRECTIVES) is None


async def test_a_redis_that_takes_no_writes_is_not_looked_into_where_news_flows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others cannot be told, so that nothing stays fresh for long; but what they tell is heard."""
    async with fixture(fakeredis.FakeServer()) as it:
        trust, at_hand = it.pages._known.trust, it.pages.memory_hits
        monkeypatch.setattr(trust, "_news", SimpleNamespace(flowing=True))
        await it.ask()
        assert isinstance(at_hand.answer(QUESTION, NO_DIRECTIVES), Hit)

        async def full(*_: object, **__: object) -> None:
            return None

        monkeypatch.setattr(it.shared, "store", full)
        await it.ask(max_age=0.0)
        it.clock.advance(0.6)
        await it.ask(max_age=0.0)
        assert not trust.in_sync
        hit = at_hand.answer(QUESTION, NO_DIRECTIVES)
        assert isinstance(hit, Hit)
        assert hit.ttl <= 1
        it.clock.advance(1)
        assert at_hand.answer(QUESTION, NO_DIRECTIVES) is None


def fetched(it: Fixture, monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """What is fetched from here on."""
    fetches: list[Question] = []
    fetch = it.fetcher.fetch

    async def noting(question: Question, **how: Any) -> Landed:
        fetches.append(question)
        return await fetch(question, **how)

    monkeypatch.setattr(it.fetcher, "fetch", noting)
    return fetches


@pytest.mark.parametrize("redis", [False, True], ids=["alone", "with Redis"])
async def test_where_nothing_is_kept_no_flight_begins_while_the_hub_rests(
    monkeypatch: pytest.MonkeyPatch, *, redis: bool
) -> None:
    """Each would take a lease, and tell all replicas that it has landed."""
    async with fixture(fakeredis.FakeServer() if redis else None) as it:
        if redis:
            monkeypatch.setattr(Trust, "news_flowing", True)
        clock = it.shield._clock = it.shield._gates._clock = Clock()
        it.hub.status, it.hub.retry_after = 429, "9"
        with pytest.raises(HubRateLimited):
            await it.ask()
        await it.shield.drain(1)
        with pytest.raises(HubRateLimited):
            await it.ask()
        fetches = fetched(it, monkeypatch)
        clock.advance(CHECK_INTERVAL / 2)
        for page in range(1, 9):
            with pytest.raises(HubRateLimited) as told:
                await it.ask(page_question("c", ListQuery(page=page)))
            assert told.value.retry_after == pytest.approx(9 - CHECK_INTERVAL / 2, abs=0.5 if redis else 0.01), (
                "the time that is left"
            )
        assert fetches == []
        clock.advance(CHECK_INTERVAL)
        for _ in range(8):
            with pytest.raises(HubRateLimited):
                await it.ask()
        assert fetches == [QUESTION], "one looks whether it still rests"
        if not redis:  # whose gate goes by its own clock
            clock.advance(100)
            it.hub.status = 200
            assert isinstance(await it.ask(OTHER), Miss)


async def test_who_asks_the_same_as_the_probe_is_handed_its_answer() -> None:
    async with fixture() as it:
        clock = it.shield._clock = it.shield._gates._clock = Clock()
        it.hub.status = 429
        for _ in range(2):
            with pytest.raises(HubRateLimited):
                await it.ask()
        clock.advance(100)
        it.hub.status = 200
        it.hub.gate.clear()
        probe = asyncio.create_task(it.ask())
        while it.hub.asked < 2:
            await asyncio.sleep(0)
        other = asyncio.create_task(it.ask())
        for _ in range(9):
            await asyncio.sleep(0)
        it.hub.gate.set()
        assert (await other).page is (await probe).page


async def test_what_only_redis_has_stands_in_while_the_hub_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        monkeypatch.setattr(Trust, "news_flowing", True)
        await it.replica().answer(QUESTION)
        it.clock.advance(6)
        it.shield._clock = it.shield._gates._clock = Clock()
        it.hub.status = 429
        for _ in range(2):
            with pytest.raises(HubRateLimited):
                await it.ask(OTHER)
        fetches = fetched(it, monkeypatch)
        outcome = await it.ask()
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "hub_rate_limited"
        assert fetches == []
