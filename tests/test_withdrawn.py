"""What the hub has refused to show stands in for nothing, in no replica, until an answer vouches for it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import fakeredis
import httpx
import pytest

from proxy import errors
from proxy.answer.outcome import Hit, Miss, StaleHit
from proxy.known.invalidations import Invalidations
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.questions.watermarks import Extent
from proxy.redis.link import RedisLink
from proxy.redis.news import News
from proxy.redis_keys import names
from proxy.secret import Secret
from proxy.settings import CacheSettings, RedisSettings, Settings
from proxy.simulator import Fault, Simulator
from tests.page_fixture import GATE, OTHER, QUESTION, fixture
from tests.support import KEY, NOW, Clock, RedisServer, Rig, SocketRig, rig, socket_rig, still_world

LISTING, ANOTHER = (page_question("c", ListQuery(model=model)) for model in ("m", "n"))


def test_a_401_is_about_all_that_the_token_shows_a_403_about_one_listing() -> None:
    invalidations = Invalidations(None, keep=60.0, clock=Clock())
    invalidations.note_refusal(LISTING, 403, NOW)
    assert (invalidations.since(LISTING), invalidations.since(ANOTHER)) == (NOW, 0.0)
    invalidations.note_refusal(LISTING, 401, NOW + 1)
    assert invalidations.since(LISTING) == invalidations.since(ANOTHER) == NOW + 1
    assert invalidations.since(page_question("d", ListQuery(model="n"))) == 0.0, "of another token"
    assert invalidations.purged.since(LISTING) == 0.0, "what is fresh is still served"


async def test_the_answer_after_a_401_stands_in_again_though_others_were_turned_away_meanwhile() -> None:
    async with fixture() as it:
        it.shield._clock = it.shield._gates._clock = it.clock
        await it.ask()
        it.clock.advance(6)
        it.hub.status = 401
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        it.clock.advance(60)
        it.hub.status = 200
        it.hub.gate.clear()
        asked = it.hub.asked
        probe = asyncio.create_task(it.ask())
        async with asyncio.timeout(5):
            while it.hub.asked == asked:
                await asyncio.sleep(0)
        it.clock.advance(0.1)
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask(OTHER)
        it.hub.gate.set()
        assert isinstance(await probe, Miss)
        it.clock.advance(6)
        it.hub.status = 500
        assert isinstance(await it.ask(), StaleHit)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_right_that_one_replica_has_lost_is_lost_in_another(status: int) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        there = it.replica()
        await it.ask()
        assert isinstance(await there.answer(QUESTION), Hit)
        it.clock.advance(6)
        it.hub.status = status
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        assert await it.pages._known.invalidations.drain(5) == 0
        assert await it.shield.drain(5) == 0
        client: Any = it.shared._link.client
        await client.delete(*await client.keys(f"{GATE}*"))  # the pause after a 401 is over
        it.clock.advance(60)
        it.hub.status = 500
        with pytest.raises(errors.HubFailed):
            await there.answer(QUESTION)


async def test_a_listing_of_which_nothing_is_kept_is_not_remembered() -> None:
    """Whoever may ask for any namespace could have as many remembered as they like."""
    async with fixture() as it:
        it.hub.status = 403
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        assert it.pages._known.invalidations.since(QUESTION) == 0.0


@pytest.fixture
async def replicas(own_redis: RedisServer) -> AsyncIterator[list[SocketRig]]:
    settings = Settings(redis=RedisSettings(url=Secret(own_redis.url), timeout=5.0), cache=CacheSettings(live_ttl=0.1))
    simulator = Simulator(still_world(time.time), api_key=KEY)
    async with (
        socket_rig(settings, simulator=simulator) as one,
        socket_rig(settings, simulator=simulator, url=one.hub_url) as other,
    ):
        yield [one, other]


async def test_that_a_right_was_withdrawn_is_news(replicas: list[SocketRig]) -> None:
    """A replica that walks by moment asks the hub for nothing, and so would never be refused itself."""
    here, there = replicas
    async with httpx.AsyncClient() as caller:
        query = "namespace=ox&status=succeeded&page_size=5"
        first = await caller.get(f"{there.list_url}?{query}")
        moment = {"listing-moment": first.headers["listing-moment"]}
        assert (await caller.get(f"{there.list_url}?{query}", headers=moment)).status_code == 200
        here.hub.faults.set(Fault(status=403))
        refused = await caller.get(f"{here.list_url}?{query}", headers={"cache-control": "no-cache"})
        while refused.status_code == 200:  # it is fresh for anybody for a moment
            refused = await caller.get(f"{here.list_url}?{query}", headers={"cache-control": "no-cache"})
        assert refused.json()["error"]["type"] == errors.HubRefusedCredential.type
        async with asyncio.timeout(10):
            while (walked := await caller.get(f"{there.list_url}?{query}", headers=moment)).status_code == 200:
                await asyncio.sleep(0.02)
        assert walked.json()["error"]["type"] == errors.HubRefusedCredential.type


async def test_a_walk_asks_redis_what_was_withdrawn_while_news_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on for as long as its rows are kept: Redis can be asked, and nothing else would say it."""
    monkeypatch.setattr(News, "start", lambda _: None)
    server, clock = fakeredis.FakeServer(), Clock()
    simulator = Simulator(still_world(clock), api_key=KEY, clock=clock)

    def replica() -> AbstractAsyncContextManager[Rig]:
        return rig(redis=fakeredis.FakeAsyncRedis(server=server), simulator=simulator, clock=clock)

    async with replica() as here, replica() as there:
        query = "namespace=ox&status=succeeded&page_size=5"
        moment = {"listing-moment": (await there.get(query)).headers["listing-moment"]}
        assert (await there.get(query, **moment)).status_code == 200
        simulator.faults.set(Fault(status=403))
        clock.advance(60)
        refused = await here.get(query)
        assert refused.json()["error"]["type"] == errors.HubRefusedCredential.type
        client, key = fakeredis.FakeAsyncRedis(server=server), names("http://hub.test", 0).watermarks("withdrawn")
        async with asyncio.timeout(5):
            while not await client.hlen(key):
                await asyncio.sleep(0)
        walked = await there.get(query, **moment)
        assert walked.json()["error"]["type"] == errors.HubRefusedCredential.type
        await client.aclose()


