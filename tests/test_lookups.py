"""Lookups in Redis where more is asked than there is room for: what is known here goes on, the rest waits its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from msgspec.structs import replace

from proxy.answer.directives import Directives
from proxy.answer.outcome import Hit, Miss
from proxy.errors import HubBusy, HubRateLimited, NotCached
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from tests.page_fixture import QUESTION, Fixture, fixture

ONLY_IF_CACHED = Directives(only_if_cached=True)


def another(number: int) -> Question:
    return page_question("a" * 16, ListQuery(page=number, model="m"), credential="default")


async def crowded(
    it: Fixture, monkeypatch: pytest.MonkeyPatch, *, wait: float = 0.05
) -> Callable[[], Awaitable[object]]:
    """Begin as many lookups of new questions as there is room for; return what ends them. The next may ``wait``."""
    lookups = it.pages._lookups
    look_up, gate = lookups._known.look_up, asyncio.Event()
    monkeypatch.setattr(it.pages, "_longest_wait", wait)
    monkeypatch.setattr(lookups, "_room", asyncio.Semaphore(2))

    async def held(question: Question, claim: Any = None) -> Any:
        if question.place.startswith("9"):
            await gate.wait()
        return await look_up(question, claim)

    monkeypatch.setattr(lookups._known, "look_up", held)
    under_way = [asyncio.create_task(it.pages.answer(another(number))) for number in (91, 92)]
    while not lookups._room.locked():
        await asyncio.sleep(0)

    async def end() -> None:
        gate.set()
        await asyncio.gather(*under_way)

    return end


@pytest.mark.usefixtures("virtual_time")
async def test_what_is_new_waits_for_room_and_is_told_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        end = await crowded(it, monkeypatch)
        with pytest.raises(HubBusy, match="Too many ask what is not known here"):
            await it.ask()
        monkeypatch.setattr(it.pages, "_longest_wait", 60.0)
        waiting = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await end()
        assert isinstance(await waiting, Miss)


async def test_what_is_known_here_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where news does not come, each page is looked up in Redis first."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        end = await crowded(it, monkeypatch, wait=60.0)
        monkeypatch.setattr(it.pages._known.trust, "_news", SimpleNamespace(flowing=False))
        async with asyncio.timeout(5):
            assert isinstance(await it.ask(), Hit)
        await end()


async def test_a_page_of_rows_that_are_known_waits_for_nobody_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        end = await crowded(it, monkeypatch, wait=60.0)
        judged: list[Question] = []
        best = it.pages._judging.best

        def composed(question: Question, **how: Any) -> Any:
            judged.append(question)
            return best(QUESTION if question == another(1) else question, **how)

        monkeypatch.setattr(it.pages._judging, "best", composed)
        async with asyncio.timeout(5):
            await it.pages._lookups.look_up(another(1), wait=60.0)
        assert judged == [another(1)]
        await end()


@pytest.mark.usefixtures("virtual_time")
async def test_what_has_been_begun_does_not_wait_with_who_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        end = await crowded(it, monkeypatch, wait=60.0)
        waiting = asyncio.create_task(it.ask())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            _, joined = await it.pages._lookups.look_up(QUESTION)
        assert not joined
        await end()
        await waiting


@pytest.mark.usefixtures("virtual_time")
async def test_who_wants_what_is_kept_only_is_told_that_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        end = await crowded(it, monkeypatch)
        with pytest.raises(NotCached):
            await it.pages.answer(QUESTION, ONLY_IF_CACHED)
        await end()


@pytest.mark.usefixtures("virtual_time")
async def test_while_the_hub_is_left_alone_the_refusal_is_told_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        end = await crowded(it, monkeypatch, wait=60.0)
        refused = HubRateLimited("The hub answered 429.", retry_after=9.0)
        monkeypatch.setattr(it.pages, "_refusal", lambda _: refused)
        monkeypatch.setattr(it.pages, "_settings", replace(it.pages._settings, patience=0.05))
        async with asyncio.timeout(5):
            with pytest.raises(HubRateLimited):
                await it.ask()
        await end()
