"""Looks into Redis that take a question's lease where there is nothing of use: one call, never a needless request."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.admission.gate import Allowance, Pause, Standing
from proxy.admission.shared_gate import SharedGate
from proxy.answer import record as records
from proxy.answer.freshness import Fresh, is_current, lifetime_of, oldest_fresh
from proxy.answer.outcome import Hit, Miss, StaleHit
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.errors import HubRateLimited
from proxy.fetch_queue import Wait
from proxy.pages import Pages
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.claims import Claim
from proxy.redis.link import RedisLink
from proxy.redis.shared import Found, Shared
from proxy.redis.stored import read_record, write_mark, write_page, write_record
from proxy.redis_keys import record_key
from proxy.settings import CacheSettings
from tests.page_fixture import LEASE_KEY, OTHER, QUESTION, Fixture, fixture, until_asked
from tests.support import RedisServer

NOW = 1_790_000_000.0
CACHE = CacheSettings(live_ttl=1, settled_ttl=5)
USELESS = oldest_fresh(NOW, CACHE, single=False)
STAMP = Stamp(3, "0.10")


def page(asked_at: float, *, settled: bool = False) -> Page:
    return Page(QUESTION.key, b"{}", f'"{asked_at}"', asked_at, STAMP, settled=settled, dead_at=None)


def record(confirmed_at: float) -> Record:
    return Record(STAMP, 0.0, confirmed_at, confirmed_at, 7)


class Redis:
    """A Redis that keeps what a test says, and who claims the right to ask."""

    def __init__(self) -> None:
        self.fake = fakeredis.FakeAsyncRedis()
        self.shared = Shared(RedisLink(self.fake, 5.0))

    async def keep(self, one: Page | None = None, confirmed_at: float | None = None) -> None:
        if one is not None:
            await self.fake.set(QUESTION.page_key, await write_page(one))
        if confirmed_at is not None:
            await self.fake.set(record_key(QUESTION.listing), write_record(record(confirmed_at)))

    async def claim(self, known: Page | None = None, confirmed_at: float | None = None, **named: Any) -> Found:
        claim = Claim(**{"question": QUESTION, "token": "t", "useless": USELESS, **named})
        heard = None if confirmed_at is None else record(confirmed_at)
        found = await self.shared.look_up(QUESTION, page=known, record=heard, claim=claim)
        assert found is not None
        assert not self.shared._link.faults
        return found

    async def leased(self, *known: Any) -> bool:
        found = await self.claim(*known)
        assert found.leased == bool(await self.fake.get(LEASE_KEY))
        return found.leased


async def test_where_nothing_is_kept_the_first_to_bid_asks() -> None:
    it = Redis()
    assert (await it.claim()).leased
    assert await it.fake.get(LEASE_KEY) == b"t"
    assert 0 < await it.fake.pttl(LEASE_KEY) <= 2000
    assert not (await it.claim(token="another")).leased
    assert await it.fake.get(LEASE_KEY) == b"t"


async def test_who_claims_once_more_has_the_lease_and_the_turn_already() -> None:
    """Scripts are sent once more where the answer was lost with its connection: to be told no left both to nobody."""
    it = Redis()
    gate = SharedGate(it.shared._link, now=NOW)
    allowance = Allowance(rate=1.0, burst=1, concurrency=1)
    wanted = gate.wanted("g", "ticket", allowance, patience=0.0)
    first = await it.claim(turn=wanted)
    await it.keep(page(NOW), NOW)
    again = await it.claim(turn=wanted)
    assert again.leased
    assert again.page is not None, "which has come meanwhile, and is handed on with it"
    assert again.turn == first.turn
    assert await gate.standing("g", allowance) == Standing(0.0, 1, Pause())
    assert not (await it.claim(token="another", turn=wanted)).leased


async def test_a_look_without_a_bid_takes_nothing() -> None:
    it = Redis()
    found = await it.shared.look_up(QUESTION)
    assert found == Found(head=b"")
    assert not await it.fake.exists(LEASE_KEY)


@pytest.mark.parametrize(
    ("age", "settled", "confirmed", "leased"),
    [
        (0.5, False, 0.5, False),
        (1.5, False, 1.5, True),
        (1.5, False, 0.0, True),  # nobody vouches for rows in flight but an answer that shows them
        (4.5, True, 4.5, False),
        (5.5, True, 5.5, True),
        (5.5, True, 0.0, False),
    ],
)
async def test_a_claim_takes_the_lease_only_where_the_kept_page_is_of_no_use(
    age: float, settled: bool, confirmed: float, leased: bool
) -> None:
    it = Redis()
    kept = page(NOW - age, settled=settled)
    await it.keep(kept, NOW - confirmed)
    assert await it.leased() is leased
    assert (await it.claim()).page == kept, "it is told of the page in any case: it may stand in for the hub's answer"


async def test_a_page_without_a_record_is_of_no_use() -> None:
    it = Redis()
    await it.keep(page(NOW))
    assert await it.leased()


async def test_what_is_known_has_been_judged() -> None:
    """A caller may want it fresher than what is fresh to others."""
    it = Redis()
    kept = page(NOW)
    await it.keep(kept, NOW)
    found = await it.claim(kept, NOW)
    assert found.leased
    assert found.page is kept, "it is not sent again"


async def test_a_record_that_was_not_known_gives_no_lease() -> None:
    it = Redis()
    kept = page(NOW - 9, settled=True)
    await it.keep(kept, NOW)
    assert not await it.leased(kept, NOW - 9)
    assert not await it.leased(kept, None)


async def test_a_claim_leaves_the_lease_where_a_page_may_be_composed() -> None:
    """Of rows in Redis: if the listing was confirmed lately by another answer than the page's own."""
    it = Redis()
    await it.fake.set(f"{QUESTION.listing}:head", b"1.ab rest")
    for asked_at, confirmed_at, leased in [
        (NOW - 2, NOW - 2, True),
        (NOW - 2, NOW - 1, False),
        (NOW - 9, NOW - 6, True),
    ]:
        await it.fake.delete(LEASE_KEY)
        await it.keep(page(asked_at), confirmed_at)
        assert await it.leased() is leased
    await it.fake.delete(LEASE_KEY, QUESTION.page_key)
    await it.keep(confirmed_at=NOW - 4)
    assert not await it.leased()


