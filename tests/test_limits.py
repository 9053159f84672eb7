"""Limits per caller: exact over replicas, cheap for hits, said in headers."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.callers import quota
from proxy.callers.caller import digest
from proxy.callers.limiter import AHEAD_SHARE, CALLERS, HOLD_SECONDS, Balance, Limiter
from proxy.callers.quota import Taken, Terms, take_units
from proxy.errors import TooManyRequests
from proxy.questions.question import LIST_PATH
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis_keys import names
from proxy.settings import AuthSettings, CacheSettings, CallerSettings, LimitSettings
from proxy.simulator import Fault
from proxy.web.limits import rate_limit_headers
from tests.callers import CALLERS as KNOWN
from tests.callers import OX, bearer
from tests.support import Clock, Rig, rig

SLOW = Terms(rate=0.001, burst=50)


def limiter(server: fakeredis.FakeServer | None = None, replicas: int = 1, **named: Any) -> Limiter:
    link = None if server is None else RedisLink(fakeredis.FakeAsyncRedis(server=server), 5.0)
    return Limiter(link, replicas=lambda: replicas, **named)


async def passes(one: Limiter, caller: str = "ann", terms: Terms = SLOW, units: float = 1.0) -> bool:
    try:
        await one.charge(caller, terms, units)
    except TooManyRequests:
        return False
    return True


# Rules.


def test_a_burst_is_granted_and_then_the_rate() -> None:
    terms = Terms(rate=2.0, burst=4)
    full_at, taken = take_units(0.0, 100.0, terms, wanted=3, least=1)
    assert taken == Taken(3, 1)
    full_at, taken = take_units(full_at, 100.0, terms, wanted=3, least=1)
    assert taken == Taken(1, 0), "as much as there is"
    same, taken = take_units(full_at, 100.0, terms, wanted=1, least=1)
    assert (same, taken) == (full_at, Taken(0.0, 0.0, 0.5))
    _, taken = take_units(full_at, 100.5, terms, wanted=1, least=1)
    assert taken == Taken(1, 0)
    _, taken = take_units(full_at, 999.0, terms, wanted=9, least=1)
    assert taken == Taken(4, 0), "the burst does not grow"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0.25, 1, 60]),
            st.integers(1, 5),
            st.integers(1, 3),
            st.sampled_from([0, 0, -9, 1, 3, 1e6]),
            st.sampled_from([0, 0, 0, 2, 100]),
        ),
        max_size=30,
    )
)
async def test_lua_takes_as_python_does(steps: list[tuple[float, int, int, float, float]]) -> None:
    """What the asker tells, that the bucket is not full before a time, and what was taken elsewhere, is Lua's alone."""
    link, script = RedisLink(fakeredis.FakeAsyncRedis(), 5.0), Script("quota_take", "numbers")
    terms, full_at, now = Terms(2.0, 8), 0.0, 1e6
    for passed, wanted, least, known, spent in steps:
        now += passed
        told = min(max(full_at, now + known, now), now + 4) + spent / terms.rate
        full_at, here = take_units(told, now, terms, max(wanted, least), least)
        arguments = [max(wanted, least), least, terms.rate, terms.burst, repr(now + known), spent, repr(now)]
        answer = await link.run(script, "quota_take", ["q"], arguments, list)
        assert answer is not None
        assert (Taken(*map(float, answer[:3])), float(answer[3])) == (here, full_at)


# Replicas.


@pytest.mark.parametrize("replicas", [1, 4])
async def test_replicas_let_through_exactly_as_many_as_are_allowed(replicas: int) -> None:
    server = fakeredis.FakeServer()
    instances = [limiter(server, replicas) for _ in range(replicas)]
    outcomes = await asyncio.gather(*(passes(instances[number % replicas]) for number in range(400)))
    assert sum(outcomes) == 50


async def test_requests_one_after_the_other_get_all_that_is_allowed() -> None:
    server = fakeredis.FakeServer()
    instances = [limiter(server, 4) for _ in range(4)]
    outcomes = [await passes(instances[number % 4]) for number in range(400)]
    assert sum(outcomes) == 50, "what one holds, its own next requests spend"


