"""One flight over all replicas: lease, handing over, repeating, giving way. (Over processes: test_faults.)"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import fakeredis
import httpx
import pytest
from msgspec.structs import replace

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.refusals import GaveWay
from proxy.answer.outcome import Hit, Leader, Miss
from proxy.answer.record import MAX_AHEAD, Record, Stamp
from proxy.fetch_queue import Wait
from proxy.hub.faults import OutOfTime
from proxy.known.trust import Trust
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.questions.watermarks import Extent
from proxy.redis.leases import MAX_REFUSALS, Leases
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.redis_keys import lease_keys
from proxy.secret import Secret
from proxy.settings import HubSettings
from tests.page_fixture import GATE, LEASE_KEY, OTHER, QUESTION, Fixture, fixture, until_asked


@pytest.mark.usefixtures("virtual_time")
async def test_two_replicas_ask_once() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        it.hub.gate.clear()
        tasks = [asyncio.create_task(pages.answer(QUESTION)) for pages in (it.pages, other, it.pages, other)]
        await until_asked(it.hub, 1)
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        outcomes = await asyncio.gather(*tasks)
        assert it.hub.asked == 1
        assert {type(outcome) for outcome in outcomes} == {Miss}
        assert len({outcome.page.body for outcome in outcomes}) == 1
        assert [outcome.collapsed for outcome in outcomes if isinstance(outcome, Miss)].count(False) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_an_answer_that_nobody_may_keep_is_handed_over_too() -> None:
    async with fixture(fakeredis.FakeServer(), live_ttl=0, stale_if_error_live=0) as it:
        it.hub.statuses = ["processing"]
        other = it.replica()
        it.hub.gate.clear()
        tasks = [asyncio.create_task(pages.answer(QUESTION)) for pages in (it.pages, other)]
        await until_asked(it.hub, 1)
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        one, two = await asyncio.gather(*tasks)
        assert it.hub.asked == 1
        assert one.page == two.page


@pytest.mark.parametrize("status", [200, 404])
async def test_the_answer_of_a_new_token_is_kept_nowhere_under_the_old_ones_id(status: int) -> None:
    """It may be another user's. Whoever waits is given it, as the question is put once more after a 401."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.gate.clear()
        it.hub.status = status
        asking = [asyncio.create_task(it.ask()) for _ in range(2)]
        await until_asked(it.hub, 1)
        it.credential.id = "another"
        it.hub.gate.set()
        for outcome in await asyncio.gather(*asking):
            assert isinstance(outcome, Miss)
            assert (outcome.page.status, outcome.stored, outcome.ttl) == (status, False, 0.0)
        await it.fetcher.drain(5)
        assert it.hub.asked == 1
        assert it.pages._known._memory.get(QUESTION.key) is None
        assert await fakeredis.FakeAsyncRedis(server=server).keys(f"{QUESTION.listing}*") == []


async def test_nothing_is_refreshed_for_an_old_token() -> None:
    async with fixture() as it:
        await it.ask()
        it.credential.id = "another"
        with pytest.raises(GaveWay):
            await it.fetcher.fetch(QUESTION, since=0.0, ahead=True)
        assert it.hub.asked == 1


async def test_what_landed_since_the_look_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other = it.replica()
        known = it.fetcher._known
        lead = known.take_lease

        async def late(*arguments: Any, **named: Any) -> Leader | None:
            await other.answer(QUESTION)
            return await lead(*arguments, **named)

        monkeypatch.setattr(known, "take_lease", late)
        outcome = await it.ask()
        assert it.hub.asked == 1
        assert isinstance(outcome, Miss)
        assert outcome.collapsed


async def test_who_wants_it_fresher_is_not_handed_what_was_known_before() -> None:
    """A caller who wants it fresher than what is kept is not handed the same page again."""
    async with fixture(fakeredis.FakeServer()) as it:
        await it.ask()
        it.clock.advance(1)
        outcome = await it.ask(max_age=0.0)
        assert it.hub.asked == 2
        assert isinstance(outcome, Miss)
        assert not outcome.collapsed


