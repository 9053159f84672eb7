"""Members of an answer that no contract lists: composed pages have them as the hub would have had them, or are none."""

from __future__ import annotations

import random
import re

import pytest

from proxy.simulator import Simulator
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
