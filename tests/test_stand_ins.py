"""Stale pages stand in for a hub that fails, for as long as they may, and never for a newer moment."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import fakeredis
import pytest

from proxy import errors
from proxy.answer.outcome import Hit, StaleHit
from tests.page_fixture import OTHER, QUESTION, fixture


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


async def test_the_hubs_own_404_is_the_answer_not_a_failure() -> None:
    async with fixture() as it:
        await it.ask()
        it.hub.status = 404
        it.clock.advance(6)
        assert (await it.ask()).page.status == 404


async def test_redis_stands_in_too() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.replica().answer(QUESTION), StaleHit)


async def test_without_redis_and_hub_memory_stands_in() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        await it.ask()
        server.connected = False
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.ask(), StaleHit)


async def test_a_retired_page_does_not_stand_in() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        it.hub.total += 1
        await it.ask(OTHER)
        it.hub.status = 500
        with pytest.raises(errors.HubFailed):
            await it.ask(QUESTION)


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


async def test_a_link_that_came_within_its_margin_leaves_the_page_of_use() -> None:
    """As of an input image: for a minute, one row had every page that shows it asked for each time."""
    async with fixture(settled_ttl=5) as it:
        signed = datetime.fromtimestamp(it.clock.now - 3560, UTC).strftime("%Y%m%dT%H%M%SZ")
        it.hub.link = f"https://x.example/in.png?X-Amz-Date={signed}&X-Amz-Expires=3600"
        await it.ask()
        it.clock.advance(4)
        assert isinstance(await it.ask(), Hit)
        it.hub.status = 500
        it.clock.advance(27)
        assert isinstance(await it.ask(), StaleHit)
        it.clock.advance(1)
        with pytest.raises(errors.HubFailed):
            await it.ask()


async def test_max_stale_takes_a_stale_page_at_once() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.gate.clear()
        outcome = await it.ask(max_stale=10)
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "allowed"
        assert it.hub.asked == 1


@pytest.mark.parametrize(("accepts", "stands_in"), [(math.inf, True), (20.0, True), (3.0, False), (0.0, False)])
async def test_a_caller_says_how_stale_a_page_may_stand_in(accepts: float, *, stands_in: bool) -> None:
    """RFC 5861 §4."""
    async with fixture() as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.status = 500
        for _ in range(8):  # asked, and left alone
            if stands_in:
                assert isinstance(await it.ask(stale_if_error=accepts), StaleHit)
            else:
                with pytest.raises(errors.HubError):
                    await it.ask(stale_if_error=accepts)
