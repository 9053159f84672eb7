"""Listeners who come back with their ``Last-Event-ID``, to whichever replica, whatever Redis does meanwhile."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.callers.caller import ANONYMOUS
from proxy.events.feed import Feed
from proxy.events.listener import Listener, Source
from proxy.events.log import EventLog
from proxy.events.place import NOWHERE, read_place
from proxy.events.shared_log import EVENT_SECONDS, Appended
from tests.event_logs import NoOwners, Redis, done, ids
from tests.support import Clock

ALL = 10**9
REPLICAS, LISTENERS = 3, 2


class Frozen(Redis):
    """One that may be frozen: what it is told it does later, though nobody waits for that any more."""

    frozen = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.later: list[tuple[bytes, str | None]] = []

    async def append(self, value: bytes, identity: str | None) -> Appended | None:
        if self.frozen:
            self.later.append((value, identity))
            return None
        return await super().append(value, identity)

    async def since(self, last: str) -> list[tuple[str, bytes]] | None:
        return None if self.frozen else await super().since(last)

    async def thaw(self) -> None:
        self.frozen = False
        for value, identity in self.later:
            await super().append(value, identity)
        self.later.clear()


class Process:
    """A replica: its log, and who listens to it."""

    def __init__(self, clock: Clock, redis: Frozen) -> None:
        self.redis = redis
        self.log = EventLog(clock)
        self.log.open(redis)
        self.feed = Feed({"": Source(self.log, NoOwners())}, 30)  # type: ignore[arg-type]
        self.hears = False


@dataclass
class Somebody:
    """A caller, over all connections.

    Attributes:
        told: numbers of generations, None for a gap, each with the time at which it was told.
        since: when it began to listen.
    """

    clock: Clock
    since: float = 0.0
    last: str | None = None
    told: list[tuple[int | None, float]] = field(default_factory=list)
    at: Process | None = None
    listener: Listener | None = None

    async def join(self, process: Process) -> None:
        self.leave()
        self.at, self.listener = process, await process.feed.join(ANONYMOUS, [""], self.last)
        if self.last is None:
            self.since = self.clock()
        self.last = self.listener.greeting or self.last

    def leave(self) -> None:
        if self.at is not None and self.listener is not None:
            self.at.feed.leave(self.listener)
        self.at = self.listener = None

    def take(self, most: int = ALL) -> None:
        """Read what there is, or (``most``: 1) one more event."""
        for event in self.listener.take(most) if self.listener is not None else ():
            number = uuid.UUID(json.loads(event.data)["generation_id"]).int if event.type != "gap" else None
            self.told.append((number, self.clock()))
            self.last = event.id

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.told if number is not None]

    @property
    def gaps(self) -> int:
        return sum(number is None for number, _ in self.told)


class Fleet:
    """Replicas with one Redis, and callers who listen to them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.entries: list[tuple[str, bytes]] = []
        self.seen: set[str] = set()
        self.news: list[bytes] = []
        self.processes = [self.process() for _ in range(REPLICAS)]
        self.callers = [Somebody(self.clock) for _ in range(LISTENERS)]
        self.happened: dict[int, float] = {}
        self.heard: dict[int, set[Process]] = {}
        self.lost = False

    def process(self) -> Process:
        return Process(self.clock, Frozen(self.entries, self.seen, self.news))

    async def begin(self) -> None:
        for one in self.processes:
            await one.log.catch_up()
        await self.connect(self.processes[0])
        for one in self.processes:
            await one.log.reread()
        for number, caller in enumerate(self.callers):
            await caller.join(self.processes[number])

    async def connect(self, process: Process) -> None:
        process.hears = True
        await process.log.append(None)

    async def complete(self, times: int = 1) -> None:
        """The hub tells of generations, whoever hears."""
        for _ in range(times):
            self.clock.advance(1)
            number = len(self.happened)
            self.happened[number] = self.clock()
            self.heard[number] = {one for one in self.processes if one.hears}
            for one in self.processes:
                if one.hears:
                    await one.log.append(done(number))

    async def replace(self, number: int) -> None:
        """A replica is killed, and another begins."""
        gone = self.processes[number]
        for caller in self.callers:
            if caller.at is gone:
                caller.leave()
        self.processes[number] = self.process()
        redis = self.processes[number].redis
        redis.away, redis.frozen = gone.redis.away, gone.redis.frozen

    async def restart(self) -> None:
        """Redis has lost everything."""
        if not self.lost:
            self.lost = True
            self.entries.clear()
            self.seen.clear()
            for one in self.processes:
                one.redis.later.clear()

    async def settle(self) -> None:
        for one in self.processes:
            one.redis.away = False
            await one.redis.thaw()
        for _ in range(3):
            for one in self.processes:
                await one.log.reread()
                assert await one.log._catching_up.drain(5) == 0
        for caller in self.callers:
            caller.take()

    def tell_news(self, chance: Any) -> None:
        """Some of it, to some, in any order."""
        for one in self.processes:
            for news in chance.sample(self.news, k=chance.randint(0, len(self.news))):
                if not one.redis.frozen:
                    one.log.on_news(news)


