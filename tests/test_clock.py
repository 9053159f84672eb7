"""The time by which is judged what is kept: it goes on, whatever the machine's clock does, and in all replicas."""

from __future__ import annotations

from typing import TypeAlias

import fakeredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.answer import links
from proxy.answer.freshness import Fresh, lifetime_of
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.clock import CHECK_INTERVAL, MAX_TIME, MIN_STEP, HybridClock
from proxy.redis.census import Census
from proxy.redis.link import RedisLink
from proxy.redis_keys import NOBODYS, names
from proxy.secret import Secret
from proxy.settings import AdminSettings, CacheSettings
from proxy.web.admin import PURGE_PATH
from tests.support import LIST, NOW, Clock, Rig, rig

OPERATOR = "operators-key"


class Machine:
    """A machine whose clock may step; ``real``: seconds since the beginning."""

    def __init__(self, wall: float = NOW) -> None:
        self.wall, self.monotonic = Clock(wall), Clock(77.0)
        self.hybrid = HybridClock(self.wall, self.monotonic)

    @property
    def real(self) -> float:
        return self.monotonic.now - 77.0

    def now(self) -> float:
        """The time since the beginning."""
        return self.hybrid.now() - NOW

    def go_on(self, seconds: float, step: float = 0.0) -> None:
        self.monotonic.advance(seconds)
        self.wall.advance(seconds + step)


@pytest.mark.parametrize("idle", [0.0, 0.5, 119.5, 120.0, 130.0, 500.0])
def test_time_goes_on_when_the_clock_steps_back(idle: float) -> None:
    """Also where nobody read it for longer than it stepped: it does not seem to have gone back then."""
    machine = Machine()
    machine.go_on(idle, step=-120)
    machine.now()
    machine.go_on(CHECK_INTERVAL)
    assert machine.now() == pytest.approx(idle + CHECK_INTERVAL)
    assert machine.hybrid.lead() == pytest.approx(120)


def test_it_follows_a_clock_that_steps_forward() -> None:
    machine = Machine()
    machine.go_on(1, step=50)
    assert machine.now() == pytest.approx(51)
    assert machine.hybrid.lead() == 0


def test_a_clock_that_goes_to_and_fro_adds_nothing_up() -> None:
    machine = Machine()
    for _ in range(100):
        machine.go_on(1, step=-60)
        machine.now()
        machine.go_on(1, step=60)
        machine.now()
    assert machine.now() == pytest.approx(200)
    assert machine.hybrid.lead() == pytest.approx(0, abs=1e-3)


Passing: TypeAlias = tuple[float, float, bool]
"""Seconds that pass, by how much the clock steps meanwhile, and whether somebody asks then what time it is."""
steps = st.one_of(st.just(0.0), st.floats(-1e5, -MIN_STEP), st.floats(MIN_STEP, 1e5))
passing = st.lists(st.tuples(st.floats(0, 500), steps, st.booleans()), max_size=20)


@given(passing)
@example([(0.0, -120.0, True), (117.0, 0.0, True)])
def test_it_never_goes_back_nor_stands_still(given_passing: list[Passing]) -> None:
    machine, before, stepped = Machine(), 0.0, 0
    for seconds, step, read in given_passing:
        machine.go_on(seconds, step)
        stepped += step != 0
        if read:
            assert machine.now() >= before
            before = machine.now()
    machine.now()
    machine.go_on(CHECK_INTERVAL)
    assert machine.now() >= machine.real - stepped * MIN_STEP - 1e-3