async def test_a_look_into_redis_is_not_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    one = limiter(fakeredis.FakeServer())
    terms, looks = Terms(1e6, 3200), AsyncMock(wraps=one._take_shared)
    monkeypatch.setattr(one, "_take_shared", looks)
    for _ in range(1000):
        assert await passes(one, terms=terms)
    assert looks.await_count < 30


async def test_what_was_taken_is_remembered_until_it_is_there_again() -> None:
    """And not for longer: Redis is to know of those only who ask."""
    server = fakeredis.FakeServer()
    await limiter(server).charge("ann", Terms(rate=0.1, burst=50), 50.0)
    redis = fakeredis.FakeAsyncRedis(server=server)
    (key,) = await redis.keys()
    assert 499_000 < await redis.pttl(key) <= 501_000


async def test_callers_do_not_use_up_each_others() -> None:
    one = limiter(fakeredis.FakeServer())
    assert sum([await passes(one, "ann") for _ in range(60)]) == 50
    assert await passes(one, "bob")


async def test_who_waits_is_told_how_long() -> None:
    one = limiter(fakeredis.FakeServer())
    terms = Terms(rate=0.1, burst=1)
    assert await passes(one, terms=terms)
    with pytest.raises(TooManyRequests) as caught:
        await one.charge("ann", terms, 1.0)
    assert 9 < (caught.value.retry_after or 0) <= 10


async def test_what_is_given_back_can_be_spent_again() -> None:
    one, terms = limiter(), Terms(0.001, 10)
    await one.charge("ann", terms, 0.25)
    await one.charge("ann", terms, 0.75)
    one.refund("ann", terms, 0.75)
    assert one.balance("ann", terms).left == pytest.approx(9.75)
    assert sum([await passes(one, terms=terms) for _ in range(10)]) == 9


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("waited", [0.5, 5.0])
async def test_what_is_given_back_after_a_long_wait_can_be_spent_too(waited: float, *, shared: bool) -> None:
    clock, terms = Clock(), Terms(0.001, 32)
    one = limiter(fakeredis.FakeServer() if shared else None, clock=clock)
    assert all([await passes(one, terms=terms) for _ in range(32)])
    clock.advance(waited)
    for _ in range(8):
        one.refund("ann", terms, 0.75)
    assert one.balance("ann", terms).left == pytest.approx(6, abs=0.1)
    assert sum([await passes(one, terms=terms) for _ in range(32)]) == 6
    clock.advance(waited)
    assert not await passes(one, terms=terms), "once"


async def test_what_came_back_by_itself_is_not_given_back_once_more() -> None:
    clock, terms = Clock(), Terms(1.0, 32)
    one = limiter(clock=clock)
    assert all([await passes(one, terms=terms) for _ in range(32)])
    clock.advance(30)
    for _ in range(32):
        one.refund("ann", terms, 0.75)
    assert sum([await passes(one, terms=terms) for _ in range(64)]) == 32


async def test_who_wants_more_than_there_is_keeps_it_from_nobody_who_wants_less() -> None:
    """They come at once, and the look into Redis of one is no answer to the other."""
    one = limiter(fakeredis.FakeServer())
    terms = Terms(0.001, 1)
    assert await passes(one, terms=terms, units=0.75)
    assert await asyncio.gather(*(passes(one, terms=terms, units=units) for units in (1.0, 0.125, 1.0, 0.125))) == [
        False,
        True,
        False,
        True,
    ]


async def test_what_is_taken_for_some_is_not_taken_again_for_others() -> None:
    """They come at once, and need not as much: each kind looks into Redis for itself."""
    clock = Clock()
    one, terms = limiter(fakeredis.FakeServer(), clock=clock), Terms(0.001, 64)
    assert all(await asyncio.gather(*(passes(one, terms=terms, units=units) for units in (*[1.0] * 30, 0.125))))
    clock.advance(2)
    assert sum([await passes(one, terms=terms) for _ in range(34)]) >= 31, "but for what was taken ahead"


async def test_without_redis_each_keeps_to_its_share() -> None:
    one = limiter(None, 5)
    assert sum([await passes(one) for _ in range(60)]) == 10


# A Redis that goes, and comes back.