async def at(it: Fleet, kind: str, process: Process, chance: Any) -> None:
    """Something happens to a replica, or to all."""
    match kind:
        case "away":
            process.redis.away = True
        case "catch up":
            await process.log.catch_up()
        case "connect" if not process.hears:
            await it.connect(process)
        case "disconnect":  # another hears; who is cut off from Redis goes on
            process.hears = process.hears and (process.redis.away or process.redis.frozen)
            await process.log.reread()
        case "replace":
            await it.replace(it.processes.index(process))
        case "news":
            it.tell_news(chance)


async def to_all(it: Fleet, kind: str) -> None:
    for one in it.processes:
        match kind:
            case "back":
                one.redis.away = False
            case "freeze":
                one.redis.frozen = True
            case "thaw":
                await one.redis.thaw()
    if kind == "restart":
        await it.restart()


async def of(caller: Somebody, kind: str, process: Process) -> None:
    """A caller does something."""
    match kind:
        case "join":
            await caller.join(process)
        case "leave":
            caller.leave()
        case "take" | "take a little":
            caller.take(ALL if kind == "take" else 1)


COMPLETE = {"complete": 1, "many": 3}
KINDS: tuple[str, ...] = (
    *("complete", "complete", "complete", "many", "many", "join", "join", "join", "take", "take", "take a little"),
    *("away", "freeze", "thaw", "back", "leave", "catch up", "news", "connect", "disconnect", "restart", "replace"),
)
FATES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, REPLICAS - 1), st.integers(0, LISTENERS - 1)), max_size=30
)


LEFT_BEFORE_THE_GAP = [
    ("connect", 1, 0),
    *((kind, 0, 0) for kind in ("restart", "replace", "complete", "join", "join")),
]


# The same fates each time: of some thousands, one is of what the README excepts (Redis frozen, then emptied before a
# new process has read it; two that hear the hub while it is frozen).
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(FATES, st.randoms(use_true_random=False))
@example(LEFT_BEFORE_THE_GAP, Random(0))
async def test_nobody_misses_an_event_without_a_gap_whatever_redis_does(
    fates: list[tuple[str, int, int]], chance: Any
) -> None:
    """Nobody misses an event without a gap after it; and where there is no gap, each comes once and in order."""
    it = Fleet()
    await it.begin()
    for kind, number, whose in fates:
        it.clock.advance(0.01)
        await it.complete(COMPLETE.get(kind, 0))
        await at(it, kind, it.processes[number], chance)
        await to_all(it, kind)
        await of(it.callers[whose], kind, it.processes[number])
        await asyncio.sleep(0)
    it.clock.advance(1)
    await it.settle()
    for caller in it.callers:
        if caller.listener is None:
            await caller.join(it.processes[chance.randrange(REPLICAS)])
            caller.take()
        last_gap = max((at for number, at in caller.told if number is None), default=0.0)
        kept = {
            number
            for number, at in it.happened.items()
            if it.heard[number] & {*it.processes} and at > max(caller.since, last_gap)
        }
        assert kept <= {*caller.numbers}, "none lost"
        stretch: list[int] = []
        for told in (*(number for number, _ in caller.told), None):
            if told is not None:
                stretch.append(told)
                continue
            assert stretch == sorted(set(stretch)), "each once and in order"
            stretch = []