@given(passing, st.booleans())
@example([(0.0, -120.0, True), (5.0, 0.0, True)], False)
@example([(0.0, -3600.0, False)], True)
def test_nothing_is_fresh_for_longer_as_a_clock_steps(given_passing: list[Passing], settled: bool) -> None:
    """Nor does an answer's age begin anew."""
    machine, cache = Machine(), CacheSettings(live_ttl=1, settled_ttl=5)
    asked_at, stamp = machine.hybrid.now(), Stamp(1, None)
    page = Page("k", b"{}", '"e"', asked_at, stamp, settled=settled, dead_at=None)
    reckoned = lifetime_of(page, Record(stamp, 0.0, asked_at, asked_at), cache)
    stepped = 0
    for seconds, step, _ in given_passing:
        machine.go_on(seconds, step)
        machine.hybrid.now()
        machine.go_on(CHECK_INTERVAL)
        stepped += step != 0
        verdict, real = reckoned.verdict(machine.hybrid.now()), machine.real - stepped * MIN_STEP - 1e-3
        assert not isinstance(verdict, Fresh) or real < (5 if settled else 1)
        assert isinstance(verdict, Fresh) or stepped or machine.real >= (5 if settled else 1) - 1e-3


# What callers see of a step.


PAGE = "namespace=ox&status=queued&page_size=5"


async def entries(it: Rig, **headers: str) -> tuple[int, str]:
    """How many entries the page shows, and how it was had."""
    answer = await it.get(PAGE, **headers)
    assert answer.headers["age"] == "0"
    return answer.json()["total_entries"], answer.headers["cache-status"].split("; ")[1]


@pytest.mark.parametrize("shared", [False, True])
async def test_a_clock_that_steps_back_freezes_nothing(shared: bool) -> None:
    """No page, no directive of callers, no purge; and no process that begins after it and finds the pages in Redis."""
    wall, monotonic, server = Clock(), Clock(), fakeredis.FakeServer()
    redis = fakeredis.FakeAsyncRedis(server=server) if shared else None
    operator = AdminSettings(key=Secret(OPERATOR))

    def go_on(seconds: float) -> None:
        wall.advance(seconds)
        monotonic.advance(seconds)

    async with rig(clock=wall, monotonic=monotonic, redis=redis, admin=operator) as it:
        it.hub.world.enqueue("ox")
        before, how = await entries(it)
        assert how == "fwd=uri-miss"
        wall.advance(-120)
        it.hub.world.enqueue("ox")
        assert await entries(it) == (before, "hit")
        go_on(0.6)
        assert await entries(it, **{"cache-control": "no-cache"}) == (before + 1, "fwd=request")
        it.hub.world.enqueue("ox")
        go_on(1.1)
        assert (await entries(it))[0] == before + 2
        it.hub.world.enqueue("ox")
        go_on(0.01)
        purge = {"content": b'{"everything": true}', "headers": {"authorization": f"Bearer {OPERATOR}"}}
        assert (await it.caller.post(PURGE_PATH, **purge)).status_code == 200  # type: ignore[arg-type]
        assert (await entries(it))[0] == before + 3
        if not shared:
            return
        it.hub.world.enqueue("ox")
        go_on(1.1)
        told = names("http://hub.test", 0).clock, repr(monotonic.now)  # as is told again and again
        await fakeredis.FakeAsyncRedis(server=server).set(*told)
        again = rig(clock=Clock(wall.now), redis=fakeredis.FakeAsyncRedis(server=server), simulator=it.hub)
        async with again as other:
            assert (await entries(other))[0] == before + 4


async def test_links_die_when_they_do_by_the_hubs_clock() -> None:
    """Also those that live for less long than the clock was ahead."""
    wall, monotonic = Clock(), Clock()
    async with rig(clock=wall, monotonic=monotonic, cache=CacheSettings(settled_item_ttl=86_400)) as it:
        wall.advance(-7200)
        rows = it.hub.world.newest_first("ox")
        at = f"{LIST}/{next(row for row in rows if row.status == 'succeeded').id}"
        dead_at = links.dead_at((await it.caller.get(at)).content, wall.now)
        assert dead_at is not None
        left = dead_at - wall.now
        for seconds, how in ((left - 1, "hit"), (1.0, "fwd=stale")):
            wall.advance(seconds)
            monotonic.advance(seconds)
            assert (await it.caller.get(at)).headers["cache-status"].split("; ")[1] == how


