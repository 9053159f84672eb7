"""One flight over all replicas: lease, handing over, repeating, giving way. (Over processes: test_faults.)"""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import httpx
import pytest

from proxy import errors
from proxy.gate import Allowance
from proxy.outcome import Hit, Led, Miss
from proxy.query import ListQuery
from proxy.question import page_question
from proxy.trust import Trust
from tests.test_pages import QUESTION, Fixture, fixture

LEASE_KEY = f"{QUESTION.page_key}:lease"


async def until_asked(hub: Any, times: int) -> None:
    async with asyncio.timeout(5):
        while hub.asked < times:
            await asyncio.sleep(0.001)


async def test_two_replicas_ask_once() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        it.hub.gate.clear()
        tasks = [asyncio.create_task(pages.answer(QUESTION)) for pages in (it.pages, other, it.pages, other)]
        await until_asked(it.hub, 1)
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        outcomes = await asyncio.gather(*tasks)
        assert it.hub.asked == 1
        assert {type(outcome) for outcome in outcomes} == {Miss}
        assert len({outcome.page.body for outcome in outcomes}) == 1
        assert [outcome.collapsed for outcome in outcomes if isinstance(outcome, Miss)].count(False) == 1


async def test_an_answer_that_nobody_may_keep_is_handed_over_too() -> None:
    async with fixture(fakeredis.FakeServer(), live_ttl=0, stale_if_error_live=0) as it:
        it.hub.statuses = ["processing"]
        other = it.replica()
        it.hub.gate.clear()
        tasks = [asyncio.create_task(pages.answer(QUESTION)) for pages in (it.pages, other)]
        await until_asked(it.hub, 1)
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        one, two = await asyncio.gather(*tasks)
        assert it.hub.asked == 1
        assert one.page == two.page


async def test_what_landed_since_the_look_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        known = it.fetcher._known
        lead = known.lead

        async def late(*arguments: Any, **named: Any) -> Led | None:
            await other.answer(QUESTION)
            return await lead(*arguments, **named)

        monkeypatch.setattr(known, "lead", late)
        outcome = await it.ask()
        assert it.hub.asked == 1
        assert isinstance(outcome, Miss)
        assert outcome.collapsed


async def test_but_what_was_known_before_is() -> None:
    """A caller who wants it fresher than what is kept is not handed the same page again."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        it.clock.advance(1)
        outcome = await it.ask(max_age=0.0)
        assert it.hub.asked == 2
        assert isinstance(outcome, Miss)
        assert not outcome.collapsed


async def test_a_lease_that_nobody_renews_ends() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        await redis.set(LEASE_KEY, "a replica that has died", px=200)
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 1
        await it.fetcher.drain(5)
        assert await redis.get(LEASE_KEY) is None


@pytest.mark.parametrize("how", ["without end", "list"])
async def test_something_else_under_the_lease(how: str) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        if how == "list":
            await redis.rpush(LEASE_KEY, "x")
        else:
            await redis.set(LEASE_KEY, "x")
        async with asyncio.timeout(1):
            assert isinstance(await it.ask(), Miss)


async def test_a_long_request_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.shared.LEASE", 0.5)
    monkeypatch.setattr("proxy.fetch.LEASE", 0.5)
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        it.hub.gate.clear()
        leading = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        following = asyncio.create_task(other.answer(QUESTION))
        await asyncio.sleep(1.1)
        it.hub.gate.set()
        await asyncio.gather(leading, following)
        assert it.hub.asked == 1


async def test_who_ends_gives_up_its_leases() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        it.hub.gate.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        assert await redis.exists(LEASE_KEY)
        await it.fetcher.release()
        assert not await redis.exists(LEASE_KEY)
        it.hub.gate.set()
        await asking


async def test_waiting_for_another_replica_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        monkeypatch.setattr(it.fetcher, "_deadline", 0.2)
        redis = fakeredis.FakeAsyncRedis(server=server)
        await redis.set(LEASE_KEY, "a replica with a slow hub", px=60_000)
        with pytest.raises(errors.HubBusy) as caught:
            await it.ask()
        assert caught.value.retry_after
        assert it.hub.asked == 0


async def test_a_redis_that_goes_while_the_hub_is_asked_costs_nobody_the_answer() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.gate.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        server.connected = False
        it.hub.gate.set()
        assert isinstance(await asking, Miss)
        assert isinstance(await it.ask(), Hit)


# Answers of Redis that come too late.


async def _nothing(*_: Any, **__: Any) -> None:
    return None


async def _lost(it: Fixture, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
    """Redis does what these calls want, and the answer does not come in time."""
    assert it.fetcher._shared is not None
    for name in calls:
        call = getattr(it.fetcher._shared, name)

        async def done(*arguments: Any, _call: Any = call, **named: Any) -> None:
            await _call(*arguments, **named)

        monkeypatch.setattr(it.fetcher._shared, name, done)


@pytest.mark.parametrize("rests", [True, False])
async def test_a_look_whose_answer_is_lost_leaves_no_lease(monkeypatch: pytest.MonkeyPatch, *, rests: bool) -> None:
    """Whoever asks next, here or elsewhere, would wait for a holder that does not know of it."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        monkeypatch.setattr(Trust, "_hears", True)
        await _lost(it, monkeypatch, "look")
        if rests:  # Redis is left alone for a while after a fault
            monkeypatch.setattr(it.fetcher._shared, "lead", _nothing)
        async with asyncio.timeout(1):
            outcome = await it.ask()
        assert isinstance(outcome, Miss)
        assert not outcome.collapsed
        assert it.hub.asked == 1
        await it.fetcher.drain(5)
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_a_lease_whose_taking_is_not_confirmed_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        await _lost(it, monkeypatch, "lead")
        assert isinstance(await it.ask(), Miss)
        await it.fetcher.drain(5)
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_a_lease_is_given_up_as_soon_as_redis_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis rests when the hub's error comes; who asks next is not to wait for the lease's end."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        assert it.fetcher._shared is not None
        land, calls = it.fetcher._shared.land, 0

        async def resting(*arguments: Any) -> bool:
            nonlocal calls
            calls += 1
            return calls > 2 and await land(*arguments)

        monkeypatch.setattr(it.fetcher._shared, "land", resting)
        it.hub.status = 500
        with pytest.raises(errors.HubError):
            await it.ask()
        await it.fetcher.drain(5)
        assert calls == 3
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


