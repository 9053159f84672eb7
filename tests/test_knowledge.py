"""What an answer makes of what is known, where Redis does not answer, or comes back without what it took."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import AsyncMock

import fakeredis
import pytest

from proxy.answer.freshness import Fresh
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.known.invalidations import Invalidations
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, generation_question, page_question
from proxy.questions.watermarks import Extent
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.redis_keys import NOBODYS, record_key
from proxy.settings import CacheSettings
from tests.support import NOW, Clock

FIRST, SECOND = (page_question("c", ListQuery(page=number)) for number in (1, 2))
ITEM = generation_question("c", "generation", "524550a4-65a2-4e8a-b000-000000000000")


class Hung:
    """A Redis whose calls are given up when the test says so."""

    backing_off = False

    def __init__(self) -> None:
        self.given_up = asyncio.Event()

    async def store(self, *_: Any, **__: Any) -> None:
        await self.given_up.wait()


def page(question: Question, entries: int, asked_at: float) -> Page:
    return Page(question.key, b"{}", f'"{entries}"', asked_at, Stamp(entries, None), settled=True, dead_at=None)


async def test_answers_that_overlap_are_in_order_though_redis_did_not_answer() -> None:
    """The second was asked for before the first had come, and says something else: it is of no known moment."""
    clock, hung = Clock(), Hung()
    invalidations, cache = Invalidations(None, keep=60.0, clock=clock), CacheSettings(compose=False)
    known = Knowledge(cache, Memory(2**20), cast("Shared", hung), None, invalidations, rows_bytes=2**20, clock=clock)
    clock.advance(0.2)
    first = asyncio.create_task(known.learn(FIRST, page(FIRST, 181, NOW)))
    await asyncio.sleep(0)
    clock.advance(0.01)
    second = asyncio.create_task(known.learn(SECOND, page(SECOND, 180, NOW + 0.1)))
    await asyncio.sleep(0)
    hung.given_up.set()
    assert (await first).learned == "moved"
    assert (await second).learned == "behind"
    assert known.judging.best(FIRST)[0] is not None
    record = known._memory.record(FIRST.listing, suspect=True)
    assert record is not None
    assert record.stamp.total_entries == 181


async def test_what_was_learned_without_redis_is_news_to_others_when_it_is_told() -> None:
    """They have heard all that was told meanwhile, and trust their memory: it has the moment of before."""
    clock, redis = Clock(), fakeredis.FakeAsyncRedis()
    shared = Shared(RedisLink(redis, 5.0))
    invalidations, cache = Invalidations(None, keep=60.0, clock=clock), CacheSettings(compose=False)
    other = Knowledge(cache, Memory(2**20), shared, None, invalidations, rows_bytes=2**20, clock=clock)
    await other.learn(FIRST, page(FIRST, 180, NOW))
    assert other.judging.best(FIRST)[0] is not None
    subscription = redis.pubsub()
    await subscription.subscribe(NOBODYS.news)
    clock.advance(1)
    await shared.report(FIRST.listing, Record(Stamp(181, None), 0.0, NOW + 1, NOW + 1), moved=True, keep_record=60.0)
    async with asyncio.timeout(2):
        while (message := await subscription.get_message(timeout=1)) is None or message["type"] != "message":
            pass
    topic, _, news = message["data"].partition(b" ")
    assert topic == b"record"
    other.on_record(news)
    assert other.judging.best(FIRST)[0] is None
    await subscription.aclose()  # type: ignore[no-untyped-call]


class Replicas:
    """Of one Redis, which can lose what it has taken since it was saved."""

    def __init__(self) -> None:
        self.clock, self.redis = Clock(), fakeredis.FakeAsyncRedis()
        self.saved: dict[str, bytes] = {}

    def one(self) -> Knowledge:
        link = RedisLink(self.redis, 5.0)
        invalidations = Invalidations(link, keep=60.0, clock=self.clock)
        return Knowledge(
            *(CacheSettings(compose=False), Memory(2**20), Shared(link), None, invalidations),
            rows_bytes=2**20,
            clock=self.clock,
        )

    async def learn(self, question: Question, entries: int, *, contradicts: bool = False) -> str:
        """Have one of them, which then ends, learn something new of the listing."""
        self.clock.advance(1)
        learned = Page(
            question.key,
            *(b"{}", f'"{self.clock()}"', self.clock(), Stamp(entries, None)),
            settled=True,
            dead_at=None,
            single=question.single,
        )
        shared = Shared(RedisLink(self.redis, 5.0))
        heard_at = self.clock() + 0.1
        await shared.store(
            question, learned, received_at=heard_at, keep_page=60.0, keep_record=60.0, contradicts=contradicts
        )
        self.clock.advance(1)
        return learned.etag

    async def save(self) -> None:
        self.saved = await self.kept()

    async def kept(self) -> dict[str, bytes]:
        keys: Any = await self.redis.keys()
        return {key.decode(): await self.redis.dump(key) or b"" for key in keys}

    async def lose(self) -> None:
        await self.redis.flushall()
        for key, value in self.saved.items():
            await self.redis.restore(key, 0, value)


async def shown(by: Knowledge, question: Question) -> str | None:
    """The tag of what a caller is shown without that the hub is asked."""
    await by.look_up(question)
    page, verdict = by.judging.best(question)
    return page.etag if page is not None and isinstance(verdict, Fresh) else None


@pytest.mark.parametrize("question", [FIRST, ITEM])
@pytest.mark.parametrize("contradicts", [False, True])
async def test_what_redis_has_lost_is_shown_by_none_who_has_not_heard_of_it(
    question: Question, *, contradicts: bool
) -> None:
    """Once those who know of it have told Redis again; whoever learned it may be gone. Others have shown it."""
    them = Replicas()
    knows, another = them.one(), them.one()
    before = await them.learn(question, 180)
    assert await shown(knows, question) == before
    await them.save()
    after = await them.learn(question, 180 if contradicts else 181, contradicts=contradicts)
    assert await shown(knows, question) == after
    await them.lose()
    knows.trust.gap()
    assert await knows.drain(1) == 0
    assert await shown(another, question) is None
    assert await shown(knows, question) != before


async def test_a_redis_that_has_lost_nothing_is_changed_by_nothing() -> None:
    them = Replicas()
    knows = them.one()
    for entries in (180, 181, 181):
        await them.learn(FIRST, entries)
        await shown(knows, FIRST)
    await them.save()
    knows.trust.gap()
    assert await knows.drain(1) == 0
    assert await them.kept() == them.saved


async def test_what_was_but_confirmed_while_redis_was_away_retires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the listing had moved before is told again, as Redis may have lost it; it was not then that it moved."""
    them = Replicas()
    knows, another = them.one(), them.one()
    for entries in (180, 181):
        await them.learn(FIRST, entries)
        await shown(knows, FIRST)
    kept = await them.learn(SECOND, 181)
    assert await shown(another, SECOND) == kept
    with monkeypatch.context() as away:
        away.setattr(RedisLink, "call", AsyncMock(return_value=None))
        them.clock.advance(1)
        await knows.learn(FIRST, page(FIRST, 181, them.clock()))
    knows.trust.gap()
    assert await knows.drain(1) == 0
    assert await shown(another, SECOND) == kept