@pytest.mark.usefixtures("virtual_time")
async def test_what_is_purged_while_it_is_under_way_is_asked_for_again_by_the_same_flight() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        other, first = it.replica(), it.hub.gate
        first.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        it.clock.advance(1)
        assert await it.pages._known.invalidations.purged.agree(Extent("everything"))
        it.clock.advance(1)
        it.hub.gate = asyncio.Event()
        first.set()
        await until_asked(it.hub, 2)
        following = asyncio.create_task(other.answer(QUESTION))
        await asyncio.sleep(0.1)
        it.hub.gate.set()
        one, two = await asyncio.gather(asking, following)
        assert one.page.asked_at == two.page.asked_at == it.clock.now
        assert it.hub.asked == 2


async def test_a_lease_that_nobody_renews_ends() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        await redis.set(LEASE_KEY, "a replica that has died", px=200)
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 1
        await it.fetcher.drain(5)
        assert await redis.get(LEASE_KEY) is None


@pytest.mark.parametrize("how", ["without end", "list"])
async def test_something_else_under_the_lease_holds_nobody_up_for_long(how: str) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        if how == "list":
            await redis.rpush(LEASE_KEY, "x")
        else:
            await redis.set(LEASE_KEY, "x")
        async with asyncio.timeout(5):  # a third of what a fetch may take
            assert isinstance(await it.ask(), Miss)


async def test_a_long_request_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.redis.leases.RENEWAL_INTERVAL", 0.01)
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis, other = fakeredis.FakeAsyncRedis(server=server), it.replica()
        it.hub.gate.clear()
        leading = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        following = asyncio.create_task(other.answer(QUESTION))
        for _ in range(3):  # most of the lease goes by
            await redis.pexpire(LEASE_KEY, 1500)
            async with asyncio.timeout(5):
                while await redis.pttl(LEASE_KEY) <= 1500:
                    await asyncio.sleep(0.001)
        it.hub.gate.set()
        await asyncio.gather(leading, following)
        assert it.hub.asked == 1


async def test_who_ends_gives_up_its_leases() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        redis = fakeredis.FakeAsyncRedis(server=server)
        it.hub.gate.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        assert await redis.exists(LEASE_KEY)
        await it.fetcher.release()
        assert not await redis.exists(LEASE_KEY)
        it.hub.gate.set()
        await asking


async def test_waiting_for_another_replica_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        monkeypatch.setattr(it.pages.queue, "_limits", HubSettings(deadline=0.2))
        redis = fakeredis.FakeAsyncRedis(server=server)
        await redis.set(LEASE_KEY, "a replica with a slow hub", px=60_000)
        with pytest.raises(errors.HubBusy) as caught:
            await it.ask()
        assert caught.value.retry_after
        assert it.hub.asked == 0


async def test_a_redis_that_goes_while_the_hub_is_asked_costs_nobody_the_answer() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.gate.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        server.connected = False
        it.hub.gate.set()
        assert isinstance(await asking, Miss)
        assert isinstance(await it.ask(), Hit)
        server.connected = True  # else the end would wait for what Redis is still to be told


