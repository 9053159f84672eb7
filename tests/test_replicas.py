"""Several replicas, one real Redis: they show one truth, and trust their memory only while they hear of each other."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from proxy.redis.client import connect
from proxy.redis.news import TRUST_SECONDS
from proxy.redis.shared import LEASE_SECONDS
from proxy.redis.stored import read_record
from proxy.secret import Secret
from proxy.settings import CacheSettings, EventSettings, RedisSettings, Settings
from proxy.simulator import Simulator
from proxy.simulator.sending import send_answer
from tests.support import KEY, LIST, UNHURRIED, RedisServer, socket_rig, still_world

PATIENCE = 10.0


@dataclass
class Fleet:
    urls: list[str]
    hub: Simulator
    caller: httpx.AsyncClient
    redis: RedisServer

    async def ask(self, replica: int, query: str = "page_size=5", **headers: str) -> tuple[int, str]:
        """Return the total of the answer and its Cache-Status."""
        answer = await self.caller.get(f"{self.urls[replica]}{LIST}?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["total_entries"], answer.headers["cache-status"]

    def move(self) -> None:
        """A generation comes and ends at once, so that pages stay settled."""
        self.hub.world.end(self.hub.world.enqueue("ox"))

    async def until(self, look: Callable[[tuple[int, str]], bool], replica: int, query: str = "page_size=5") -> float:
        """Ask until the answer is as wanted, well within the settled_ttl of these tests; return how long that took."""
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            while not look(await self.ask(replica, query)):
                await asyncio.sleep(0.002)
        return time.perf_counter() - began


@asynccontextmanager
async def fleet(
    redis: RedisServer, size: int = 3, *, compose: bool = False, timeout: float = UNHURRIED, **cache: float
) -> AsyncIterator[Fleet]:
    """Replicas, which hear nothing of the hub itself; without composing, each page is one that it was asked for."""
    simulator = Simulator(still_world(time.time), api_key=KEY)
    settings = Settings(
        cache=CacheSettings(compose=compose, **cache),  # type: ignore[arg-type]
        redis=RedisSettings(url=Secret(redis.url), timeout=timeout),
        events=EventSettings(mode="off"),
    )
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(socket_rig(settings, simulator=simulator))
        others = [
            await stack.enter_async_context(socket_rig(settings, simulator=simulator, url=first.hub_url))
            for _ in range(size - 1)
        ]
        caller = await stack.enter_async_context(httpx.AsyncClient())
        it = Fleet([rig.proxy_url for rig in (first, *others)], simulator, caller, redis)
        for replica in range(size):  # a hit from memory says that news is flowing
            await it.until(lambda seen: "memory" in seen[1], replica, "page_size=1")
        simulator.journal.clear()
        yield it


async def test_one_answer_serves_all_replicas(own_redis: RedisServer) -> None:
    async with fleet(own_redis, settled_ttl=60) as it:
        seen = [await it.ask(replica) for replica in (0, 1, 2)]
        assert [status.rpartition("detail=")[2] for _, status in seen[1:]] == ["redis", "redis"]
        await it.until(lambda seen: "memory" in seen[1], 1)
        assert it.hub.journal.count == 1


async def test_who_waits_in_another_replica_has_the_answer_as_soon_as_it_is_there(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()

    async def hold(*answer: Any) -> None:
        await answers.wait()
        await send_answer(*answer)

    async with fleet(own_redis, settled_ttl=60) as it:
        monkeypatch.setattr("proxy.simulator.app.send_answer", hold)
        asking = [asyncio.create_task(it.ask(replica)) for replica in range(3)]
        async with asyncio.timeout(PATIENCE):
            for url in it.urls:
                while "proxy_waiting_callers 1.0" not in (await it.caller.get(f"{url}/metrics")).text:
                    await asyncio.sleep(0.005)
        answers.set()
        began = time.perf_counter()
        seen = await asyncio.gather(*asking)
        assert time.perf_counter() - began < LEASE_SECONDS / 2, "not when the lease would have ended"
        assert it.hub.journal.count == 1
        assert sum("collapsed" in status for _, status in seen) == 2


async def test_a_move_seen_by_one_reaches_all(own_redis: RedisServer) -> None:
    """Pages 1 and 2 are in every memory; then one replica learns of a move with page 3."""
    async with fleet(own_redis, settled_ttl=60) as it:
        for _ in range(2):
            for replica in range(3):
                await it.ask(replica)
                await it.ask(replica, "page_size=5&page=2")
        it.move()
        before, _ = await it.ask(1)
        total, _ = await it.ask(0, "page_size=5&page=3")
        assert total == before + 1
        took = [await it.until(lambda seen: seen[0] == total, replica) for replica in (1, 2)]
        assert max(took) < PATIENCE, "by news: settled_ttl would have been a minute"
        assert (await it.ask(2, "page_size=5&page=2"))[0] == total


async def test_a_confirmation_by_one_keeps_all_fresh(own_redis: RedisServer) -> None:
    async with fleet(own_redis, settled_ttl=1, min_refresh=0.1) as it:
        await it.ask(1)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            await it.ask(0, "page_size=5&page=2", **{"cache-control": "no-cache"})
            await asyncio.sleep(0.05)
        asked = it.hub.journal.count
        assert "hit" in (await it.ask(1))[1]
        assert it.hub.journal.count == asked


async def test_nobody_goes_back_in_time(own_redis: RedisServer) -> None:
    """Callers ask all replicas at random pages while the listing moves; what one has seen, no one unsees.

    News takes its time, so each looks at what had been seen TRUST_SECONDS before it asked.
    """
    async with fleet(own_redis, settled_ttl=0.1, live_ttl=0.05) as it:
        seen: list[tuple[float, int]] = []
        violations: list[tuple[int, int]] = []
        moves = 40

        async def caller(number: int) -> None:
            turn = 0
            while moves:  # not so many questions: it may take no time to answer them
                turn += 1
                asked_at = time.monotonic()
                total, _ = await it.ask((number + turn) % 3, f"page_size=5&page={1 + (number * 7 + turn) % 6}")
                known = max((total for at, total in seen if at < asked_at - TRUST_SECONDS), default=0)
                if total < known:
                    violations.append((total, known))
                seen.append((time.monotonic(), total))
                await asyncio.sleep(0.005)

        async def world() -> None:
            nonlocal moves
            while moves:
                it.move()
                await asyncio.sleep(0.03)
                moves -= 1

        await asyncio.gather(world(), *(caller(number) for number in range(6)))
        assert violations == []
        assert len({total for _, total in seen}) > 5, "it did move under them"


async def test_a_lost_subscription_is_noticed_and_made_anew(own_redis: RedisServer) -> None:
    async with fleet(own_redis, settled_ttl=60) as it:
        await it.ask(1)
        assert "memory" in (await it.ask(1))[1]
        admin = connect(Secret(own_redis.url))
        await admin.client_kill_filter(_type="pubsub")
        it.move()
        total, _ = await it.ask(0, "page_size=5&page=4")
        await it.until(lambda seen: seen[0] == total, 1)
        await it.until(lambda seen: "memory" in seen[1], 1)
        await admin.aclose()


async def test_a_silent_redis_ends_the_trust_in_memory(own_redis: RedisServer) -> None:
    """Frozen, it refuses nothing and says nothing: replicas go on alone, for live_ttl at a time, and come back."""
    async with fleet(own_redis, settled_ttl=60, live_ttl=0.3, timeout=0.1) as it:
        await it.ask(1)
        own_redis.signal(signal.SIGSTOP)
        try:
            it.move()
            total = len(list(it.hub.world.newest_first("ox")))
            await it.until(lambda seen: seen[0] == total, 1)
            it.move()
            await it.until(lambda seen: seen[0] == total + 1, 1)
            await it.until(lambda seen: seen[0] == total + 1, 2)
        finally:
            own_redis.signal(signal.SIGCONT)
        for replica in range(3):
            await it.until(lambda seen: "memory" in seen[1] and seen[0] == total + 1, replica)


async def test_a_flushed_redis_costs_requests_not_truth(own_redis: RedisServer) -> None:
    async with fleet(own_redis, settled_ttl=60) as it:
        await it.ask(0)
        admin = connect(Secret(own_redis.url))
        await admin.flushall()
        it.move()
        total, _ = await it.ask(1, "page_size=5&page=2")
        await it.until(lambda seen: seen[0] == total, 0)
        await it.until(lambda seen: seen[0] == total, 2)
        await admin.aclose()


async def test_a_redis_that_comes_back_with_older_data_takes_nobody_back(own_redis: RedisServer) -> None:
    """As after a failover without the last writes. Who has heard of them is not taken back meanwhile."""
    query = "page_size=5&status=succeeded"
    async with fleet(own_redis, settled_ttl=600, min_refresh=0) as it:
        before, _ = await it.ask(0, query)
        own_redis.command("SAVE")
        it.move()
        assert (await it.ask(0, query, **{"cache-control": "no-cache"}))[0] == before + 1
        await it.until(lambda seen: "memory" in seen[1], 1, "page_size=1")  # its news flows: it has heard of that
        own_redis.kill()
        own_redis.start()
        assert (await it.ask(1, query))[0] == before + 1


async def test_what_redis_has_lost_is_told_again_by_itself(own_redis: RedisServer) -> None:
    """Nobody has to ask for it; also to those who begin later."""
    query = "page_size=5&status=succeeded"
    async with fleet(own_redis, 1, settled_ttl=600, min_refresh=0) as it:
        before, _ = await it.ask(0, query)
        own_redis.command("SAVE")
        it.move()
        assert (await it.ask(0, query, **{"cache-control": "no-cache"}))[0] == before + 1
        own_redis.kill()
        own_redis.start()
        entries: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            while before + 1 not in entries:
                await asyncio.sleep(0.01)
                records = own_redis.command("MGET", *own_redis.command("KEYS", "gp1:*:record"))
                entries = {read_record(record).stamp.total_entries for record in records}


async def test_a_redis_that_takes_no_writes_makes_nobody_trust_long(own_redis: RedisServer) -> None:
    async with fleet(own_redis, settled_ttl=60, live_ttl=0.3) as it:
        admin = connect(Secret(own_redis.url))
        await admin.config_set("maxmemory", "1")
        await it.ask(1, "page_size=5&page=2")
        it.move()
        total, _ = await it.ask(0, "page_size=5&page=3")
        await it.until(lambda seen: seen[0] == total, 1, "page_size=5&page=2")
        await admin.config_set("maxmemory", "0")
        await admin.aclose()


async def test_what_redis_did_not_take_for_a_moment_reaches_all(own_redis: RedisServer) -> None:
    """The others hear of each other all the time, and trust their memory; and nobody asks the first one again."""
    async with fleet(own_redis, 2, settled_ttl=600, min_refresh=0) as it:
        await it.ask(1)
        own_redis.command("ACL", "SETUSER", "default", "-evalsha")
        it.move()
        total, _ = await it.ask(0, **{"cache-control": "no-cache"})
        own_redis.command("ACL", "SETUSER", "default", "+evalsha")
        assert await it.until(lambda seen: seen[0] == total, 1) < 3.0, "else it had gone on with what was before"


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0"])
async def test_directives_are_honoured_over_http(own_redis: RedisServer, directive: str) -> None:
    async with fleet(own_redis, size=1, settled_ttl=60, min_refresh=0.05) as it:
        await it.ask(0)
        await asyncio.sleep(0.1)
        _, status = await it.ask(0, **{"cache-control": directive})
        assert "fwd=request" in status
        refused = await it.caller.get(f"{it.urls[0]}{LIST}?page=7", headers={"cache-control": "only-if-cached"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (504, "not_cached")
        assert it.hub.journal.count == 2