async def test_the_lease_is_of_what_the_hub_would_be_asked() -> None:
    it = Redis()
    assert (await it.claim(question=OTHER)).leased
    assert await it.fake.exists(f"{OTHER.page_key}:lease")
    assert not await it.fake.exists(LEASE_KEY)


@pytest.mark.parametrize("garbage", [b"", b"4 x 1 \n", b"\xff\xfe", b"4 99 1 \nrest"])
async def test_garbage_keeps_nobody_from_asking(garbage: bytes) -> None:
    it = Redis()
    await it.keep(confirmed_at=NOW - 9)
    await it.fake.set(QUESTION.page_key, garbage)
    found = await it.shared.look_up(QUESTION, claim=Claim(QUESTION, "t", USELESS))
    assert found is not None
    assert found.leased
    assert found.page is None


TIMES = st.integers(0, 80).map(lambda tenths: NOW - tenths / 10)


@given(TIMES, st.booleans(), TIMES, st.one_of(st.none(), st.tuples(TIMES, st.booleans())), st.one_of(st.none(), TIMES))
async def test_what_is_fresh_is_never_asked_for(
    asked_at: float, settled: bool, confirmed_at: float, known: tuple[float, bool] | None, heard: float | None
) -> None:
    """The script's rules beside those of ``freshness``."""
    it = Redis()
    kept, of_now = page(asked_at, settled=settled), record(max(asked_at, confirmed_at))
    await it.keep(kept, of_now.confirmed_at)
    mine = None if known is None else page(known[0], settled=known[1])
    leased = await it.leased(mine, heard)
    is_fresh = is_current(kept, of_now) and isinstance(lifetime_of(kept, of_now, CACHE).verdict(NOW), Fresh)
    if known == (asked_at, settled) and heard == of_now.confirmed_at:
        assert leased
    else:
        assert leased is not is_fresh


@given(st.builds(Record, st.builds(Stamp, st.integers(0, 9), st.one_of(st.none(), st.text())), TIMES, TIMES, TIMES))
def test_records_are_written_as_they_were_read(one: Record) -> None:
    text = write_record(one).encode("utf-8", "surrogatepass")
    assert write_record(read_record(text)).encode("utf-8", "surrogatepass") == text


async def test_scripts_write_records_in_the_same_way() -> None:
    it = Redis()
    one = replace(page(NOW - 1 / 3), asked_at=NOW - 1 / 3)
    learned = await it.shared.store(QUESTION, one, received_at=NOW + 1 / 7, keep_page=9, keep_record=9)
    assert isinstance(learned, tuple)
    assert await it.fake.get(record_key(QUESTION.listing)) == write_record(learned[0]).encode()
    assert learned[1] == records.advance_record(None, one.stamp, one.asked_at, NOW)[1]
    assert await it.fake.get(QUESTION.page_key) == await write_page(one)
    assert (await write_page(one)).startswith(write_mark(one))


# The path of a question.


def hears_news(pages: Pages) -> None:
    """Memory is as good as Redis."""
    pages._known.trust._news = SimpleNamespace(flowing=True)  # type: ignore[assignment]


