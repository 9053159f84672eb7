"""Lookups in Redis where more is asked than there is room for: what is known here goes on, the rest waits its time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import fakeredis
import pytest
from msgspec.structs import replace

from proxy.answer.directives import Directives
from proxy.answer.outcome import Hit, Miss
from proxy.errors import HubRateLimited, NotCached, TooManyLookups
from proxy.fetch_queue import Wait
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.settings import HubSettings
from proxy.tasks.priority_semaphore import PrioritySemaphore
from tests.page_fixture import QUESTION, Fixture, fixture
from tests.support import until

ONLY_IF_CACHED = Directives(only_if_cached=True)


def another(number: int) -> Question:
    return page_question("a" * 16, ListQuery(page=number, model="m"), credential="default")


@dataclass
class Crowd:
    """As many lookups of new questions as there is room for.

    Attributes:
        looked_up: the questions that had room, in the order in which they had it.
    """

    looked_up: list[Question]
    _gate: asyncio.Event
    _under_way: list[asyncio.Task[Any]]

    async def end(self) -> None:
        self._gate.set()
        await asyncio.gather(*self._under_way)


async def crowded(it: Fixture, monkeypatch: pytest.MonkeyPatch, *, deadline: float = 60.0) -> Crowd:
    """Begin them. Of the next, each has so many seconds in all."""
    lookups = it.pages._lookups
    look_up, gate, looked_up = lookups._known.look_up, asyncio.Event(), list[Question]()
    monkeypatch.setattr(it.pages.queue, "_limits", HubSettings(deadline=60.0))
    monkeypatch.setattr(lookups, "_room", PrioritySemaphore(2))

    async def held(question: Question, claim: Any = None) -> Any:
        looked_up.append(question)
        if question.place.startswith("9"):
            await gate.wait()
        return await look_up(question, claim)

    monkeypatch.setattr(lookups._known, "look_up", held)
    under_way = [asyncio.create_task(it.pages.answer(another(number))) for number in (91, 92)]
    while not lookups._room.locked():
        await asyncio.sleep(0)
    monkeypatch.setattr(it.pages.queue, "_limits", HubSettings(deadline=deadline))
    return Crowd(looked_up, gate, under_way)


@pytest.mark.usefixtures("virtual_time")
async def test_what_is_new_waits_for_room_and_is_told_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch, deadline=0.1)
        with pytest.raises(TooManyLookups, match="64 questions that are new"):
            await it.ask()
        monkeypatch.setattr(it.pages.queue, "_limits", HubSettings(deadline=60.0))
        waiting = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await crowd.end()
        assert isinstance(await waiting, Miss)


async def test_what_is_known_here_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where news does not come, each page is looked up in Redis first."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        crowd = await crowded(it, monkeypatch)
        monkeypatch.setattr(it.pages._known.trust, "_news", SimpleNamespace(flowing=False))
        async with asyncio.timeout(5):
            assert isinstance(await it.ask(), Hit)
        await crowd.end()


async def test_a_page_of_rows_that_are_known_waits_for_nobody_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        crowd = await crowded(it, monkeypatch)
        judged: list[Question] = []
        best = it.pages._judging.best

        def composed(question: Question, **how: Any) -> Any:
            judged.append(question)
            return best(QUESTION if question == another(1) else question, **how)

        monkeypatch.setattr(it.pages._judging, "best", composed)
        async with asyncio.timeout(5):
            await it.pages._lookups.look_up(another(1), None, Wait(it.pages.queue.deadline()))
        assert judged == [another(1)]
        await crowd.end()


@pytest.mark.usefixtures("virtual_time")
async def test_what_has_been_begun_does_not_wait_with_who_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        waiting = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            _, joined = await it.pages._lookups.look_up(QUESTION)
        assert not joined
        await crowd.end()
        await waiting


@pytest.mark.usefixtures("virtual_time")
async def test_who_wants_what_is_kept_only_is_told_that_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch, deadline=0.1)
        with pytest.raises(NotCached):
            await it.pages.answer(QUESTION, ONLY_IF_CACHED)
        await crowd.end()


@pytest.mark.usefixtures("virtual_time")
async def test_while_the_hub_is_left_alone_the_refusal_is_told_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        refused = HubRateLimited("The hub answered 429.", retry_after=9.0)
        monkeypatch.setattr(it.pages, "_refusal", lambda *_: refused)
        lookups = it.pages._lookups
        monkeypatch.setattr(lookups, "_settings", replace(lookups._settings, patience=0.05))
        async with asyncio.timeout(5):
            with pytest.raises(HubRateLimited):
                await it.ask()
        await crowd.end()


async def test_what_redis_has_comes_before_what_the_hub_is_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart, when all is new to the process."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.replica().answer(QUESTION)
        crowd = await crowded(it, monkeypatch)
        others = [asyncio.create_task(it.ask(another(number))) for number in (1, 2)]
        await asyncio.sleep(0)
        asking = asyncio.create_task(it.ask())
        await until(lambda: len(it.pages._lookups._waiting) == 3)
        await until(lambda: not it.pages._lookups._checking)
        await crowd.end()
        hit = await asking
        assert isinstance(hit, Hit)
        assert hit.source == "redis"
        await asyncio.gather(*others)
        assert crowd.looked_up[2:] == [QUESTION, another(1), another(2)]


async def test_what_comes_in_the_moment_in_which_a_check_ends_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        checked, gate = list[Question](), asyncio.Event()

        async def kept(questions: list[Question]) -> list[str]:
            checked.extend(questions)
            await gate.wait()
            return []

        monkeypatch.setattr(it.pages._known, "kept", kept)
        first = asyncio.create_task(it.ask(another(1)))
        await until(lambda: bool(checked))
        second = asyncio.create_task(it.ask(another(2)))  # whose turn to wait comes right after the check's end
        gate.set()
        await until(lambda: len(it.pages._lookups._waiting) == 2)
        await until(lambda: not it.pages._lookups._checking)
        await crowd.end()
        await asyncio.gather(first, second)
        assert checked == [another(1), another(2)]


async def test_who_has_room_of_its_own_waits_in_no_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        async with asyncio.timeout(5):
            assert isinstance(
                await it.pages.answer(QUESTION, wait=Wait(it.pages.queue.deadline(), reserved=True)), Miss
            )
        await crowd.end()


@pytest.mark.usefixtures("virtual_time")
async def test_who_waits_for_room_with_another_does_so_for_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        now = asyncio.get_running_loop().time

        async def told_after(seconds: float) -> float:
            began = now()
            with pytest.raises(TooManyLookups):
                await it.pages.answer(QUESTION, wait=Wait(began + seconds))
            return now() - began

        first = asyncio.create_task(told_after(4.0))
        await until(lambda: bool(it.pages._lookups._waiting))
        less, more = await asyncio.gather(told_after(2.0), told_after(8.0))
        assert (less, await first, more) == pytest.approx((1.0, 2.0, 4.0), abs=0.1)
        await crowd.end()


async def test_the_wait_for_room_is_part_of_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has left is the fetch's: half of it until the turn, and all of it for the answer."""
    async with fixture(fakeredis.FakeServer()) as it:
        crowd = await crowded(it, monkeypatch)
        monkeypatch.setattr(it.pages._known.trust, "_news", SimpleNamespace(flowing=True))  # so that it takes a claim
        fetch, wanted = AsyncMock(wraps=it.fetcher.fetch), MagicMock(wraps=it.shield.wanted)
        monkeypatch.setattr(it.fetcher, "fetch", fetch)
        monkeypatch.setattr(it.shield, "wanted", wanted)
        began = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(it.pages.answer(QUESTION, wait=Wait(began + 40.0)))
        await until(lambda: bool(it.pages._lookups._waiting))
        await crowd.end()
        assert isinstance(await waiting, Miss)
        ours = [call for call in fetch.call_args_list if call.args[0] == QUESTION]
        assert [call.kwargs["until"] for call in ours] == [began + 40.0]
        assert all(0 < call.args[0] <= 20.0 for call in wanted.call_args_list[-1:])
