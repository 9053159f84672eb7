"""The path of a question: how long pages are kept, who shares them, and how callers get them fresher."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.answer.outcome import Hit, Miss
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.questions.watermarks import Extent
from proxy.redis_keys import record_key
from tests.page_fixture import GATE, OTHER, QUESTION, fixture


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


@pytest.mark.usefixtures("virtual_time")
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


async def test_the_first_caller_who_hangs_up_disturbs_nobody() -> None:
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


async def test_hub_state_is_the_last_thing_the_hub_did() -> None:
    async with fixture() as it:
        assert it.fetcher.hub_states["default"] == "unknown"
        await it.ask()
        assert it.fetcher.hub_states["default"] == "ok"
        it.hub.status = 500
        it.clock.advance(6)
        await it.ask()
        assert it.fetcher.hub_states["default"] == "hub_failed"


async def test_replicas_share_through_redis() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        first = await it.ask()
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
        outcome = await it.ask()
        assert isinstance(outcome, Hit)
        assert outcome.page == newer.page
        assert outcome.source == "redis"


async def test_redis_keeps_a_page_no_longer_than_it_can_be_of_use() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.link = f"https://x.example/y.png?Expires={int(it.clock.now) + 100}"
        await it.ask()
        client = fakeredis.FakeAsyncRedis(server=server)
        kept = [key for key in await client.keys("*") if GATE not in str(key)]
        assert sorted(kept) == sorted([QUESTION.page_key.encode(), record_key(QUESTION.listing).encode()])
        assert 79_000 < await client.pttl(QUESTION.page_key) <= 80_000
        assert await client.pttl(record_key(QUESTION.listing)) > 80_000


def test_keys_of_a_listing_share_a_slot() -> None:
    keys = [page_question("c", ListQuery(page=page, page_size=size)).page_key for page in (1, 2) for size in (5, 50)]
    assert len(set(keys)) == 4
    assert len({key[key.index("{") : key.index("}")] for key in keys}) == 1
    assert page_question("c", ListQuery(model="m")).page_key.split("}")[0] != keys[0].split("}")[0]


async def test_apart_from_redis_nothing_is_fresh_for_longer_than_a_live_page() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        await it.ask()
        server.connected = False
        assert isinstance(await it.ask(), Miss), "what was known before may be outdated"
        it.clock.advance(0.9)
        hit = await it.ask()
        assert isinstance(hit, Hit)
        assert hit.source == "memory"
        it.clock.advance(0.2)
        assert isinstance(await it.ask(), Miss)


async def test_no_cache_asks_the_hub_but_cannot_hammer_it() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(0.4)
        assert isinstance(await it.ask(max_age=0), Hit), "younger than min_refresh is fresh for anybody"
        it.clock.advance(0.2)
        outcome = await it.ask(max_age=0)
        assert isinstance(outcome, Miss)
        assert outcome.forward == "request"
        assert isinstance(await it.ask(max_age=0), Hit)
        assert it.hub.asked == 2


@pytest.mark.usefixtures("virtual_time")
async def test_no_cache_does_not_take_what_was_asked_for_long_ago() -> None:
    async with fixture() as it:
        it.hub.gate.clear()
        early = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        it.clock.advance(2)
        demanding = asyncio.create_task(it.ask(max_age=0))
        await asyncio.sleep(0.01)
        it.hub.gate.set()
        assert (await early).age == pytest.approx(2)
        assert (await demanding).age == 0
        assert it.hub.asked == 2


async def test_only_if_cached_never_asks_the_hub() -> None:
    async with fixture() as it:
        with pytest.raises(errors.NotCached):
            await it.ask(only_if_cached=True)
        assert it.hub.asked == 0
        await it.ask()
        assert isinstance(await it.ask(only_if_cached=True), Hit)
        it.clock.advance(6)
        with pytest.raises(errors.NotCached):
            await it.ask(only_if_cached=True)


@pytest.mark.usefixtures("virtual_time")
async def test_what_was_asked_for_before_a_purge_is_asked_for_again() -> None:
    async with fixture() as it:
        it.hub.gate.clear()
        task = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        it.clock.advance(0.1)
        await it.pages._known.invalidations.purged.agree(Extent("everything"))
        it.hub.gate.set()
        assert (await task).page.asked_at == it.clock.now
        assert it.hub.asked == 2


@pytest.mark.parametrize("directives", [{"max_age": 0.0}, {"max_age": 1.0}])
@pytest.mark.usefixtures("virtual_time")
async def test_callers_who_want_it_fresh_share_what_a_slow_hub_says(directives: dict[str, Any]) -> None:
    """What was asked for after they came is fresh enough for them, however old the answer is when it comes."""
    async with fixture() as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.gate.clear()
        early = [asyncio.create_task(it.ask(**directives)) for _ in range(5)]
        while it.hub.asked < 2:
            await asyncio.sleep(0)
        it.clock.advance(2)
        late = [asyncio.create_task(it.ask(**directives)) for _ in range(5)]
        await asyncio.sleep(0.01)
        it.hub.gate.set()
        for outcome in await asyncio.gather(*early, *late):
            assert isinstance(outcome, Miss)
        assert it.hub.asked == 3, "the one that was under way when some came is too old for these"