class Fleet:
    """Processes that share a Redis, which the test takes away, and the time."""

    def __init__(self, processes: int = 1) -> None:
        self.server, self.clock = fakeredis.FakeServer(), Clock(1000.0)
        client = partial(fakeredis.FakeAsyncRedis, server=self.server)
        links = [RedisLink(client(), 2.0, clock=self.clock) for _ in range(processes)]
        self.limiters = [Limiter(link, replicas=lambda: processes, clock=self.clock) for link in links]

    def go(self) -> None:
        self.server.connected = False

    async def come(self, *, empty: bool = False) -> None:
        self.server.connected = True
        if empty:
            await fakeredis.FakeAsyncRedis(server=self.server).flushall()
        self.clock.advance(1.0)  # of a rest after a fault; what is held is lost

    async def granted(self, asked: int, terms: Terms = SLOW) -> int:
        """How many of so many requests pass, one after the other, at each process in turn."""
        each = len(self.limiters)
        return sum([await passes(self.limiters[number % each], terms=terms) for number in range(asked)])


@pytest.mark.parametrize("processes", [1, 2, 5])
async def test_without_redis_no_more_is_granted_than_it_left(processes: int) -> None:
    fleet = Fleet(processes)
    assert await fleet.granted(30) == 30
    fleet.go()
    assert 15 <= await fleet.granted(200) <= 20
    assert await fleet.granted(200) == 0


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 5])
async def test_a_redis_that_comes_back_is_told_what_was_granted_without_it(processes: int, *, empty: bool) -> None:
    fleet, granted = Fleet(processes), 0
    for _ in range(3):
        granted += await fleet.granted(10)
        fleet.go()
        granted += await fleet.granted(5)
        await fleet.come(empty=empty)
    granted += await fleet.granted(200)
    unknown = 3 * (processes - 1) if empty else 0  # to the first who asks: what the others took after it last did
    assert 45 - 6 * processes <= granted <= 50 + unknown, "what is held when Redis goes or comes may be lost"


async def test_a_redis_that_was_flushed_is_told_what_it_said_last() -> None:
    fleet = Fleet(2)
    assert await fleet.granted(50) == 50
    await fleet.come(empty=True)
    assert await fleet.granted(200) <= 1, "the first who asks does not know of the other's last"


async def test_what_came_back_without_redis_is_not_charged_when_it_is_back() -> None:
    fleet, terms = Fleet(), Terms(rate=1.0, burst=32)
    await fleet.granted(1, terms)
    fleet.go()
    for _ in range(100):
        fleet.clock.advance(10.0)
        assert await fleet.granted(1, terms) == 1
    await fleet.come()
    assert await fleet.granted(40, terms) >= 28, "a few seconds' worth may have been taken, not a thousand's"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["ask", "ask", "ask", "go", "come", "forget"]), max_size=40))
async def test_one_process_grants_no_more_whatever_redis_does(steps: list[str]) -> None:
    fleet, granted = Fleet(), 0
    for step in steps:
        match step:
            case "ask":
                granted += await fleet.granted(7)
            case "go":
                fleet.go()
            case _:
                await fleet.come(empty=step == "forget")
    assert granted <= 50


async def test_what_is_held_is_not_held_for_ever() -> None:
    clock = Clock(1000.0)
    one = limiter(fakeredis.FakeServer(), clock=clock)
    terms = Terms(0.001, 320)
    assert await passes(one, terms=terms)
    clock.advance(2)
    assert one._spend(one._of("ann", terms), 1.0) is False


async def test_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.callers.limiter.CALLERS", 10)
    one = limiter()
    for number in range(50):
        await passes(one, f"caller {number}")
    assert len(one._held) == 10
    assert CALLERS == 10_000


def test_a_share_is_never_nothing() -> None:
    assert quota.Terms(10.0, 2).share(5) == Terms(2.0, 1.0)


# Over HTTP.

OXS = bearer(OX)


