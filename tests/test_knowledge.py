"""What an answer makes of what is known, where Redis is asked meanwhile and does not answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import fakeredis

from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.known.barred import Barred
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.redis_keys import NOBODYS
from proxy.settings import CacheSettings
from tests.support import NOW, Clock

FIRST, SECOND = (page_question("c", ListQuery(page=number)) for number in (1, 2))


class Hung:
    """A Redis whose calls are given up when the test says so."""

    resting = False

    def __init__(self) -> None:
        self.given_up = asyncio.Event()

    async def learn(self, *_: Any, **__: Any) -> None:
        await self.given_up.wait()


def page(question: Question, entries: int, asked_at: float) -> Page:
    return Page(question.key, b"{}", f'"{entries}"', asked_at, Stamp(entries, None), settled=True, dead_at=None)


async def test_answers_that_overlap_are_in_order_though_redis_did_not_answer() -> None:
    """The second was asked for before the first had come, and says something else: it is of no known moment."""
    clock, hung = Clock(), Hung()
    barred, cache = Barred(None, keep=60.0, clock=clock), CacheSettings(compose=False)
    known = Knowledge(cache, Memory(2**20), cast("Shared", hung), None, barred, rows_bytes=2**20, clock=clock)
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
    shared = Shared(RedisLink(redis, 2.0))
    barred, cache = Barred(None, keep=60.0, clock=clock), CacheSettings(compose=False)
    other = Knowledge(cache, Memory(2**20), shared, None, barred, rows_bytes=2**20, clock=clock)
    await other.learn(FIRST, page(FIRST, 180, NOW))
    assert other.judging.best(FIRST)[0] is not None
    subscription = redis.pubsub()
    await subscription.subscribe(NOBODYS.news)
    clock.advance(1)
    await shared.tell(FIRST.listing, Record(Stamp(181, None), 0.0, NOW + 1, NOW + 1), moved=True, keep_record=60.0)
    async with asyncio.timeout(2):
        while (message := await subscription.get_message(timeout=1)) is None or message["type"] != "message":
            pass
    topic, _, news = message["data"].partition(b" ")
    assert topic == b"record"
    other.hear_record(news)
    assert other.judging.best(FIRST)[0] is None
    await subscription.aclose()  # type: ignore[no-untyped-call]