async def test_what_is_purged_and_what_is_withdrawn_are_read_and_each_is_a_change() -> None:
    """Were one not counted, or counted against the other, what is remembered of a page would outlive it."""
    server = fakeredis.FakeServer()
    here, there = (
        Invalidations(RedisLink(fakeredis.FakeAsyncRedis(server=server), 1.0), keep=60.0, clock=Clock())
        for _ in range(2)
    )
    assert await here.purged.agree(Extent("listing", LISTING.filters))
    here.note_refusal(ANOTHER, 403, NOW + 1)
    assert await here.drain(1) == 0
    before = there.changes
    assert await there.read()
    assert (there.since(LISTING), there.since(ANOTHER)) == (NOW, NOW + 1)
    assert (there.purged.since(ANOTHER), there.withdrawn.since(LISTING)) == (0.0, 0.0)
    assert there.changes == before + 2


@pytest.mark.parametrize("withdrawn", [401, 403])
async def test_a_withdrawn_right_is_not_stood_in_for(withdrawn: int) -> None:
    async with fixture() as it:
        await it.ask()
        it.hub.status = withdrawn
        it.clock.advance(6)
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.usefixtures("virtual_time")
async def test_what_the_hub_has_refused_to_show_stands_in_for_nothing(status: int) -> None:
    """The right to see it may be gone: also for who is impatient, and where the hub fails in another way later."""
    async with fixture(patience=0.05) as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.status = status
        it.hub.gate.clear()
        assert isinstance(await it.ask(), StaleHit), "it is not known yet"
        it.hub.gate.set()
        while it.pages.queue:
            await asyncio.sleep(0)
        it.hub.gate.clear()
        late = asyncio.create_task(it.ask())
        allowed = asyncio.create_task(it.ask(max_stale=60.0))
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        for task in (late, allowed):
            with pytest.raises(errors.HubRefusedCredential):
                await task
        it.hub.status = 500
        with pytest.raises(errors.HubError):
            await it.ask()


async def test_a_replica_that_meets_the_pause_after_a_401_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not refused itself; then the hub fails in another way."""
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        for pages in (it.pages, other):
            await pages.answer(QUESTION)
        it.clock.advance(6)
        it.hub.status = 401
        for pages in (it.pages, other):
            with pytest.raises(errors.HubRefusedCredential):
                await pages.answer(QUESTION)
        assert it.hub.asked == 2
        monkeypatch.setattr("tests.page_fixture.GATE", f"{GATE}:later")  # the pause is over
        it.hub.status = 500
        for pages in (it.pages, other):
            with pytest.raises(errors.HubFailed):
                await pages.answer(QUESTION)


async def test_what_the_hub_shows_again_stands_in_again() -> None:
    async with fixture() as it:
        await it.ask()
        await it.ask(OTHER)
        it.clock.advance(9)
        it.hub.status = 403
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        it.clock.advance(1)
        it.hub.status = 200
        assert isinstance(await it.ask(), Miss)
        it.clock.advance(9)
        it.hub.status = 500
        assert isinstance(await it.ask(OTHER), StaleHit), "as an answer for its listing vouches for it"