# Repeating.


async def test_what_the_hub_cannot_have_read_is_repeated_once() -> None:
    async with fixture() as it:
        it.hub.status = 0
        with pytest.raises(errors.HubUnreachable):
            await it.ask()
        assert it.hub.asked == 2


async def test_a_repeated_request_that_succeeds_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture() as it:
        answer, it.hub.status = it.hub.handle_async_request, 0

        async def recovering(request: httpx.Request) -> httpx.Response:
            try:
                return await answer(request)
            finally:
                it.hub.status = 200

        monkeypatch.setattr(it.hub, "handle_async_request", recovering)
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 2


@pytest.mark.parametrize("status", [429, 500, 503, 418])
async def test_a_refusal_of_the_hub_is_not_repeated(status: int) -> None:
    async with fixture() as it:
        it.hub.status = status
        with pytest.raises(errors.HubError):
            await it.ask()
        assert it.hub.asked == 1


async def test_a_repetition_is_within_the_budget() -> None:
    async with fixture() as it:
        it.fetcher._upstreams["default"].shield.allowance = Allowance(rate=0.001, burst=1, concurrency=8)
        it.hub.status = 0
        with pytest.raises(errors.HubUnreachable):
            await it.ask()
        assert it.hub.asked == 1


# Giving way.


async def test_a_caller_who_joins_a_refresh_that_gives_way_has_it_asked_for() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        line = it.fetcher._upstreams["default"].shield._line
        await line.acquire()  # somebody waits in line
        assert isinstance(await it.ask(), Hit)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(it.ask(max_age=0.0))
        await asyncio.sleep(0.01)
        assert it.hub.asked == 1
        line.release()
        assert isinstance(await waiting, Miss)
        assert it.hub.asked == 2


async def test_too_many_who_wait_are_turned_away_or_served_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture() as it:
        kept = page_question("c", ListQuery(page=3))
        await it.ask(kept)
        it.clock.advance(10)
        limits = it.pages._line._limits
        monkeypatch.setattr(it.pages._line, "_limits", type(limits)(max_waiting=2))
        it.hub.gate.clear()
        waiting = [asyncio.create_task(it.ask(page_question("c", ListQuery(model=f"m{n}")))) for n in range(2)]
        await until_asked(it.hub, 3)
        with pytest.raises(errors.HubBusy) as caught:
            await it.ask()
        assert caught.value.retry_after == 1
        stale = await it.ask(kept)
        assert stale.reason == "hub_busy"
        it.hub.gate.set()
        await asyncio.gather(*waiting)
        assert isinstance(await it.ask(), Miss), "who has been served makes room"
