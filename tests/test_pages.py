"""The path of a question, with the clock in hand and the hub's answers gated by events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import httpx
import pytest

from proxy import errors
from proxy.credential import Credential
from proxy.hub import Hub
from proxy.memory import Memory
from proxy.pages import Hit, Miss, Pages, StaleHit
from proxy.query import ListQuery
from proxy.question import Question, page_question
from proxy.secret import Secret
from proxy.settings import CacheSettings, HubSettings, RedisSettings
from proxy.shared import Shared
from tests.support import Clock

QUESTION = page_question("c", ListQuery())
OTHER = page_question("c", ListQuery(page=2))


@dataclass
class ScriptedHub(httpx.AsyncBaseTransport):
    """Answers when the gate is open, with what the script says."""

    statuses: list[str] = field(default_factory=lambda: ["succeeded"])
    status: int = 200
    link: str | None = None
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        rows = [{"status": status, "n": number, "url": self.link} for status in self.statuses]
        page = {"count": len(rows), "generations": rows, "page_number": 1, "page_size": 50, "total_pages": 1}
        body = json.dumps({**page, "total_entries": 9, "total_cost": None}).encode()
        return httpx.Response(self.status, stream=httpx.ByteStream(body), request=request)


@dataclass
class Fixture:
    pages: Pages
    hub: ScriptedHub
    clock: Clock
    replica: Callable[[], Pages]

    async def ask(self, question: Question = QUESTION) -> Any:
        return await self.pages.answer(question)


@asynccontextmanager
async def fixture(redis: fakeredis.FakeServer | None = None, **cache: float) -> AsyncIterator[Fixture]:
    scripted, clock = ScriptedHub(), Clock()
    scripted.gate.set()
    made: list[tuple[Pages, Hub]] = []

    def replica() -> Pages:
        settings = HubSettings(url="http://hub.test", api_key=Secret("k"))
        hub = Hub(settings, Credential(settings), transport=scripted, clock=clock)
        client = fakeredis.FakeAsyncRedis(server=redis) if redis else None
        shared = Shared(client, RedisSettings(timeout=1.0)) if client else None
        pages = Pages(CacheSettings(**cache), hub, Memory(2**20), shared, clock=clock)  # type: ignore[arg-type]
        made.append((pages, hub))
        return pages

    yield Fixture(replica(), scripted, clock, replica)
    for pages, hub in made:
        await pages.drain(5)
        await hub.aclose()


async def test_a_settled_page_is_kept_for_settled_ttl() -> None:
    async with fixture() as it:
        assert isinstance(await it.ask(), Miss)
        it.clock.advance(4.9)
        hit = await it.ask()
        assert isinstance(hit, Hit)
        assert hit.source == "memory"
        assert hit.ttl == pytest.approx(0.1)
        it.clock.advance(0.2)
        again = await it.ask()
        assert isinstance(again, Miss)
        assert again.forward == "stale"
        assert it.hub.asked == 2


async def test_a_live_page_is_shared_for_live_ttl() -> None:
    async with fixture() as it:
        it.hub.statuses = ["succeeded", "processing"]
        await it.ask()
        it.clock.advance(0.9)
        assert isinstance(await it.ask(), Hit)
        it.clock.advance(0.2)
        assert isinstance(await it.ask(), Miss)


async def test_a_live_ttl_of_nothing_still_answers_all_who_wait() -> None:
    async with fixture(live_ttl=0) as it:
        it.hub.statuses = ["queued"]
        it.hub.gate.clear()
        tasks = [asyncio.create_task(it.ask()) for _ in range(20)]
        await asyncio.sleep(0)
        it.hub.gate.set()
        outcomes = await asyncio.gather(*tasks)
        assert it.hub.asked == 1
        assert {outcome.page.body for outcome in outcomes} == {outcomes[0].page.body}
        assert [outcome.collapsed for outcome in outcomes].count(False) == 1
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 2


async def test_age_counts_from_when_the_hub_was_asked() -> None:
    """What a slow hub says was true when it was asked; it may no longer be (RFC 9111 §4.2.3)."""
    async with fixture() as it:
        it.hub.gate.clear()
        task = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        it.clock.advance(3)
        it.hub.gate.set()
        outcome = await task
        assert outcome.ttl == pytest.approx(2)


async def test_the_first_caller_hangs_up() -> None:
    async with fixture() as it:
        it.hub.gate.clear()
        tasks = [asyncio.create_task(it.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        it.hub.gate.set()
        assert len(await asyncio.gather(*tasks[1:])) == 2
        assert it.hub.asked == 1


async def test_different_pages_are_different_questions() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        await it.ask(page_question("another credential", ListQuery()))
        assert it.hub.asked == 3


@pytest.mark.parametrize("failing", [500, 429, 302])
async def test_a_failing_hub_is_stood_in_for_within_bounds(failing: int) -> None:
    async with fixture() as it:
        first = await it.ask()
        it.hub.status = failing
        it.clock.advance(86_000)
        stale = await it.ask()
        assert isinstance(stale, StaleHit)
        assert stale.page is first.page
        assert stale.ttl == pytest.approx(-85_995)
        it.clock.advance(500)
        with pytest.raises(errors.HubError):
            await it.ask()


async def test_a_live_page_stands_in_for_a_minute_only() -> None:
    async with fixture() as it:
        it.hub.statuses = ["queued"]
        await it.ask()
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.ask(), StaleHit)
        it.clock.advance(1.5)
        with pytest.raises(errors.HubFailed):
            await it.ask()


@pytest.mark.parametrize("withdrawn", [401, 403])
async def test_a_withdrawn_right_is_not_stood_in_for(withdrawn: int) -> None:
    async with fixture() as it:
        await it.ask()
        it.hub.status = withdrawn
        it.clock.advance(6)
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()


async def test_the_hubs_own_404_is_the_answer_not_a_failure() -> None:
    async with fixture() as it:
        await it.ask()
        it.hub.status = 404
        it.clock.advance(6)
        with pytest.raises(errors.HubFoundNothing):
            await it.ask()


async def test_a_page_is_not_used_past_its_links() -> None:
    async with fixture(settled_ttl=600) as it:
        it.hub.link = f"https://x.example/y.png?Expires={int(it.clock.now) + 100}"
        await it.ask()
        it.clock.advance(79)
        assert isinstance(await it.ask(), Hit)
        it.clock.advance(1)
        it.hub.status = 500
        with pytest.raises(errors.HubFailed):
            await it.ask()


async def test_hub_state_is_the_last_thing_the_hub_did() -> None:
    async with fixture() as it:
        assert it.pages.hub_state == "unknown"
        await it.ask()
        assert it.pages.hub_state == "ok"
        it.hub.status = 500
        it.clock.advance(6)
        await it.ask()
        assert it.pages.hub_state == "hub_failed"


async def test_replicas_share_through_redis() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        first = await it.ask()
        await it.pages.drain(5)
        second = await it.replica().answer(QUESTION)
        assert isinstance(second, Hit)
        assert second.source == "redis"
        assert second.page == first.page
        assert it.hub.asked == 1


async def test_a_replica_takes_the_newer_page_from_redis() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        await it.ask()
        it.clock.advance(6)
        newer = await other.answer(QUESTION)
        await other.drain(5)
        outcome = await it.ask()
        assert isinstance(outcome, Hit)
        assert outcome.page == newer.page
        assert (await it.ask()).source == "memory"


async def test_redis_stands_in_too() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        await it.pages.drain(5)
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.replica().answer(QUESTION), StaleHit)


async def test_redis_keeps_a_page_no_longer_than_it_can_be_of_use() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.link = f"https://x.example/y.png?Expires={int(it.clock.now) + 100}"
        await it.ask()
        await it.pages.drain(5)
        client = fakeredis.FakeAsyncRedis(server=server)
        (key,) = await client.keys("*")
        assert key == QUESTION.redis_key.encode()
        assert 79_000 < await client.pttl(key) <= 80_000


def test_keys_of_a_listing_share_a_slot() -> None:
    keys = [page_question("c", ListQuery(page=page, page_size=size)).redis_key for page in (1, 2) for size in (5, 50)]
    assert len(set(keys)) == 4
    assert len({key[key.index("{") : key.index("}")] for key in keys}) == 1
    assert page_question("c", ListQuery(model="m")).redis_key.split("}")[0] != keys[0].split("}")[0]