# In all replicas.


def census(machine: Machine, server: fakeredis.FakeServer) -> Census:
    link = RedisLink(fakeredis.FakeAsyncRedis(server=server), 5.0, clock=machine.monotonic)
    return Census(link, 1, machine.hybrid, keep=60, clock=machine.monotonic)


async def test_all_go_on_from_the_latest_time_that_any_has() -> None:
    server = fakeredis.FakeServer()
    early, late = Machine(), Machine(NOW + 30)
    for one in (early, late, early):
        await census(one, server).count()
    assert early.now() == late.now() == 30
    assert (early.hybrid.lead(), late.hybrid.lead()) == (30, 0)
    late.go_on(0, step=-30)  # the one whose clock was wrong is put right
    for one in (early, late):
        one.go_on(1)
        await census(one, server).count()
        assert one.now() == pytest.approx(31)


async def test_who_begins_goes_on_from_what_time_it_was() -> None:
    """Else what Redis has of before a clock stepped back would be of the future."""
    server = fakeredis.FakeServer()
    await census(Machine(NOW + 120), server).count()
    another = Machine()
    await census(another, server).count()
    assert another.now() == 120
    assert 0 < await fakeredis.FakeAsyncRedis(server=server).pttl(NOBODYS.clock) <= 60_000


@pytest.mark.parametrize("kept", [b"no time", b"nan", b"inf", b"-inf", b"-1", b"9e9", b"1e300", b"", ["a", "list"]])
async def test_whatever_stands_in_the_place_of_the_time_is_put_right(kept: bytes | list[str]) -> None:
    server, machine = fakeredis.FakeServer(), Machine()
    redis = fakeredis.FakeAsyncRedis(server=server)
    await (redis.set(NOBODYS.clock, kept) if isinstance(kept, bytes) else redis.rpush(NOBODYS.clock, *kept))
    it = census(machine, server)
    await it.count()
    assert (machine.now(), it.processes()) == (0, 1)
    assert await redis.get(NOBODYS.clock) == repr(NOW).encode()


def test_what_can_be_no_time_is_not_gone_on_from() -> None:
    machine = Machine()
    for at in (MAX_TIME, float("inf"), float("nan"), NOW - 1):
        machine.hybrid.advance_to(at)
    assert machine.now() == 0


@pytest.mark.parametrize("first", [0.0, -MIN_STEP / 4, MIN_STEP / 2])
def test_it_does_not_go_back_by_a_step_that_is_too_small_to_be_noticed_either(first: float) -> None:
    machine = Machine()
    for seconds in (0.0, CHECK_INTERVAL / 4):
        machine.go_on(seconds, step=first)
        before = machine.now()
        machine.go_on(0.0, step=-MIN_STEP / 4)
        assert machine.now() >= before


def test_it_follows_a_clock_that_is_put_right_little_by_little() -> None:
    machine = Machine()
    for _ in range(10):
        machine.go_on(2 * CHECK_INTERVAL, step=-MIN_STEP / 10)
        machine.now()
    assert machine.now() == pytest.approx(20 * CHECK_INTERVAL - MIN_STEP)
    assert machine.hybrid.lead() == 0


def test_it_stays_as_far_ahead_as_the_times_were_that_it_has_gone_on_from() -> None:
    machine, ahead = Machine(), 0.0
    for more in (0.3, 0.3, 30.0):
        ahead += more
        machine.hybrid.advance_to(machine.hybrid.now() + more)
        assert machine.hybrid.lead() == pytest.approx(ahead), "also before it is asked for the time"
        machine.go_on(2 * CHECK_INTERVAL)
        assert machine.now() == pytest.approx(machine.real + ahead)
        assert machine.hybrid.lead() == pytest.approx(ahead)
