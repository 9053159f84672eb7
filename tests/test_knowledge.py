"""What an answer makes of what is known, where Redis is asked meanwhile and does not answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.answer.page import Page
from proxy.answer.record import Stamp
from proxy.known.barred import Barred
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis.shared import Shared
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