async def gone_and_back(it: Fleet, back: int, *, freeze: bool) -> Somebody:
    """A caller who hears five events of which Redis is told later, or never, misses five, and comes back."""
    await it.begin()
    await it.complete(2)
    it.tell_news(All())
    caller = it.callers[0]
    caller.take()
    for one in it.processes:
        one.redis.frozen, one.redis.away = freeze, not freeze
    await it.complete(5)
    caller.take()
    caller.leave()
    await it.complete(5)
    await caller.join(it.processes[back])
    caller.take()
    return caller


class All:
    """The chance that all news comes to all, in order."""

    def sample(self, these: list[bytes], k: int) -> list[bytes]:  # noqa: ARG002  as of random.Random
        return these

    def randint(self, low: int, high: int) -> int:  # noqa: ARG002  as of random.Random
        return high


FREEZE = pytest.mark.parametrize("freeze", [True, False], ids=["Redis is frozen", "Redis is away"])


@FREEZE
@pytest.mark.parametrize("told", [True, False], ids=["none has an id", "all have one by then"])
async def test_who_comes_back_to_who_could_not_tell_redis(*, freeze: bool, told: bool) -> None:
    """It has missed nothing, and been told of nothing twice."""
    it = Fleet()
    caller = await gone_and_back(it, 0, freeze=freeze)
    assert (caller.numbers, caller.gaps) == ([*range(12)], 0)
    caller.leave()
    await it.complete(3)
    if told:
        await it.settle()
    await caller.join(it.processes[0])
    await it.settle()
    assert (caller.numbers, caller.gaps) == ([*range(15)], 0)


@FREEZE
async def test_who_comes_back_to_another_while_redis_cannot_be_told(*, freeze: bool) -> None:
    """What came meanwhile is not known there: a gap; when it is, it is told, and what was told before is not."""
    it = Fleet()
    caller = await gone_and_back(it, 1, freeze=freeze)
    assert (caller.numbers, caller.gaps) == ([*range(7)], 1)
    for replica in (2, 1, 1):  # and goes on to look for somebody who knows
        await caller.join(it.processes[replica])
        caller.take()
    await it.settle()
    assert (caller.numbers, caller.gaps) == ([*range(12)], 4)


@FREEZE
async def test_who_comes_back_to_another_when_redis_has_been_told(*, freeze: bool) -> None:
    it = Fleet()
    caller = await gone_and_back(it, 0, freeze=freeze)
    caller.leave()
    await it.complete(3)
    await it.settle()
    await caller.join(it.processes[1])
    caller.take()
    assert (caller.numbers, caller.gaps) == ([*range(15)], 0)


async def test_who_has_not_had_what_others_had_before_is_told_of_a_gap() -> None:
    """Redis is told late of what the caller heard last: others had something else before that."""
    it = Fleet()
    await it.begin()
    cut_off, other, third = it.processes
    cut_off.redis.away = True
    await it.complete()
    caller = it.callers[0]
    caller.take()
    caller.leave()
    cut_off.hears = False
    it.clock.advance(-5)  # the other's clock is late, so that what was heard first is not too late for it
    await it.connect(other)
    await it.complete()
    it.clock.advance(5)
    await it.settle()
    assert ids(third.log)[-2:] == [1, 0]
    await caller.join(third)
    caller.take()
    assert (caller.numbers, caller.gaps) == ([0], 1)


async def test_what_is_not_kept_for_others_any_more_is_one_gap() -> None:
    it = Fleet()
    await it.begin()
    it.callers[0].leave()
    it.processes[0].redis.away = True
    await it.complete(3)
    await it.processes[0].log.append(None)
    it.clock.advance(EVENT_SECONDS + 1)
    await it.complete(2)
    await it.settle()
    assert [number for number, _ in it.callers[1].told] == [None, 3, 4]