# Answers of Redis that come too late, and what it does even later.


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def _lost(it: Fixture, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
    """Redis does what these calls want, and the answer does not come in time."""
    shared = it.shared
    for name, call in [(name, getattr(shared, name)) for name in calls]:

        async def done(*arguments: Any, _call: Any = call, **named: Any) -> None:
            await _call(*arguments, **named)

        monkeypatch.setattr(shared, name, done)


def _late(it: Fixture, monkeypatch: pytest.MonkeyPatch, *calls: str) -> list[Callable[[], Awaitable[object]]]:
    """These calls stay under way; return what has Redis carry them out."""
    shared, under_way = it.shared, list[Callable[[], Awaitable[object]]]()
    for name, call in [(name, getattr(shared, name)) for name in calls]:

        async def sent(*arguments: Any, _call: Any = call, **named: Any) -> None:
            under_way.append(partial(_call, *arguments, **named))

        monkeypatch.setattr(shared, name, sent)
    return under_way


@pytest.mark.parametrize("rests", [True, False])
async def test_a_look_whose_answer_is_lost_leaves_no_lease(monkeypatch: pytest.MonkeyPatch, *, rests: bool) -> None:
    """Whoever asks next, here or elsewhere, would wait for a holder that does not know of it."""
    monkeypatch.setattr("proxy.redis.shared.LEASE_SECONDS", 60.0)
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        monkeypatch.setattr(Trust, "news_flowing", True)
        _lost(it, monkeypatch, "look_up")
        if rests:  # Redis is left alone for a while after a fault
            monkeypatch.setattr(it.shared, "take_lease", _nothing)
        async with asyncio.timeout(5):
            outcome = await it.ask()
        assert isinstance(outcome, Miss)
        assert not outcome.collapsed
        assert it.hub.asked == 1
        await it.fetcher.drain(5)
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_a_look_that_is_lost_and_takes_all_the_time_there_is_leaves_none_either() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        over = asyncio.get_running_loop().time() - 0.001
        claim = it.fetcher.claim(QUESTION, (0.0, 0.0), until=over)
        await it.pages._known.look_up(QUESTION, claim)
        with pytest.raises(errors.HubBusy):
            await it.pages.queue.begin(claim.unanswered(), since=0.0, until=over).fetch
        await it.fetcher.drain(5)
        assert await fakeredis.FakeAsyncRedis(server=server).get(LEASE_KEY) is None


async def test_a_lease_whose_taking_is_not_confirmed_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        _lost(it, monkeypatch, "take_lease")
        assert isinstance(await it.ask(), Miss)
        await it.fetcher.drain(5)
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_a_claim_that_redis_carries_out_after_its_flight_takes_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that was silent delivers it when the flight has long landed, be that told by another connection."""
    monkeypatch.setattr("proxy.redis.shared.LEASE_SECONDS", 60.0)
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        monkeypatch.setattr(Trust, "news_flowing", True)
        under_way = _late(it, monkeypatch, "look_up", "take_lease")
        assert isinstance(await it.ask(), Miss)
        await it.fetcher.drain(5)
        await it.shield.drain(5)  # the turn that was had in its place is given back a moment later
        assert len(under_way) == 2
        for carry_out in under_way:
            await carry_out()
        redis = fakeredis.FakeAsyncRedis(server=server)
        assert not await redis.exists(LEASE_KEY)
        assert not await redis.exists(f"{GATE}:slots"), "nor a turn"
        it.clock.advance(9)
        async with asyncio.timeout(5):
            assert isinstance(await it.replica().answer(QUESTION), Miss)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_look_that_comes_after_another_has_landed_takes_no_lease(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the hub failed, so that there is no more to know than when the look was sent."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.status = status
        redis = fakeredis.FakeAsyncRedis(server=server)
        await redis.set(LEASE_KEY, "another replica", px=200)
        monkeypatch.setattr(Trust, "news_flowing", True)
        under_way = _late(it, monkeypatch, "look_up")
        asking = asyncio.create_task(it.ask())
        async with asyncio.timeout(5):
            while not under_way:
                await asyncio.sleep(0.001)
        monkeypatch.undo()
        if status == 200:
            assert isinstance(await asking, Miss)
        else:
            with pytest.raises(errors.HubFailed):
                await asking
        await it.fetcher.drain(5)
        await under_way[0]()
        assert not await redis.exists(LEASE_KEY)


class Landing:
    """How often Redis is told of an end, and what it says."""

    def __init__(self, it: Fixture, monkeypatch: pytest.MonkeyPatch, *, taken_after: float, resting: bool) -> None:
        self.calls = 0
        self._after = taken_after
        self._land = it.leases._land
        monkeypatch.setattr(it.leases, "_land", self)
        monkeypatch.setattr(RedisLink, "backing_off", property(lambda _: resting and self.calls <= taken_after))
        monkeypatch.setattr("proxy.redis.leases.RETRY_INTERVAL", 0.001)

    async def __call__(self, *arguments: Any, **named: Any) -> bool:
        self.calls += 1
        return self.calls > self._after and await self._land(*arguments, **named)


@pytest.mark.parametrize(("taken_after", "resting"), [(2, False), (2, True), (200, True)])
async def test_a_lease_is_given_up_as_soon_as_redis_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, taken_after: int, *, resting: bool
) -> None:
    """Redis rests when the hub's error comes; who asks next is not to wait for the lease's end."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.status = 500
        it.hub.gate.clear()
        asking = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        landing = Landing(it, monkeypatch, taken_after=taken_after, resting=resting)
        it.hub.gate.set()
        with pytest.raises(errors.HubError):
            await asking
        await it.fetcher.drain(5)
        assert landing.calls == taken_after + 1
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_a_redis_that_does_not_take_it_is_not_told_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        landing = Landing(it, monkeypatch, taken_after=math.inf, resting=False)
        it.hub.status = 500
        with pytest.raises(errors.HubError):
            await it.ask()
        assert await it.fetcher.drain(5) == 0
        assert landing.calls == MAX_REFUSALS


async def test_ends_that_wait_for_redis_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        leases = it.leases
        monkeypatch.setattr("proxy.redis.leases.MAX_UNENDED", 3)
        Landing(it, monkeypatch, taken_after=math.inf, resting=True)
        for number in range(5):
            leases.end(QUESTION, str(number), unsure=True)
        async with asyncio.timeout(5):
            while len(leases._ending) > 3:
                await asyncio.sleep(0.001)
        assert list(leases._unended) == ["2", "3", "4"]
        leases._closing = True


async def test_while_redis_is_backed_off_from_nothing_is_left_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim has been sent, so that none can be carried out."""
    async with fixture(fakeredis.FakeServer()) as it:
        landing = Landing(it, monkeypatch, taken_after=math.inf, resting=True)
        assert isinstance(await it.ask(), Miss)
        assert await it.fetcher.drain(0) == 0
        assert landing.calls == 0


@pytest.mark.parametrize("thirds", range(1, 8))
async def test_what_was_known_is_not_what_has_landed(monkeypatch: pytest.MonkeyPatch, thirds: int) -> None:
    """Redis does not say who asks; the page that the caller wants fresher has an age that no float has exactly."""
    async with fixture(fakeredis.FakeServer()) as it:
        it.clock.advance(0.1)
        await it.ask()
        it.clock.advance(thirds / 3 + 0.5)
        monkeypatch.setattr(it.shared, "take_lease", _nothing)
        assert isinstance(await it.ask(max_age=0.0), Miss)
        assert it.hub.asked == 2


async def test_an_answer_that_is_behind_what_is_known_is_not_the_newest_for_a_redis_that_forgot() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        it.hub.gate.clear()
        below = asyncio.create_task(it.pages.answer(OTHER))
        await until_asked(it.hub, 1)
        it.clock.advance(1)
        newer = Record(Stamp(10, None), 0.0, it.clock(), it.clock())
        it.pages._known._memory.learn(OTHER.listing, newer)
        await fakeredis.FakeAsyncRedis(server=server).flushall()
        it.hub.gate.set()
        await until_asked(it.hub, 2)
        assert it.fetcher.learned["behind"] == 1
        assert isinstance(await below, Miss)


# Repeating.


async def test_what_the_hub_cannot_have_read_is_repeated_once() -> None:
    async with fixture() as it:
        it.hub.status = 0
        with pytest.raises(errors.HubUnreachable):
            await it.ask()
        assert it.hub.asked == 2


async def test_who_cannot_ask_for_want_of_files_leaves_the_question_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have some: nothing is wrong with the hub."""
    async with fixture(fakeredis.FakeServer()) as it:
        ends = list[tuple[Any, ...]]()
        monkeypatch.setattr(it.leases, "end", lambda *given, **_: ends.append(given))

        async def fail(_: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("x") from OSError(errno.EMFILE, "x")

        monkeypatch.setattr(it.hub, "handle_async_request", fail)
        with pytest.raises(errors.HubUnreachable):
            await it.ask()
        assert [given[2:] for given in ends] == [(b"",)]
        assert (await it.shield.standing()).pause.strikes == 0


async def test_a_repeated_request_that_succeeds_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture() as it:
        answer, it.hub.status = it.hub.handle_async_request, 0

        async def recovering(request: httpx.Request) -> httpx.Response:
            try:
                return await answer(request)
            finally:
                it.hub.status = 200

        monkeypatch.setattr(it.hub, "handle_async_request", recovering)
        assert isinstance(await it.ask(), Miss)
        assert it.hub.asked == 2


@pytest.mark.parametrize("status", [429, 500, 503, 418])
async def test_a_refusal_of_the_hub_is_not_repeated(status: int) -> None:
    async with fixture() as it:
        it.hub.status = status
        with pytest.raises(errors.HubError):
            await it.ask()
        assert it.hub.asked == 1


@pytest.mark.parametrize("status", [429, 500])
async def test_what_a_refused_token_showed_stands_in_for_nothing_the_new_one_fails_to(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It may have been another user's."""
    async with fixture() as it:
        await it.ask()
        it.clock.advance(9)
        answer = it.hub.handle_async_request

        async def refusing(request: httpx.Request) -> httpx.Response:
            it.hub.status = 401 if request.headers["authorization"] == "Bearer k" else status
            it.credential._token = Secret("renewed")
            return await answer(request)

        monkeypatch.setattr(it.hub, "handle_async_request", refusing)
        with pytest.raises(errors.HubRefusedCredential):
            await it.ask()
        assert it.hub.asked == 3
        with pytest.raises(errors.HubError):
            await it.ask()


async def test_a_repetition_is_within_the_budget() -> None:
    async with fixture() as it:
        it.fetcher._upstreams["default"].shield.allowance = Allowance(rate=0.001, burst=1, concurrency=8)
        it.hub.status = 0
        with pytest.raises(errors.HubUnreachable):
            await it.ask()
        assert it.hub.asked == 1


# Little time.


async def in_time(it: Fixture, seconds: float, number: int = 1) -> Any:
    """Ask for whoever has so many seconds left."""
    until = asyncio.get_running_loop().time() + seconds
    return await it.pages.answer(page_question("c", ListQuery(page=number)), wait=Wait(until))


@pytest.mark.usefixtures("virtual_time")
async def test_a_hub_that_had_little_of_a_questions_time_has_not_failed() -> None:
    """The rest went by elsewhere: at another token's hub, or in line."""
    async with fixture() as it:
        it.hub.gate.clear()
        late = await asyncio.gather(*(in_time(it, 1.0, number) for number in range(1, 9)), return_exceptions=True)
        assert [type(error) for error in late] == [OutOfTime] * 8
        await it.shield.drain(5)
        assert (await it.shield.standing()).pause.strikes == 0
        it.hub.gate.set()
        assert isinstance(await in_time(it, 1.0, 9), Miss)


@pytest.mark.usefixtures("virtual_time")
async def test_a_hub_that_had_half_of_the_deadline_has() -> None:
    async with fixture() as it:
        it.hub.gate.clear()
        late = await asyncio.gather(*(in_time(it, 8.0, number) for number in range(1, 9)), return_exceptions=True)
        assert [type(error) for error in late] == [errors.HubTimeout] * 8
        await it.shield.drain(5)
        assert (await it.shield.standing()).pause.strikes


@pytest.mark.usefixtures("virtual_time")
async def test_who_joins_one_who_has_less_time_has_it_asked_for_again() -> None:
    async with fixture() as it:
        it.hub.gate.clear()
        hurried = asyncio.create_task(in_time(it, 1.0))
        await until_asked(it.hub, 1)
        others = [asyncio.create_task(in_time(it, seconds)) for seconds in (15.0, 15.0)]
        with pytest.raises(OutOfTime):
            await hurried
        await until_asked(it.hub, 2)
        it.hub.gate.set()
        assert [type(outcome) for outcome in await asyncio.gather(*others)] == [Miss, Miss]
        assert it.hub.asked == 2


async def test_who_has_no_time_left_leaves_the_question_to_other_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        ends = list[tuple[Any, ...]]()
        monkeypatch.setattr(it.leases, "end", lambda *given, **_: ends.append(given))
        it.hub.gate.clear()
        with pytest.raises(OutOfTime):
            await in_time(it, 0.1)
        assert [given[2:] for given in ends] == [(b"",)]
        it.hub.gate.set()


# Giving way.


@pytest.mark.usefixtures("virtual_time")
async def test_a_caller_who_joins_a_refresh_that_gives_way_has_it_asked_for() -> None:
    async with fixture() as it:
        await it.ask()
        it.clock.advance(4.6)
        shield = it.fetcher._upstreams["default"].shield
        shield.allowance = Allowance(1e6, 1e6, 1)
        other = asyncio.Event()

        async def hold() -> None:
            async with shield.turn(5.0):
                await other.wait()

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0)
        assert isinstance(await it.ask(), Hit)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(it.ask(max_age=0.0))
        await asyncio.sleep(0.01)
        assert it.hub.asked == 1
        other.set()
        await holding
        assert isinstance(await waiting, Miss)
        assert it.hub.asked == 2


async def test_too_many_who_wait_are_turned_away_or_served_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture() as it:
        kept = page_question("c", ListQuery(page=3))
        await it.ask(kept)
        it.clock.advance(10)
        limits = it.pages.queue._limits
        monkeypatch.setattr(it.pages.queue, "_limits", type(limits)(max_waiting=2))
        it.hub.gate.clear()
        waiting = [asyncio.create_task(it.ask(page_question("c", ListQuery(model=f"m{n}")))) for n in range(2)]
        await until_asked(it.hub, 3)
        with pytest.raises(errors.HubBusy) as caught:
            await it.ask()
        assert caught.value.retry_after == 1
        stale = await it.ask(kept)
        assert stale.reason == "hub_busy"
        it.hub.gate.set()
        await asyncio.gather(*waiting)
        assert isinstance(await it.ask(), Miss), "who has been served makes room"


async def test_what_redis_has_of_the_future_is_asked_for_once_and_then_kept_by_all() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        page = (await it.ask()).page
        future = it.clock() + 2 * MAX_AHEAD
        await it.shared.store(
            QUESTION, replace(page, asked_at=future), received_at=future, keep_page=60.0, keep_record=60.0
        )
        one, other = it.replica(), it.replica()
        assert isinstance(await one.answer(QUESTION), Miss)
        assert isinstance(await other.answer(QUESTION), Hit)
        assert it.hub.asked == 2


async def test_a_claim_that_comes_after_its_end_takes_no_lease() -> None:
    """A network may deliver it long after its answer was given up: nobody would end that lease."""
    link = RedisLink(fakeredis.FakeAsyncRedis(), 2.0)
    leases, it = Leases(link), Shared(link)
    leases.end(QUESTION, "late", unsure=True)
    assert await leases.drain(1) == 0
    holders = [await it.take_lease(QUESTION, token) for token in ("late", "another")]
    assert [lease and lease.holder for lease in holders] == ["", "another"]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_crowds_leases_are_renewed_together(monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> None:
    """A thousand flights may wait for a slow hub; a call for each would take all of a process' time."""
    monkeypatch.setattr(RedisLink, "whole", whole)
    monkeypatch.setattr("proxy.redis.leases.RENEWAL_INTERVAL", 60.0)  # only as the test says
    redis = fakeredis.FakeAsyncRedis()
    link = RedisLink(redis, 2.0)
    leases, shared, called = Leases(link), Shared(link), AsyncMock(wraps=link.run)
    questions = [page_question("a" * 16, ListQuery(page=number), credential="default") for number in range(1, 251)]
    keys = [lease_keys(question.page_key, "")[0] for question in questions]
    with contextlib.ExitStack() as stack:
        for question, key in zip(questions, keys, strict=True):
            assert await shared.take_lease(question, key)
            await redis.pexpire(key, 60_000)
            stack.enter_context(leases.kept(question, key))
        await redis.set(keys[7], "another's", px=60_000)
        monkeypatch.setattr(link, "run", called)
        await leases._renew(asyncio.get_running_loop().time())
    left = [await redis.pttl(key) for key in keys]
    assert [one > 2000 for one in left] == [key == keys[7] for key in keys], "all are renewed but what is another's now"
    assert called.await_count == (2 if whole else len(questions)), "in a cluster, a script may see one listing's only"


async def test_a_lease_is_kept_for_no_longer_than_its_flight() -> None:
    leases = Leases(RedisLink(fakeredis.FakeAsyncRedis(), 2.0))
    with leases.kept(QUESTION, "t"):
        assert [held.question for held in leases._held.values()] == [QUESTION]
    assert not leases._held
