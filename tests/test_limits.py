"""Limits per caller: exact over replicas, cheap for hits, said in headers."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.callers import quota
from proxy.callers.caller import digest
from proxy.callers.limiter import CALLERS, Limiter
from proxy.callers.quota import Taken, Terms, take
from proxy.errors import TooManyRequests
from proxy.redis.census import LATEST, PROCESSES
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.settings import AuthSettings, CallerSettings, LimitSettings
from proxy.simulator import Fault
from tests.support import Clock, rig
from tests.test_callers import CALLERS as KNOWN
from tests.test_callers import OX, bearer

SLOW = Terms(rate=0.001, burst=50)


def limiter(server: fakeredis.FakeServer | None = None, replicas: int = 1, **named: Any) -> Limiter:
    link = None if server is None else RedisLink(fakeredis.FakeAsyncRedis(server=server), 2.0)
    return Limiter(link, replicas=lambda: replicas, **named)


async def passes(one: Limiter, caller: str = "ann", terms: Terms = SLOW, units: float = 1.0) -> bool:
    try:
        await one.charge(caller, terms, units)
    except TooManyRequests:
        return False
    return True


# Rules.


def test_a_burst_then_the_rate() -> None:
    terms = Terms(rate=2.0, burst=4)
    full_at, taken = take(0.0, 100.0, terms, wanted=3, least=1)
    assert taken == Taken(3, 1)
    full_at, taken = take(full_at, 100.0, terms, wanted=3, least=1)
    assert taken == Taken(1, 0), "as much as there is"
    same, taken = take(full_at, 100.0, terms, wanted=1, least=1)
    assert (same, taken) == (full_at, Taken(0.0, 0.0, 0.5))
    _, taken = take(full_at, 100.5, terms, wanted=1, least=1)
    assert taken == Taken(1, 0)
    _, taken = take(full_at, 999.0, terms, wanted=9, least=1)
    assert taken == Taken(4, 0), "the burst does not grow"


def test_what_is_owed_is_taken_though_it_is_not_there() -> None:
    terms = Terms(rate=2.0, burst=4)
    full_at, taken = take(0.0, 100.0, terms, wanted=1, least=1, owed=9)
    assert taken == Taken(0.0, -5.0, 3.0), "the wait is that of all that is owed, and of what is asked"
    _, taken = take(full_at, 102.5, terms, wanted=1, least=1)
    assert taken == Taken(0.0, 0.0, 0.5)
    _, taken = take(full_at, 103.0, terms, wanted=1, least=1)
    assert taken == Taken(1, 0)
    _, taken = take(0.0, 100.0, terms, wanted=3, least=1, owed=2)
    assert taken == Taken(2, 0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0.25, 1, 60]), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0, 0, 0, 1, 20])
        ),
        max_size=30,
    )
)
async def test_lua_takes_as_python_does(steps: list[tuple[float, int, int, int]]) -> None:
    link, script = RedisLink(fakeredis.FakeAsyncRedis(), 2.0), Script("take", "suspicion")
    terms, full_at, now = Terms(2.0, 8), 0.0, 1e6
    for passed, wanted, least, owed in steps:
        now += passed
        full_at, here = take(full_at, now, terms, max(wanted, least), least, owed)
        answer = await link.run(
            script, "take", ["q"], [max(wanted, least), least, owed, terms.rate, terms.burst, repr(now)], list
        )
        assert answer is not None
        assert Taken(*(float(number) for number in answer)) == here


# Replicas.


@pytest.mark.parametrize("replicas", [1, 4])
async def test_exactly_as_many_as_are_allowed(replicas: int) -> None:
    server = fakeredis.FakeServer()
    instances = [limiter(server, replicas) for _ in range(replicas)]
    outcomes = await asyncio.gather(*(passes(instances[number % replicas]) for number in range(400)))
    assert sum(outcomes) == 50


async def test_one_after_the_other_never_more_and_hardly_less() -> None:
    server = fakeredis.FakeServer()
    instances = [limiter(server, 4) for _ in range(4)]
    outcomes = [await passes(instances[number % 4]) for number in range(400)]
    assert sum(outcomes) == 50, "what one holds, its own next requests spend"


async def test_a_look_into_redis_is_not_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    one = limiter(fakeredis.FakeServer())
    terms = Terms(1e6, 3200)
    looks = 0
    look = one._take_shared

    async def counted(*arguments: Any) -> Taken | None:
        nonlocal looks
        looks += 1
        return await look(*arguments)

    monkeypatch.setattr(one, "_take_shared", counted)
    for _ in range(1000):
        assert await passes(one, terms=terms)
    assert looks < 30


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


async def test_what_is_owed_is_paid_first() -> None:
    one, terms = limiter(), Terms(0.001, 10)
    await one.charge("ann", terms, 0.25)
    one.owe("ann", terms, 5.0)
    assert sum([await passes(one, terms=terms) for _ in range(10)]) == 4


async def test_who_owes_more_than_the_burst_is_served_after_the_wait_that_is_told() -> None:
    """More cold questions at once than the burst: each was charged little before the hub was asked."""
    clock, terms = Clock(1000.0), Terms(rate=10.0, burst=20)
    one = limiter(clock=clock)
    for _ in range(100):
        await one.charge("ann", terms, 0.1)
    one.owe("ann", terms, 90.0)
    with pytest.raises(TooManyRequests) as caught:
        await one.charge("ann", terms, 1.0)
    assert caught.value.retry_after == pytest.approx(8.1, abs=0.1)
    assert one.balance("ann", terms).reset == pytest.approx(10.0, abs=0.1), "all of it again"
    clock.advance(caught.value.retry_after or 0)
    await one.charge("ann", terms, 1.0)


async def test_what_is_owed_is_owed_to_all_replicas() -> None:
    server = fakeredis.FakeServer()
    one, other = limiter(server), limiter(server)
    one.owe("ann", SLOW, 100.0)
    for each in (one, other):
        with pytest.raises(TooManyRequests) as caught:
            await each.charge("ann", SLOW, 1.0)
        assert caught.value.retry_after == pytest.approx(51_000, rel=0.01)


async def test_without_redis_each_keeps_to_its_share() -> None:
    one = limiter(None, 5)
    assert sum([await passes(one) for _ in range(60)]) == 10


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


async def test_the_headers_and_the_429() -> None:
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
        assert set(await redis.keys("gp1:*")) == {PROCESSES.encode(), LATEST.encode()}, "as before they asked"
        assert it.hub_requests == 0


async def test_bad_questions_are_charged_too() -> None:
    async with rig(auth=KNOWN, limits=LimitSettings(rate=0.001, burst=2)) as it:
        assert [(await it.get("page=0", **OXS)).status_code for _ in range(3)] == [400, 400, 429]


async def test_without_a_limit_nothing_is_said() -> None:
    async with rig(auth=KNOWN) as it:
        assert "ratelimit" not in (await it.get("namespace=ox", **OXS)).headers