async def test_what_redis_has_lost_takes_nobody_back_who_knows_it() -> None:
    them = Replicas()
    knows = them.one()
    before = await them.learn(FIRST, 180)
    assert await shown(knows, FIRST) == before
    await them.save()
    await them.learn(FIRST, 181)
    await shown(knows, FIRST)
    await them.lose()
    assert await shown(knows, FIRST) != before


async def test_what_redis_has_lost_takes_nobody_back_who_has_heard_of_it() -> None:
    """Also where it has shown nothing of that listing: until Redis is told again, nothing else would say it."""
    them = Replicas()
    hears = them.one()
    await them.learn(FIRST, 180)
    await them.save()
    await them.learn(FIRST, 181)
    record: Any = await them.redis.get(record_key(FIRST.listing))
    hears.on_record(FIRST.listing.encode() + b" " + record)
    await them.lose()
    assert await shown(hears, FIRST) is None


async def test_a_purge_that_redis_has_lost_is_told_again() -> None:
    """Whatever it was told when: a purge is as good as what it covers is kept."""
    them = Replicas()
    here, there = them.one(), them.one()
    await them.learn(FIRST, 180)
    await them.save()
    assert await here.invalidations.purged.agree(Extent("everything"))
    here.invalidations.note_refusal(FIRST, 403, them.clock())
    assert await here.invalidations.drain(1) == 0
    await them.lose()
    here.trust.gap()
    assert await here.invalidations.drain(1) == 0
    assert await there.invalidations.read()
    assert there.invalidations.purged.since(FIRST) == there.invalidations.withdrawn.since(FIRST) == them.clock()
    assert await shown(there, FIRST) is None