def counted(it: Fixture, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each script is called."""
    shared, calls = it.shared, Counter[str]()
    run = shared._link.run

    async def counting(script: Any, command: str, *arguments: Any, **named: Any) -> Any:
        calls[command] += 1
        return await run(script, command, *arguments, **named)

    monkeypatch.setattr(shared._link, "run", counting)
    return calls


def without_leaving(calls: Counter[str]) -> dict[str, int]:
    """What callers wait for."""
    return {name: count for name, count in calls.items() if name != "gate_release"}


async def test_a_miss_is_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        calls = counted(it, monkeypatch)
        first = await it.ask()
        assert isinstance(first, Miss)
        assert (first.forward, first.collapsed) == ("uri-miss", False)
        assert without_leaving(calls) == {"page_look": 1, "page_store": 1}
        it.clock.advance(9)
        again = await it.ask()
        assert isinstance(again, Miss)
        assert (again.forward, again.collapsed) == ("stale", False)
        assert without_leaving(calls) == {"page_look": 2, "page_store": 2}
        await it.shield.drain(5)
        assert calls["gate_release"] == 2
        assert it.hub.asked == 2


async def test_a_turn_comes_with_the_lease() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        it.hub.gate.clear()
        asked = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        standing = await it.shield.standing()
        assert standing.held == 1
        it.hub.gate.set()
        await asked
        await it.shield.drain(5)
        assert (await it.shield.standing()).held == 0


async def test_no_turn_is_spent_where_something_is_of_use() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        await it.replica().answer(QUESTION)
        spent = (await it.shield.standing()).turns
        assert isinstance(await it.ask(), Hit)
        assert (await it.shield.standing()).turns >= spent


async def test_while_the_hub_is_left_alone_the_lookup_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        it.hub.status = 429
        with pytest.raises(HubRateLimited):
            await it.ask()
        calls = counted(it, monkeypatch)
        with pytest.raises(HubRateLimited, match="left alone") as refused:
            await it.ask(page_question("c", ListQuery(page=7)))
        assert (refused.value.retry_after or 0) > 0
        assert it.hub.asked == 1
        assert calls["gate_admit"] == 0


async def test_no_lease_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        hears_news(it.pages)
        calls = counted(it, monkeypatch)
        await it.ask()
        redis = fakeredis.FakeAsyncRedis(server=server)
        assert not await redis.exists(LEASE_KEY)
        it.clock.advance(9)
        it.hub.status = 500
        assert isinstance(await it.ask(), StaleHit)
        await it.fetcher.drain(5)
        assert not await redis.exists(LEASE_KEY)
        assert calls["lease_take"] == 0


@pytest.mark.usefixtures("virtual_time")
async def test_who_began_may_hang_up() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        hears_news(it.pages)
        it.hub.gate.clear()
        first = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        others = [asyncio.create_task(it.ask()) for _ in range(3)]
        elsewhere = asyncio.create_task(it.replica().answer(QUESTION))
        await asyncio.sleep(0.05)
        first.cancel()
        it.hub.gate.set()
        outcomes = await asyncio.gather(*others, elsewhere)
        assert it.hub.asked == 1
        assert all(isinstance(outcome, Miss) and outcome.collapsed for outcome in outcomes)
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_all_who_look_at_once_share_what_that_began() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        outcomes = await asyncio.gather(*(it.ask() for _ in range(5)))
        assert it.hub.asked == 1
        assert [outcome.collapsed for outcome in outcomes].count(False) == 1


async def test_a_page_of_another_replica_is_a_hit_also_to_who_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        await it.ask()
        it.clock.advance(9)
        await it.replica().answer(QUESTION)
        calls = counted(it, monkeypatch)
        outcome = await it.ask()
        assert isinstance(outcome, Hit)
        assert outcome.source == "redis"
        assert (it.hub.asked, without_leaving(calls)) == (2, {"page_look": 1})


async def test_a_stale_page_of_another_replica_will_do_for_who_says_so() -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        await it.replica().answer(QUESTION)
        it.clock.advance(9)
        assert isinstance(await it.ask(max_stale=60.0), StaleHit)
        assert it.hub.asked == 1


async def test_who_joins_a_lookup_may_want_less_than_who_began_it() -> None:
    async with fixture(fakeredis.FakeServer(), patience=60.0) as it:
        hears_news(it.pages)
        await it.replica().answer(QUESTION)
        it.clock.advance(9)
        it.hub.gate.clear()
        first = asyncio.create_task(it.ask())
        second = asyncio.create_task(it.ask(max_stale=60.0))
        third = asyncio.create_task(it.ask(max_stale=60.0, only_if_cached=True))
        assert isinstance(await second, StaleHit)
        assert isinstance(await third, StaleHit)
        assert not first.done()
        it.hub.gate.set()
        assert isinstance(await first, Miss)


@pytest.mark.usefixtures("virtual_time")
async def test_a_stale_page_of_another_replica_stands_in_for_a_slow_hub() -> None:
    async with fixture(fakeredis.FakeServer(), patience=0.05) as it:
        hears_news(it.pages)
        await it.replica().answer(QUESTION)
        it.clock.advance(9)
        it.hub.gate.clear()
        outcome = await it.ask()
        assert isinstance(outcome, StaleHit)
        assert outcome.reason == "patience"
        it.hub.gate.set()


@pytest.mark.usefixtures("virtual_time")
async def test_a_fetch_that_began_without_redis_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the lease that was taken for another is given up."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        hears_news(it.pages)
        it.hub.gate.clear()
        with monkeypatch.context() as patch:
            patch.setattr(it.fetcher, "_leases", None)
            alone = asyncio.create_task(it.pages.queue.fetch(QUESTION, Wait(it.pages.queue.deadline()), since=0.0))
            await until_asked(it.hub, 1)
        joined = asyncio.create_task(it.ask())
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1.5):  # less than a lease
            while await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY):
                await asyncio.sleep(0.01)
        assert (await it.shield.standing()).held == 1, "of the one that began"
        it.hub.gate.set()
        await alone
        assert (await joined).collapsed
        assert it.hub.asked == 1


async def test_a_turn_that_came_in_a_lost_look_is_given_back_where_another_has_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lease that came with it has run out meanwhile. Else the turn would count for as long as a slot lasts."""
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        hears_news(it.pages)
        look, other = it.shared.look_up, it.replica()

        async def lost(*arguments: Any, **named: Any) -> None:
            await look(*arguments, **named)
            await fakeredis.FakeAsyncRedis(server=server).delete(LEASE_KEY)
            assert (await it.shield.standing()).held == 1
            assert isinstance(await other.answer(QUESTION), Miss)

        monkeypatch.setattr(it.shared, "look_up", lost)
        outcome = await it.ask()
        assert isinstance(outcome, Miss)
        assert outcome.collapsed
        assert it.hub.asked == 1
        for pages in (it.pages, other):
            await pages.queue._fetcher._upstreams["default"].shield.drain(5)
        assert (await it.shield.standing()).held == 0


async def test_who_asks_for_kept_pages_only_claims_nothing() -> None:
    server = fakeredis.FakeServer()
    async with fixture(server) as it:
        hears_news(it.pages)
        with pytest.raises(Exception, match="only-if-cached"):
            await it.ask(only_if_cached=True)
        assert it.hub.asked == 0
        assert not await fakeredis.FakeAsyncRedis(server=server).exists(LEASE_KEY)


async def test_too_many_who_wait_begin_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        limits = it.pages.queue._limits
        monkeypatch.setattr(it.pages.queue, "_limits", type(limits)(max_waiting=1))
        it.hub.gate.clear()
        waiting = asyncio.create_task(it.ask())
        await until_asked(it.hub, 1)
        with pytest.raises(Exception, match="max_waiting"):
            await it.ask(page_question("c", ListQuery(page=7)))
        it.hub.gate.set()
        await waiting
        assert it.hub.asked == 1


async def test_a_redis_that_takes_no_writes_can_be_read(own_redis: RedisServer) -> None:
    from proxy.redis.client import connect  # noqa: PLC0415
    from proxy.secret import Secret  # noqa: PLC0415

    link = RedisLink(connect(Secret(own_redis.url)), 1.0)
    shared, kept = Shared(link), page(NOW - 9)
    await shared.store(QUESTION, kept, received_at=NOW - 9, keep_page=60, keep_record=60)
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    found = await shared.look_up(QUESTION, claim=Claim(QUESTION, "t", USELESS))
    assert found is not None
    assert found.page == kept
    assert not found.leased
    assert not link.faults
    await link.aclose()


@pytest.mark.parametrize("stop", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")])
@pytest.mark.parametrize("namespace", [None, "ox"])
async def test_misses_beside_a_redis_that_takes_no_writes_cost_a_settled_page_nothing(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...], namespace: str | None
) -> None:
    """Each of them reads from Redis and cannot write there: that is known since the first, and all was doubted then."""
    from proxy.redis.client import connect  # noqa: PLC0415
    from proxy.secret import Secret  # noqa: PLC0415

    monkeypatch.setattr(fakeredis, "FakeAsyncRedis", lambda **_: connect(Secret(own_redis.url)))
    async with fixture(fakeredis.FakeServer()) as it:
        hears_news(it.pages)
        own_redis.command(*stop)
        await it.ask()
        asked = it.hub.asked
        for number in range(3, 9):
            await it.ask(page_question("c", ListQuery(page=number, namespace=namespace)))
            assert isinstance(await it.ask(), Hit)
            assert it.hub.asked == asked + number - 2
    await it.shared._link.aclose()
