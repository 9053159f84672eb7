"""The path of a question, with the clock in hand and the hub's answers gated by events."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.answer.outcome import Hit, Landed, Miss, StaleHit
from proxy.answer.record import Record, Stamp
from proxy.fetch import ATTEMPTS
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
        assert (await it.ask()).page.status == 404


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


async def test_redis_stands_in_too() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.replica().answer(QUESTION), StaleHit)


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


# One listing, one truth.


async def test_an_answer_for_any_page_keeps_all_fresh() -> None:
    """One caller who polls page 1 keeps pages 2…N fresh for nothing."""
    async with fixture() as it:
        await it.ask(OTHER)
        for _ in range(10):
            await it.ask(QUESTION, max_age=0)
            it.clock.advance(4)
        asked = it.hub.asked
        hit = await it.ask(OTHER)
        assert isinstance(hit, Hit)
        assert hit.age < 5
        assert it.hub.asked == asked


async def test_but_not_for_longer_than_max_page_age() -> None:
    async with fixture(max_page_age=30) as it:
        await it.ask(OTHER)
        for _ in range(8):
            it.clock.advance(4)
            await it.ask(QUESTION, max_age=0)
        assert isinstance(await it.ask(OTHER), Miss)


async def test_an_answer_with_another_stamp_retires_all_pages() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.hub.total += 1
        await it.ask(page_question("c", ListQuery(page=3)))
        for question in (QUESTION, OTHER):
            outcome = await it.ask(question)
            assert isinstance(outcome, Miss)
            assert outcome.page.stamp.total_entries == 10


async def test_a_late_charge_shows_within_settled_ttl() -> None:
    """The hub may change a terminal row's cost a little later; the totals tell."""
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.hub.cost = "0.0400"
        it.clock.advance(5.1)
        for question in (OTHER, QUESTION):
            assert (await it.ask(question)).page.stamp.total_cost == "0.0400"


async def test_another_page_size_is_the_same_listing_other_filters_are_not() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        it.hub.total += 1
        await it.ask(page_question("c", ListQuery(model="m")))
        assert isinstance(await it.ask(QUESTION), Hit)
        await it.ask(page_question("c", ListQuery(page_size=5)))
        assert isinstance(await it.ask(QUESTION), Miss)


async def test_a_retired_page_does_not_stand_in() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        it.hub.total += 1
        await it.ask(OTHER)
        it.hub.status = 500
        with pytest.raises(errors.HubFailed):
            await it.ask(QUESTION)


async def test_an_overlapping_answer_of_another_moment_is_asked_for_again() -> None:
    """Two requests under way at once: whose answer is the older one cannot be known, so the hub is asked again."""
    async with fixture() as it:
        it.hub.gate.clear()
        slow = asyncio.create_task(it.ask(QUESTION))
        await asyncio.sleep(0.01)
        it.clock.advance(0.1)
        first_gate, it.hub.gate = it.hub.gate, asyncio.Event()
        it.hub.gate.set()
        await it.ask(OTHER)
        assert it.hub.asked == 2
        it.clock.advance(0.1)
        it.hub.total += 1
        first_gate.set()
        outcome = await slow
        assert it.hub.asked == 3
        assert outcome.page.stamp.total_entries == 10
        assert isinstance(await it.ask(OTHER), Miss), "the other page is of the older moment now"


async def test_replicas_learn_of_each_others_moves_through_redis() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        await it.ask(QUESTION)
        assert isinstance(await other.answer(QUESTION), Hit)
        it.hub.total += 1
        await other.answer(OTHER)
        outcome = await it.ask(QUESTION)
        assert isinstance(outcome, Miss)
        assert outcome.page.stamp.total_entries == 10


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


async def test_without_redis_and_hub_memory_stands_in() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        await it.ask()
        server.connected = False
        it.hub.status = 500
        it.clock.advance(60)
        assert isinstance(await it.ask(), StaleHit)


# Patience and refreshing ahead.


async def test_patience() -> None:
    """A slow hub costs a caller at most ``patience`` when a servable page is kept; the refresh goes on."""
    async with fixture(patience=0.02) as it:
        await it.ask()
        it.clock.advance(6)
        it.hub.gate.clear()
        stale = await it.ask()
        assert isinstance(stale, StaleHit)
        assert (stale.reason, stale.age) == ("patience", 6)
        assert it.hub.asked == 2
        it.hub.gate.set()
        await it.pages.drain(5)
        assert isinstance(await it.ask(), Hit)
        assert it.hub.asked == 2


async def test_patience_counts_from_when_the_hub_began_to_dawdle() -> None:
    """Who joins a fetch for which others have waited already does not wait as long once more, in vain."""
    async with fixture(patience=1.0) as it:
        await it.ask()
        it.clock.advance(6)
        it.hub.gate.clear()
        now = asyncio.get_running_loop().time
        waited = []
        for _ in range(3):
            began = now()
            assert isinstance(await it.ask(), StaleHit)
            waited.append(now() - began)
        assert waited[0] >= 0.99
        assert max(waited[1:]) < 0.6
        it.hub.gate.set()
        await it.pages.drain(5)
        it.clock.advance(6)
        it.hub.gate.clear()
        began = now()
        assert isinstance(await it.ask(), StaleHit)
        assert now() - began >= 0.99, "each fetch is waited for"
        it.hub.gate.set()
        assert it.hub.asked == 3


async def test_patience_without_a_servable_page_waits() -> None:
    async with fixture(patience=0.0) as it:
        it.hub.gate.clear()
        task = asyncio.create_task(it.ask())
        await asyncio.sleep(0.02)
        assert not task.done()
        it.hub.gate.set()
        assert isinstance(await task, Miss)