async def test_answers_say_what_is_left_and_a_429_how_long_to_wait() -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.01, burst=3)) as it:
        answers = [await it.get("namespace=ox", **OXS) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0", "r=0"]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"caller";q=3;w=300'}
        refused = answers[-1]
        assert refused.json()["error"]["type"] == "too_many_requests"
        assert 90 <= int(refused.headers["retry-after"]) <= 100
        assert it.hub_requests == 1


async def test_hits_have_a_price_of_their_own() -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.001, burst=2, hit_weight=0.1)) as it:
        statuses = [(await it.get("namespace=ox", **OXS)).status_code for _ in range(20)]
        assert statuses.count(200) == 11, "one miss at 1, ten hits at a tenth"


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault(content="[1]"), 502), (Fault(status=500), 502), (Fault(status=400), 400), (Fault(status=404), 404)],
)
async def test_what_the_hub_was_asked_for_in_vain_is_charged(fault: Fault, status: int) -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.001, burst=20, hit_weight=0.1)) as it:
        it.hub.faults.set(fault)
        for page in range(1, 4):
            assert (await it.get(f"namespace=ox&page={page}", **OXS)).status_code == status
        told = await it.get("namespace=ox&page=1", **{"cache-control": "only-if-cached", **OXS})
        assert told.headers["ratelimit"].startswith('"caller";r=16;'), "three at 1, one at a tenth"


async def test_what_the_hub_was_not_asked_for_is_not_charged() -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.001, burst=20, hit_weight=0.1)) as it:
        it.hub.faults.set(Fault(status=429, retry_after="30"))
        for page in range(1, 6):
            refused = await it.get(f"namespace=ox&page={page}", **OXS)
            assert refused.json()["error"]["type"] == "hub_rate_limited"
        assert it.hub_requests == 1
        told = await it.get("namespace=ox&page=9", **{"cache-control": "only-if-cached", **OXS})
        assert (told.status_code, told.headers["ratelimit"].split(";")[1]) == (504, "r=18"), "one at 1, five at a tenth"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.125, 1.0])
async def test_many_questions_at_once_are_charged_before_the_hub_is_asked(weight: float, *, shared: bool) -> None:
    redis = fakeredis.FakeAsyncRedis() if shared else None
    limits = LimitSettings(rate=0.001, burst=10, hit_weight=weight)
    async with rig(auth=KNOWN, limits=limits, redis=redis, burst=1000, rate=1000.0) as it:
        paths = [f"{LIST_PATH}/{uuid.UUID(int=number)}" for number in range(80)]
        answers = await asyncio.gather(*(it.caller.get(path, headers=OXS) for path in paths))
        assert (it.hub_requests, Counter(answer.status_code for answer in answers)) == (10, {404: 10, 429: 70})
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["ratelimit"].startswith('"caller";r=0;')
        assert 990 <= int(refused.headers["retry-after"]) <= 1000


async def test_who_may_not_have_the_hub_asked_gets_what_is_kept() -> None:
    redis, limits = fakeredis.FakeServer(), LimitSettings(rate=0.001, burst=2, hit_weight=0.25)
    first, second = (fakeredis.FakeAsyncRedis(server=redis) for _ in range(2))
    async with (
        rig(auth=KNOWN, limits=limits, redis=first) as it,
        rig(auth=KNOWN, limits=limits, redis=second, clock=it.clock, simulator=it.hub) as other,
    ):

        async def status(at: Rig, page: int, max_age: int) -> int:
            """In words that are new each time, so that they go the slow way."""
            answer = await at.get(f"namespace=ox&page={page}", **OXS, **{"cache-control": f"max-age={max_age}"})
            return answer.status_code

        assert await status(it, 1, 100) == 200
        assert [await status(it, 1, 101 + number) for number in range(2)] == [200, 200]
        assert await status(other, 1, 103) == 200, "from Redis"
        assert [await status(it, 2 + number, 100) for number in range(9)] == [429] * 9
        assert [await status(it, 1, 104 + number) for number in range(3)] == [200, 429, 429], "to be refused is free"
        assert it.hub_requests == 1


async def test_who_is_shown_a_stale_page_while_the_hub_is_asked_pays_for_that() -> None:
    limits = LimitSettings(rate=0.001, burst=20, hit_weight=0.25)
    async with rig(auth=KNOWN, limits=limits, cache=CacheSettings(patience=0.0)) as it:
        await it.get("namespace=ox", **OXS)
        for left in (18, 17):
            it.clock.advance(20)
            stale = await it.get("namespace=ox", **OXS)
            assert "detail=stale-patience" in stale.headers["cache-status"]
            assert stale.headers["ratelimit"].startswith(f'"caller";r={left};')


