"""How many processes share what all of them may do, as each of them is there, ends, dies, or is cut off."""

from __future__ import annotations

import fakeredis
import pytest

from proxy.clock import HybridClock
from proxy.redis.census import ABSENCE_TIMEOUT, HEARTBEAT_TIMEOUT, INTERVAL, Census
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis_keys import NOBODYS
from proxy.secret import Secret
from tests.support import Clock, RedisServer


class Processes:
    """Some that share a Redis, each with a link of its own; its clock is the machine's, so the dead are taken out."""

    def __init__(self, number: int, configured: int = 1) -> None:
        self.server = fakeredis.FakeServer()
        self.clock = Clock()
        hybrid = HybridClock(self.clock, self.clock)
        self.all = [
            Census(RedisLink(self.redis(), 1.0, clock=self.clock), configured, hybrid, keep=60, clock=self.clock)
            for _ in range(number)
        ]

    def redis(self) -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=self.server)

    async def count(self, *which: int) -> None:
        """Let these tell that they are there, the others not; long enough for that to be known."""
        gone = [one._id for number, one in enumerate(self.all) if number not in which]
        await self.redis().zrem(NOBODYS.processes, *gone, "nobody")
        for _ in range(2):  # the first does not see the last
            for number in which:
                await self.all[number].count()
        self.clock.advance(INTERVAL)

    def known(self, which: int = 0) -> tuple[int, int]:
        """How many agree over Redis, of how many."""
        return self.all[which].agreeing(), self.all[which].processes()


@pytest.fixture
async def three() -> Processes:
    it = Processes(3)
    await it.count(0, 1, 2)
    assert [it.known(number) for number in range(3)] == [(3, 3)] * 3
    return it


async def test_before_any_count_there_are_as_many_as_are_set() -> None:
    it = Processes(1, configured=4)
    assert it.known() == (4, 4)
    await it.count(0)
    assert it.known() == (1, 1), "counted, whatever is set"


async def test_one_that_says_that_it_ends_is_not_counted_any_more(three: Processes) -> None:
    listening = three.redis().pubsub()
    await listening.subscribe(NOBODYS.news)
    await three.all[2].aclose()
    while (message := await listening.get_message(timeout=5)) is None or message["type"] != "message":
        pass
    topic, _, news = message["data"].partition(b" ")
    assert topic == b"ends"
    three.all[0].on_end(news)
    await three.all[0].count()
    assert three.known() == (2, 2)
    await listening.aclose()  # type: ignore[no-untyped-call]


async def test_the_share_of_one_that_is_missing_is_left_to_it_for_a_while(three: Processes) -> None:
    """It may be cut off from Redis, and ask the hub all the same."""
    for _ in range(int(ABSENCE_TIMEOUT / INTERVAL) - 1):
        await three.count(0, 1)
        assert three.known() == (2, 3)
    for _ in range(2):
        await three.count(0, 1)
    assert three.known() == (2, 2)
    await three.count(0, 1, 2)
    assert three.known() == (3, 3)


async def test_a_redis_that_evicts_again_and_again_leaves_nobody_alone(three: Processes) -> None:
    """Each would take the whole budget for its own, which it has without Redis' gate: that is evicted too."""
    for _ in range(int(ABSENCE_TIMEOUT / INTERVAL) + 2):
        await three.redis().delete(NOBODYS.processes)
        await three.all[0].count()
        three.clock.advance(INTERVAL)
    assert three.known() == (1, 3)


async def test_one_that_is_cut_off_goes_by_how_many_there_were_however_long(three: Processes) -> None:
    three.clock.advance(10 * ABSENCE_TIMEOUT)
    assert three.known() == (3, 3), "whoever is asked about this by Redis is not cut off"
    await three.count(0)
    assert three.known() == (1, 3), "the others may be on their way back, too"
    await three.count(0, 1, 2)
    assert three.known() == (3, 3)


async def test_while_they_cannot_be_counted_there_are_as_many_as_are_set() -> None:
    it = Processes(2, configured=5)
    await it.count(0, 1)
    assert it.known() == (2, 2)
    it.clock.advance(HEARTBEAT_TIMEOUT)
    assert it.known() == (5, 5)


async def test_those_that_die_and_are_replaced_do_not_add_up() -> None:
    it = Processes(9)
    for last in range(2, 9):
        await it.count(0, 1)
        await it.count(0, last)
        assert it.known() == (2, 2)


async def test_one_that_has_ended_is_not_counted_by_what_was_under_way(three: Processes) -> None:
    """Neither by an answer from before, nor by its own last call, which Redis may have got after its end."""
    three.all[0].on_end(three.all[2]._id.encode())
    assert three.known() == (2, 2)
    await three.count(0, 1, 2)
    assert three.known() == (2, 2)


async def test_a_redis_that_is_full_is_no_reason_to_miss_anybody(own_redis: RedisServer) -> None:
    """Its gate answers as well: what is charged there would be charged at a fraction of the rate."""
    client = connect(Secret(own_redis.url))
    both = [Census(RedisLink(client, 5.0), 1, HybridClock(), keep=60) for _ in range(2)]
    for one in (*both, *both):
        await one.count()
    await client.config_set("maxmemory", "1")
    await client.delete(NOBODYS.processes)
    for one in (*both, *both):
        await one.count()
    assert [(one.agreeing(), one.processes()) for one in both] == [(2, 2)] * 2
    assert not both[0]._link.faults
    await client.aclose()


@pytest.mark.parametrize("kept", [b"no set", {"a": 1e30, "b": 1.0, "c": float("inf")}])
async def test_whatever_stands_in_the_place_of_processes_is_put_right(kept: bytes | dict[str, float]) -> None:
    """Also what was told before Redis' clock stepped back, and who has not told for long."""
    it = Processes(1)
    redis = it.redis()
    await (redis.set(NOBODYS.processes, kept) if isinstance(kept, bytes) else redis.zadd(NOBODYS.processes, kept))
    await it.all[0].count()
    assert it.known() == (1, 1)
    assert 0 < await redis.pttl(NOBODYS.processes) <= 1000 * HEARTBEAT_TIMEOUT


async def test_one_that_is_missed_again_has_its_share_for_as_long_again(three: Processes) -> None:
    for _ in range(2):
        for _ in range(int(0.7 * ABSENCE_TIMEOUT / INTERVAL)):
            await three.count(0, 1)
            assert three.known() == (2, 3)
        await three.count(0, 1, 2)
        assert three.known() == (3, 3)


async def test_a_count_that_fails_changes_nothing(three: Processes) -> None:
    three.server.connected = False
    await three.all[0].count()
    assert three.known() == (3, 3)


async def test_one_that_ends_is_not_there_for_those_who_did_not_hear_of_it(three: Processes) -> None:
    await three.all[2].aclose()
    assert await three.redis().zscore(NOBODYS.processes, three.all[2]._id) is None
    await three.all[0].count()
    assert three.known() == (2, 3)


async def test_who_hears_of_an_end_is_there_itself() -> None:
    it = Processes(1)
    await it.count(0)
    it.all[0].on_end(b"another, that was never counted")
    assert it.known() == (1, 1)