async def test_no_more_is_kept_for_others_than_can_be_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.log.MAX_PENDING", 5)
    monkeypatch.setattr("proxy.events.tail.MAX_EVENTS", 5)
    it = Fleet()
    await it.begin()
    log = it.processes[0].log
    it.processes[0].redis.away = True
    for _ in range(8):
        await it.complete()
        await log.append(None)
    assert len(log._pending) <= 6
    assert log._pending[0].gap


async def test_a_place_whose_entry_is_forgotten_is_not_known() -> None:
    """Though nothing with an id came after it: what was told without one would be passed over."""
    it = Fleet()
    await it.begin()
    caller = it.callers[0]
    await it.complete()
    caller.take()
    caller.leave()
    it.processes[0].redis.away = True
    await it.complete()
    it.clock.advance(EVENT_SECONDS + 1)
    await it.complete()
    await caller.join(it.processes[0])
    caller.take()
    assert (caller.numbers, caller.gaps) == ([0], 1)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "1-", "-1", "1-0~", "1-0~a", "1-0~.1", "1-0~g.1", "1-0~a.-1", "1-0~a.1 ", "\u0661-0", "1-0-0"],
)
def test_what_is_no_place_is_nowhere(text: str) -> None:
    assert read_place(text) == NOWHERE


@pytest.mark.parametrize("last", [None, "nonsense"])
async def test_who_comes_too_late_is_told_so_once(last: str | None) -> None:
    """Where nothing happens after that, another return is no reason to ask the other endpoints again."""
    it = Fleet()
    await it.begin()
    await it.complete()
    caller = it.callers[0]
    caller.take()
    it.clock.advance(EVENT_SECONDS + 1)
    await it.complete()
    it.clock.advance(EVENT_SECONDS + 1)
    caller.last = caller.last if last is None else f"{it.processes[0].log.tag}-{last}"
    for _ in range(3):
        await caller.join(it.processes[0])
        caller.take()
    assert (caller.numbers, caller.gaps) == ([0], 1)


@pytest.mark.parametrize("text", ["0-0", "1790000004120-3", "1790000004120-3~0a1b2c3d.17"])
def test_a_place_is_read_as_written(text: str) -> None:
    assert str(read_place(text)) == text


async def test_what_a_listener_has_had_already_may_be_forgotten_before_more_comes() -> None:
    """Who has read past it is not too slow."""
    clock = Clock()
    log = EventLog(clock)
    for number in range(3):
        await log.append(done(number))
    sources = {"": Source(log, NoOwners())}  # type: ignore[arg-type]
    listener = Listener(ANONYMOUS, sources, {"": (log.tail.first, NOWHERE)}, {"": log.tail.place}, gap=False)
    assert listener.take(ALL) == []
    clock.advance(EVENT_SECONDS + 1)
    await log.append(done(3))
    assert [event.id for event in listener.take(ALL)] == [f"{log.tag}-4-0"]


async def test_what_several_logs_tell_of_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what one has told of before somebody began to listen; of the latest events only, so that they are few."""
    monkeypatch.setattr("proxy.events.listener.MAX_REMEMBERED", 2)
    logs = {name: EventLog(Clock()) for name in ("a", "b")}
    sources = {name: Source(log, NoOwners()) for name, log in logs.items()}  # type: ignore[arg-type]

    def listener() -> Listener:
        places = {name: (log.tail.end, log.tail.place) for name, log in logs.items()}
        return Listener(ANONYMOUS, sources, places, {}, gap=False)

    one = listener()
    for number in range(9):
        for log in logs.values():
            await log.append(done(number))
        assert len(one.take(ALL)) == 1
    assert one._sent is not None
    assert len(one._sent) == 2 * len(logs)
    await logs["a"].append(done(9))
    other = listener()
    await logs["b"].append(done(9))
    assert other.take(ALL) == []
    await logs["b"].append(done(10))
    assert len(other.take(ALL)) == 1
