"""Members of an answer that no contract lists: composed pages have them as the hub would have had them, or are none."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest

from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.rows.envelope import Envelope
from proxy.rows.unlisted_members import UnlistedMembers
from proxy.simulator import Simulator
from proxy.simulator.world import Generation
from tests.rows_fixture import ENTRIES, KINDS, hub_with
from tests.support import Clock, rig


def unsigned(body: bytes) -> bytes:
    """Without the links, which the hub signs afresh for each answer."""
    return re.sub(rb'"result_url": "[^"]*"', b"", body)


def said(hub: Simulator, number: int, size: int, now: float) -> bytes:
    return unsigned(hub.writer.page(list(hub.world.newest_first("ox")), number, size, now))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
async def test_every_page_is_as_the_hub_would_have_sent_it(kind: str, seed: int) -> None:
    clock, rng = Clock(), random.Random(seed)
    hub = hub_with(kind, clock)
    sizes = [7, 20, 50, 100, 1000]
    async with rig(simulator=hub, clock=clock) as it:
        composed = 0
        for _ in range(60):
            size = rng.choice(sizes)
            number = rng.randint(1, -(-ENTRIES // size))
            answer = await it.get(f"page_size={size}&page={number}")
            assert unsigned(answer.content) == said(hub, number, size, clock())
            composed += "composed" in answer.headers["cache-status"]
        assert composed > {"none": 20, "of the hub": 5}.get(kind, -1), composed
        assert not composed or kind in ("none", "of the hub")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_walk_has_each_row_once_and_each_page_as_it_was(kind: str) -> None:
    clock = Clock()
    hub = hub_with(kind, clock)
    async with rig(simulator=hub, clock=clock) as it:
        moment: dict[str, str] = {}
        for number in range(1, 7):
            answer = await it.get(f"page_size=20&page={number}", **moment)
            assert unsigned(answer.content) == said(hub, number, 20, clock())
            moment = {"listing-moment": answer.headers["listing-moment"]}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_page_of_a_size_that_was_not_seen_is_composed_of_what_the_contract_lists_only(kind: str) -> None:
    clock = Clock()
    hub = hub_with(kind, clock)
    async with rig(simulator=hub, clock=clock) as it:
        await it.get("page_size=100")
        for _ in range(2):
            for size in (20, 50):
                answer = await it.get(f"page_size={size}")
                assert unsigned(answer.content) == said(hub, 1, size, clock())
        assert hub.journal.count == (1 if kind == "none" else 3)
        if kind == "of the hub":
            hub.world.end(hub.world.enqueue("ox"))
            clock.advance(6)
            await it.get("page_size=100")
            assert "composed" in (await it.get("page_size=20")).headers["cache-status"], "what its answer had is known"


@pytest.mark.parametrize(("kind", "asked"), [("limit on all", 1), ("of the hub", 2), ("none", 2)])
async def test_the_hub_is_asked_for_no_other_page_of_which_none_can_be_composed(kind: str, asked: int) -> None:
    clock = Clock()
    hub = hub_with(kind, clock)
    async with rig(simulator=hub, clock=clock) as it:
        for _ in range(3):
            hub.world.end(hub.world.enqueue("ox"))
            clock.advance(6)
            for number in range(1, 4):
                answer = await it.get(f"page_size=20&page={number}")
                assert unsigned(answer.content) == said(hub, number, 20, clock())
        others = [request.query for request in hub.journal.requests if "page_size=20" not in request.query]
        assert len(others) == asked, "the first one shows it"


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_members_that_one_namespace_has_stop_no_composing_for_another(kind: str) -> None:
    """That others have some is reason enough to look at an answer first whose like a page is to be."""
    clock = Clock()
    hub, odd = hub_with("none", clock), hub_with(kind, clock)
    plain, with_members = hub.writer.page, odd.writer.page

    def page(rows: Sequence[Generation], number: int, size: int, now: float) -> bytes:
        return (with_members if rows and rows[0].namespace == "bessie" else plain)(rows, number, size, now)

    hub.writer.page = page  # type: ignore[method-assign, assignment]
    async with rig(simulator=hub, clock=clock) as it:
        for composed in (False, True):
            await it.get("namespace=ox&page_size=100")
            for number in (1, 2):
                await it.get(f"namespace=bessie&page_size=20&page={number}")
            answer = await it.get("namespace=ox&page_size=20&page=2")
            assert ("composed" in answer.headers["cache-status"]) == composed
            for namespace in ("ox", "bessie"):
                hub.world.end(hub.world.enqueue(namespace))
            clock.advance(6)


async def test_no_more_is_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.rows.unlisted_members.MOST_NAMESPACES", 2)
    monkeypatch.setattr("proxy.rows.unlisted_members.MOST_PLACES", 3)
    it = UnlistedMembers()
    envelope = Envelope((), (), b"", b"", b"", b"members")
    questions = [page_question("c", ListQuery(namespace=f"n{number}")) for number in range(4)]
    for question in questions:
        it.note(question, 1, envelope)
    assert [it.fit(question, 1, envelope) for question in questions] == [False, True, True, True]
    assert (len(it._seen), len(it._by_size), len(it._having)) == (2, 3, 2)


async def test_a_member_that_the_hub_has_from_now_on_is_soon_understood() -> None:
    clock = Clock()
    hub = hub_with("of the hub", clock)
    with_members = hub.writer.page
    plain = hub_with("none", clock).writer.page
    hub.writer.page = plain  # type: ignore[method-assign]
    async with rig(simulator=hub, clock=clock) as it:
        for number in (1, 2, 3):
            await it.get(f"page_size=50&page={number}")
        assert "composed" in (await it.get("page_size=7&page=2")).headers["cache-status"]
        hub.writer.page = with_members  # type: ignore[method-assign]
        for _ in range(3):
            hub.world.end(hub.world.enqueue("ox"))  # else pages of before are as good as ever
            clock.advance(6)
            for number in (1, 2, 3):
                answer = await it.get(f"page_size=50&page={number}")
                assert unsigned(answer.content) == said(hub, number, 50, clock())
        await it.get("page_size=7&page=3")
        answer = await it.get("page_size=7&page=4")
        assert "composed" in answer.headers["cache-status"]
        assert unsigned(answer.content) == said(hub, 4, 7, clock())
