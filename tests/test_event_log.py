"""The log of a token's events in several replicas, whatever becomes of the news between them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.events.entry import Entry, entry_of, read_entry, write_entry
from proxy.events.log import EventLog
from proxy.events.place import read_place
from proxy.events.shared_log import EVENT_SECONDS, Appended, SharedLog
from proxy.events.tail import MAX_BYTES
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis_keys import log_key, subscriber_keys
from proxy.secret import Secret
from tests.event_logs import Redis, done, ids
from tests.support import Clock, RedisServer


@dataclass
class Two:
    """Two replicas with one Redis."""

    clock: Clock = field(default_factory=Clock)
    news: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        entries: list[tuple[str, bytes]] = []
        seen: set[str] = set()
        self.redis = [Redis(entries, seen, self.news) for _ in range(2)]
        self.logs = [EventLog(self.clock) for _ in range(2)]
        for log, redis in zip(self.logs, self.redis, strict=True):
            log.open(redis)

    async def begin(self) -> None:
        for log in self.logs:
            await log.catch_up()

    async def hears(self, replica: int, *numbers: int | None) -> None:
        """A replica hears these of the hub, one second after the other; None: that it may have missed some."""
        for number in numbers:
            self.clock.advance(1)
            await self.logs[replica].append(None if number is None else done(number))

    def away(self, *replicas: int) -> None:
        """Redis is away, for these replicas."""
        for number, redis in enumerate(self.redis):
            redis.away = number in replicas

    def restart(self) -> None:
        """Redis has lost everything."""
        self.redis[0].entries.clear()
        self.redis[0].seen.clear()

    async def settle(self, *first: int) -> None:
        """All look, and hear all news, some ``first``."""
        for number in (*first, 0, 1, 0, 1):
            await self.logs[number].reread()
            for news in self.news:
                self.logs[number].on_news(news)
            assert await self.logs[number]._catching_up.drain(5) == 0


async def test_without_redis_a_log_keeps_each_event_once_and_in_order() -> None:
    log = EventLog(Clock())
    told: list[Entry] = []
    log.on_entry.append(told.append)
    await log.append(None)
    for number in (1, 2, 1):
        await log.append(done(number))
    assert (
        ids(log)
        == [None, 1, 2]
        == [one and one.completion and uuid.UUID(one.completion.generation_id).int for one in told]
    )
    assert log.after(log.tail.place) == log.tail.end == 3
    assert log.after(read_place("1-0")) == 1
    assert log.after(read_place("0-0")) == 0
    assert log.after(read_place("7-0")) is None


async def test_news_is_enough() -> None:
    it = Two()
    await it.begin()
    for number in range(3):
        await it.logs[0].append(done(number))
    for news in it.news:
        it.logs[1].on_news(news)
    assert ids(it.logs[0]) == ids(it.logs[1]) == [0, 1, 2]
    assert it.logs[1].after(read_place("2-0")) == 2


FATES = st.lists(
    st.sampled_from(["first tells", "second tells", "both tell", "gap", "first away", "first back"]), max_size=25
)


async def happen(it: Two, fate: str, number: int) -> bool:
    """Let something happen; return whether an event was heard."""
    match fate:
        case "first tells":
            await it.logs[0].append(done(number))
        case "second tells":
            await it.logs[1].append(done(number))
        case "both tell":
            await it.logs[0].append(done(number))
            await it.logs[1].append(done(number))
        case "gap":
            await it.logs[1].append(None)
        case _:
            it.redis[0].away = fate == "first away"
    return fate.endswith(("tells", "tell"))


@settings(deadline=None)
@given(FATES, st.randoms(use_true_random=False))
async def test_each_event_comes_once_and_in_order_whatever_becomes_of_the_news(fates: list[str], chance: Any) -> None:
    """Each replica has each event once, and never after a newer one; what it lacks for that, a gap tells of."""
    it = Two()
    await it.begin()
    told = {}
    for number, fate in enumerate(fates):
        it.clock.advance(1)
        if await happen(it, fate, number):
            told[number] = it.clock()
        for log in it.logs:
            for news in chance.sample(it.news, k=chance.randint(0, len(it.news))):
                log.on_news(news)
        await asyncio.sleep(0)
    it.away()
    await it.settle()
    for log in it.logs:
        found = [one for one in ids(log) if one is not None]
        assert found == sorted(set(found)), "none twice, and in order"
        gaps = [one.at for one in log.tail._entries if one.gap]
        assert all(any(gap >= told[one] for gap in gaps) for one in told.keys() - {*found}), "none lost"
    assert {*ids(it.logs[0]), *ids(it.logs[1])} >= told.keys()


@pytest.mark.parametrize("lost", [False, True], ids=["Redis was away", "and has lost everything"])
@pytest.mark.parametrize("first", [0, 1], ids=["who heard all along tells first", "who began meanwhile tells first"])
async def test_what_was_heard_without_redis_is_not_told_after_newer_ones(first: int, lost: bool) -> None:
    """The gap with which a replica begins to hear for itself tells of what only another has heard before that."""
    it = Two()
    await it.begin()
    await it.hears(0, 1)
    await it.settle()
    it.away(0, 1)
    await it.hears(0, 2, 3)
    await it.hears(1, None)
    for number in (4, 5):
        await it.logs[0].append(done(number))
        await it.hears(1, number)
    it.away()
    if lost:
        it.restart()
    await it.settle(first)
    assert ids(it.logs[0]) == [1, 2, 3, 4, 5], "it has missed nothing"
    assert ids(it.logs[1]) == [1, None, 4, 5]
    await it.hears(0, 6)
    await it.settle()
    assert [ids(log)[-1] for log in it.logs] == [6, 6]


async def test_what_others_were_told_meanwhile_is_not_told_after_newer_ones() -> None:
    """It is only this replica that was cut off from Redis."""
    it = Two()
    await it.begin()
    it.away(0)
    await it.hears(1, None, 1)
    await it.hears(0, None, 2)
    it.away()
    await it.settle()
    assert ids(it.logs[0]) == [None, 2]
    assert ids(it.logs[1]) == [None, 1, 2]


async def test_what_comes_too_late_is_a_gap_where_none_was_told() -> None:
    it = Two()
    await it.begin()
    it.away(0)
    await it.hears(0, 1, 2)
    await it.hears(1, 3)
    it.away()
    await it.settle()
    assert ids(it.logs[0]) == [1, 2, 3]
    assert ids(it.logs[1]) == [3, None], "one for both"
    assert it.logs[1].after(it.logs[1].tail.place) == it.logs[1].tail.end


async def test_what_others_have_missed_is_told_before_what_comes_next() -> None:
    it = Two()
    await it.begin()
    it.away(0)
    await it.hears(0, 1)
    await it.hears(0, None)
    it.away()
    await it.hears(0, 2, None, 3)
    await it.settle()
    assert ids(it.logs[0]) == ids(it.logs[1]) == [1, None, 2, None, 3]


async def test_a_log_that_was_lost_is_one_gap() -> None:
    it = Two()
    await it.begin()
    await it.hears(0, 1)
    await it.settle()
    it.restart()
    await it.settle()
    await it.hears(0, 2)
    await it.settle()
    assert ids(it.logs[0]) == ids(it.logs[1]) == [1, None, 2]


class Slow(Redis):
    """Takes its time for what it is told, and counts it."""

    told = 0

    async def append(self, value: bytes, identity: str | None) -> Appended | None:
        self.told += not self.away
        await asyncio.sleep(0)
        return await super().append(value, identity)


async def away_and_back(log: EventLog, redis: Redis, events: int) -> None:
    """Hear events that Redis cannot be told of just then."""
    log.open(redis)
    await log.catch_up()
    redis.away = True
    for number in range(events):
        await log.append(done(number))
    redis.away = False


async def test_what_others_missed_is_told_once_whoever_catches_up() -> None:
    """At the same time: the beat of the subscription, news of a gap, and a listener who comes back."""
    redis, log = Slow([], set(), []), EventLog(Clock())
    await away_and_back(log, redis, 9)
    log.missed()
    await asyncio.gather(log.catch_up(), log.reread(), log.catch_up())
    assert await log._catching_up.drain(5) == 0
    assert redis.told == len(redis.entries) == 9
    assert ids(log) == [*range(9)]


async def test_another_log_that_opens_while_events_are_told_begins_with_a_gap() -> None:
    redis, log = Slow([], set(), []), EventLog(Clock())
    await away_and_back(log, redis, 2)
    catching_up = asyncio.create_task(log.catch_up())
    while not redis.told:
        await asyncio.sleep(0)
    other = Slow([], set(), [])
    log.open(other)
    await catching_up
    await log.append(done(7))
    assert ids(log) == [0, 1, None, 7], "and the other has been read, as news of it may have come before that"
    assert (redis.told, other.told) == (1, 1)


async def test_news_that_is_missed_while_redis_is_read_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Two()
    await it.begin()
    log, redis = it.logs[1], it.redis[1]
    read, reading, answers = redis.since, asyncio.Event(), asyncio.Event()

    async def since(last: str) -> list[tuple[str, bytes]] | None:
        found = await read(last)
        found = None if found is None else [*found]
        reading.set()
        await answers.wait()
        return found

    monkeypatch.setattr(redis, "since", since)
    looking = asyncio.create_task(log.reread())
    await reading.wait()
    await it.logs[0].append(done(1))
    again = asyncio.create_task(log.reread())
    await asyncio.sleep(0)
    answers.set()
    await asyncio.gather(looking, again)
    assert ids(log) == [1]


@pytest.mark.parametrize("whose", [0, 1])
async def test_what_is_told_while_the_log_is_read_for_the_first_time_is_read_too(
    monkeypatch: pytest.MonkeyPatch, whose: int
) -> None:
    """News comes on a connection of its own, and may overtake what Redis had said before it."""
    it = Two()
    await it.logs[0].catch_up()
    await it.logs[0].append(done(1))
    log, redis = it.logs[1], it.redis[1]
    read = redis.since

    async def since(last: str) -> list[tuple[str, bytes]] | None:
        found = [*(await read(last) or ())]
        monkeypatch.setattr(redis, "since", read)
        await it.logs[whose].append(done(2))
        log.on_news(it.news[-1])
        return found

    monkeypatch.setattr(redis, "since", since)
    await log.catch_up()
    assert ids(log) == [1, 2]


async def test_what_was_cut_off_is_a_gap() -> None:
    it = Two()
    await it.begin()
    await it.logs[0].append(done(1))
    it.logs[1].on_news(it.news[-1])
    await it.logs[0].append(done(2))
    it.redis[1].trimmed = 1
    await it.logs[1].reread()
    assert ids(it.logs[1]) == [1, None, 2]


@pytest.mark.parametrize("garbage", [b"garbage", b""])
async def test_an_entry_that_cannot_be_read_is_a_gap(garbage: bytes) -> None:
    """As of another release: what comes after it is told all the same, however it is heard of."""
    it = Two()
    it.redis[0].entries.append(("1-0", garbage))
    await it.begin()
    for number in (2, 3):
        await it.logs[0].append(done(number))
        it.logs[1].on_news(it.news[-1])
    await it.redis[0].append(garbage, None)
    for log in it.logs:
        log.on_news(it.news[-1])
    await it.logs[0].append(done(5))
    it.logs[1].on_news(it.news[-1])
    for log in it.logs:
        assert await log._catching_up.drain(5) == 0
        assert ids(log) == [None, 2, 3, None, 5]
        assert [one.gap for one in log.tail._entries] == [True, False, False, True, False], "even where the log begins"
        assert log.last == "5-0"


async def test_another_log_begins_with_a_gap() -> None:
    log = EventLog(Clock())
    await log.append(done(1))
    tag = log.tag
    log.open(None)
    assert ids(log) == [1, None]
    assert log.tag != tag
    assert log.after(read_place("1-0")) is None


async def test_what_is_old_or_dead_is_forgotten() -> None:
    clock = Clock()
    log = EventLog(clock)
    await log.append(done(1))
    clock.advance(EVENT_SECONDS + 1)
    await log.append(done(2, f"https://s3/x?Expires={int(clock()) + 100}"))
    await log.append(done(3))
    assert ids(log) == [2, 3]
    assert log.after(read_place("1-0")) == log.tail.first, "what follows it is known"
    clock.advance(81)  # a fifth of the link's life is left
    assert log.after(read_place("3-0")) == log.tail.end
    assert ids(log) == [3]
    assert log.after(read_place("1-0")) is None


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x92\xcb", write_entry(Entry(1.0, None))[:-1], b"\x92\x01\xa1x"])
def test_what_is_no_entry_is_not_read_as_one(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"no entry|names no generation"):
        read_entry(value)


def test_entries_are_read_as_written() -> None:
    for heard in (None, done(7)):
        assert read_entry(write_entry(entry_of(12.5, heard))) == entry_of(12.5, heard)


@asynccontextmanager
async def shared(url: str | None) -> AsyncIterator[SharedLog]:
    client = fakeredis.FakeAsyncRedis() if url is None else connect(Secret(url))
    link = RedisLink(client, 1.0)
    yield SharedLog(link, uuid.uuid4().hex)
    await link.aclose()


@pytest.mark.parametrize("real", [False, True])
async def test_the_log_in_redis_keeps_events_once_and_in_order(real: bool, redis_server: RedisServer) -> None:
    async with shared(redis_server.url if real else None) as log:
        assert await log.since("-") == []
        first = await log.append(b"one", "a")
        assert first is not None
        assert first.before == "0-0"
        assert await log.append(b"one again", "a") == Appended(None, None)
        second = await log.append(b"two", None)
        third = await log.append(b"three", None)
        assert second is not None
        assert third is not None
        assert (second.before, third.before) == (first.id, second.id)
        assert await log.since("-") == [(first.id, b"one"), (second.id, b"two"), (third.id, b"three")]
        assert await log.since(str(second.id)) == [(second.id, b"two"), (third.id, b"three")]


@pytest.mark.parametrize("real", [False, True])
async def test_the_lease_in_redis_is_held_by_one(real: bool, redis_server: RedisServer) -> None:
    async with shared(redis_server.url if real else None) as log:
        other = SharedLog(log._link, log.name)
        assert await log.hold() == (True, 0.0)
        assert await other.hold() == (False, 0.0)
        assert await log.hold() == (True, 0.0)
        await other.give_up()
        assert await other.hold() == (False, 0.0), "it was not its own"
        await log.give_up()
        assert await other.hold() == (True, 0.0)
        await other.give_up(60.0)
        for one in (log, other):
            held = await one.hold()
            assert held is not None
            assert not held[0]
            assert 55 < held[1] <= 60


async def test_garbage_in_redis_is_written_over(redis_server: RedisServer) -> None:
    async with shared(redis_server.url) as log:
        redis_server.command("SET", log_key(log.name), "x")
        redis_server.command("HSET", subscriber_keys(log.name)[0], "x", "y")
        assert await log.since("-") is None
        assert await log.hold() == (True, 0.0)
        assert await log.append(b"one", "a") is not None
        found = await log.since("-")
        assert found is not None
        assert [value for _, value in found] == [b"one"]


async def test_the_log_is_bounded_in_bytes() -> None:
    log = EventLog(Clock())
    for number in range(100):
        await log.append(done(number, "x" * 60_000))
    assert 60 <= log.tail.end - log.tail.first <= 70
    assert log.tail._bytes == sum(entry.size for entry in log.tail._entries) <= MAX_BYTES
    assert len(log.tail._known) == log.tail.end - log.tail.first


async def test_a_closed_log_asks_no_more() -> None:
    it = Two()
    await it.begin()
    await it.logs[0].append(done(1))
    await it.logs[1].aclose(5)
    it.logs[1].missed()
    await it.logs[1]._catching_up.drain(5)
    assert ids(it.logs[1]) == []