async def test_patience_never_shows_a_moment_that_was_retired_meanwhile() -> None:
    async with fixture(patience=0.05) as it:
        await it.ask(QUESTION)
        it.clock.advance(6)
        slow_gate, it.hub.gate = it.hub.gate, asyncio.Event()
        task = asyncio.create_task(it.ask(QUESTION))
        await asyncio.sleep(0.01)
        held, it.hub.gate = it.hub.gate, slow_gate
        it.clock.advance(0.1)
        it.hub.total += 1
        await it.ask(OTHER)
        await asyncio.sleep(0.1)
        assert not task.done(), "what is kept is of an older moment than others were shown"
        it.clock.advance(0.1)
        held.set()
        assert (await task).page.stamp.total_entries == 10


async def test_a_page_often_asked_for_is_refreshed_ahead() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        assert isinstance(await it.ask(), Hit)
        await it.pages.drain(5)
        assert it.hub.asked == 2
        it.clock.advance(1)
        hit = await it.ask()
        assert isinstance(hit, Hit)
        assert hit.age == pytest.approx(1)


async def test_a_page_seldom_asked_for_is_not() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.4)
        assert isinstance(await it.ask(), Hit)
        it.clock.advance(100)
        await it.pages.drain(5)
        assert it.hub.asked == 1


async def test_refreshing_ahead_leaves_room_for_callers_who_wait() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        it.hub.gate.clear()
        waiting = [asyncio.create_task(it.ask(page_question("c", ListQuery(model=f"m{n}")))) for n in range(4)]
        await asyncio.sleep(0.01)
        assert isinstance(await it.ask(), Hit)
        await asyncio.sleep(0.01)
        assert it.hub.asked == 1 + len(waiting), "half of hub.concurrency is in use"
        it.hub.gate.set()
        await asyncio.gather(*waiting)


async def test_one_refresh_ahead_vouches_for_a_whole_listing() -> None:
    async with fixture() as it:
        await it.ask(QUESTION)
        await it.ask(OTHER)
        it.clock.advance(4.6)
        it.hub.gate.clear()
        for question in (QUESTION, OTHER, QUESTION):
            assert isinstance(await it.ask(question), Hit)
        it.hub.gate.set()
        await it.pages.drain(5)
        assert it.hub.asked == 3
        it.clock.advance(2)
        assert isinstance(await it.ask(OTHER), Hit)


# What callers ask for.


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


async def test_max_stale_takes_a_stale_page_at_once() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.gate.clear()
        outcome = await it.ask(max_stale=10)
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "allowed"
        assert it.hub.asked == 1


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


@pytest.mark.parametrize("directives", [{"max_age": 0.0}, {"max_age": 1.0}])
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


async def test_a_crowd_shares_what_is_behind_if_it_was_asked_for_after_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listing that moves faster than a page of it comes: to ask for oneself would bring nothing newer."""
    async with fixture() as it:
        known = it.pages._known

        async def moves(*arguments: Any, **named: Any) -> Landed:
            it.clock.advance(1)
            total = 100 + it.hub.asked
            known._memory.learn(OTHER.listing, Record(Stamp(total, None), 0.0, it.clock(), it.clock()))
            return await learn(*arguments, **named)

        learn = known.learn
        monkeypatch.setattr(known, "learn", moves)
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*(it.pages.answer(OTHER) for _ in range(6)))
        assert all(isinstance(outcome, Miss) for outcome in outcomes)
        assert it.fetcher.learned["behind"] == it.hub.asked == ATTEMPTS


@pytest.mark.parametrize("status", [401, 403])
async def test_what_the_hub_has_refused_to_show_stands_in_for_nothing(status: int) -> None:
    """The right to see it may be gone: also for who is impatient, and where the hub fails in another way later."""
    async with fixture(patience=0.05) as it:
        await it.ask()
        it.clock.advance(9)
        it.hub.status = status
        it.hub.gate.clear()
        assert isinstance(await it.ask(), StaleHit), "it is not known yet"
        it.hub.gate.set()
        while it.pages.flights:
            await asyncio.sleep(0)
        it.hub.gate.clear()
        late = asyncio.create_task(it.ask())
        allowed = asyncio.create_task(it.ask(max_stale=60.0))
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        for task in (late, allowed):
            with pytest.raises(errors.HubRefusedCredential):
                await task
        it.hub.status = 500
        with pytest.raises(errors.HubError):
            await it.ask()


async def test_a_replica_that_meets_the_pause_after_a_401_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not refused itself; then the hub fails in another way."""
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        for pages in (it.pages, other):
            await pages.answer(QUESTION)
        it.clock.advance(6)
        it.hub.status = 401
        for pages in (it.pages, other):
            with pytest.raises(errors.HubRefusedCredential):
                await pages.answer(QUESTION)
        assert it.hub.asked == 2
        monkeypatch.setattr("tests.page_fixture.GATE", f"{GATE}:later")  # the pause is over
        it.hub.status = 500
        for pages in (it.pages, other):
            with pytest.raises(errors.HubFailed):
                await pages.answer(QUESTION)


async def test_what_the_hub_shows_again_stands_in_again() -> None:
    async with fixture() as it:
        await it.ask()
        await it.ask(OTHER)
        it.clock.advance(9)
        it.hub.status = 403
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        it.clock.advance(1)
        it.hub.status = 200
        assert isinstance(await it.ask(), Miss)
        it.clock.advance(9)
        it.hub.status = 500
        assert isinstance(await it.ask(OTHER), StaleHit), "as an answer for its listing vouches for it"