async def test_a_caller_may_have_limits_of_its_own() -> None:
    own = CallerSettings(name="ox", keys=(digest(OX),), namespaces=("ox",), rate=0.001, burst=1)
    free = CallerSettings(name="free", keys=(digest("gp_free"),), namespaces=("ox",), rate=0.0)
    async with rig(auth=AuthSettings(callers=(own, free)), limits=LimitSettings(rate=0.001, burst=5)) as it:
        assert [(await it.get("namespace=ox", **OXS)).status_code for _ in range(3)] == [200, 429, 429]
        answers = [await it.get("namespace=ox", **bearer("gp_free")) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers


async def test_strangers_are_refused_without_a_look_anywhere() -> None:
    redis = fakeredis.FakeAsyncRedis()
    async with rig(auth=KNOWN, limits=LimitSettings(rate=1.0, burst=1), redis=redis) as it:
        for number in range(50):
            assert (await it.get("namespace=ox", **bearer(f"gp_{number}"))).status_code == 401
        told = names("http://hub.test", 0)
        assert set(await redis.keys("gp1:*")) == {told.processes.encode(), told.clock.encode()}, "as before they asked"
        assert it.hub_requests == 0


async def test_bad_questions_are_charged_too() -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.001, burst=2)) as it:
        assert [(await it.get("page=0", **OXS)).status_code for _ in range(3)] == [400, 400, 429]


async def test_without_a_limit_nothing_is_said() -> None:
    async with rig(auth=KNOWN) as it:
        assert "ratelimit" not in (await it.get("namespace=ox", **OXS)).headers


def test_a_balance_is_said_as_in_the_draft() -> None:
    """As in the draft: 40 of 100 are left, all are there again in 6 seconds."""
    balance = Balance(Terms(10.0, 100), 40.9)
    assert balance.reset == pytest.approx(5.91)
    assert rate_limit_headers(balance) == [
        (b"ratelimit-policy", b'"caller";q=100;w=10'),
        (b"ratelimit", b'"caller";r=40;t=6'),
    ]
    assert rate_limit_headers(Balance(Terms(10.0, 100), -0.5))[1] == (b"ratelimit", b'"caller";r=0;t=11')


async def test_one_look_into_redis_takes_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    one = limiter(fakeredis.FakeServer())
    looks = AsyncMock(wraps=one._take_shared)
    monkeypatch.setattr(one, "_take_shared", looks)
    for _ in range(2):
        assert all(await asyncio.gather(*(passes(one, terms=Terms(0.001, 320)) for _ in range(100))))
    assert looks.await_count == 2


async def test_who_asked_last_is_remembered_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis, who is forgotten has all again."""
    monkeypatch.setattr("proxy.callers.limiter.CALLERS", 3)
    one, terms = limiter(), Terms(0.001, 2)
    assert await passes(one, "ann", terms, 2.0)
    for number in range(9):
        await passes(one, f"caller {number}", terms)
        assert not await passes(one, "ann", terms)


async def test_who_has_other_terms_now_is_charged_by_these() -> None:
    one = limiter()
    assert sum([await passes(one, terms=Terms(0.001, 50)) for _ in range(3)]) == 3
    assert sum([await passes(one, terms=Terms(0.001, 5)) for _ in range(9)]) == 5


async def test_what_is_given_back_does_not_bring_back_what_was_held_for_too_long() -> None:
    clock, terms = Clock(), Terms(0.001, 320)
    one = limiter(fakeredis.FakeServer(), clock=clock)
    await one.charge("ann", terms, 1.0)
    held = 320 * AHEAD_SHARE - 1.0
    assert one.balance("ann", terms).left == pytest.approx(319, abs=0.1)
    clock.advance(HOLD_SECONDS)
    one.refund("ann", terms, 0.75)
    assert one.balance("ann", terms).left == pytest.approx(319 - held + 0.75, abs=0.1)


async def test_what_is_given_back_takes_nothing_of_what_is_held() -> None:
    clock, terms = Clock(), Terms(10.0, 320)
    one = limiter(clock=clock)
    await one.charge("ann", terms, 1.0)
    clock.advance(0.9 * HOLD_SECONDS)  # a unit is all that the bucket lacks by then
    one.refund("ann", terms, 0.5)
    assert sum(one.pay("ann", terms, 1.0) is not None for _ in range(20)) == 320 * AHEAD_SHARE - 1
