"""Nothing grows with what callers send, but the memory that is bounded by bytes."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args
from urllib.parse import urlsplit

import fakeredis
import pytest

from proxy.admission.gate import Allowance
from proxy.admission.shared_gate import NOTHING_REPORTED, SharedGate
from proxy.clock import HybridClock
from proxy.commands.serve import freeze_heap
from proxy.commands.sockets import LOOPBACK
from proxy.events.shared_log import SharedLog
from proxy.known.memory import Memory
from proxy.pages import Pages
from proxy.questions.watermarks import Extent
from proxy.redis.census import Census
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis.shared_watermarks import SharedWatermarks
from proxy.redis_keys import Kind
from proxy.secret import Secret
from proxy.settings import CacheSettings, LimitSettings, RedisSettings, Settings
from proxy.simulator import Fault
from tests.support import LIST, UNHURRIED, RedisServer, rig, socket_rig

MANY = 100
ROUTER = 1024
"""Paths that the framework remembers."""


def containers(root: object) -> Iterator[tuple[str, Any]]:
    """Every container that an object of the proxy's holds, however deep."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [(type(root).__name__, root)]
    while todo:
        path, one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict | set | list | deque | OrderedDict):
            yield path, one
        elif type(one).__module__.startswith("proxy."):
            names = getattr(one, "__dict__", {}) or {name: getattr(one, name) for name in type(one).__slots__}
            todo += [(f"{path}.{name}", value) for name, value in names.items()]


KEPT = ("_memory.", "rows.", "demand.", "shown.")


def the_pages() -> list[Pages]:
    return [one for one in gc.get_objects() if isinstance(one, Pages)]


@pytest.mark.parametrize("fault", [Fault(), Fault(status=404), Fault(status=401), Fault(content="<html>")])
@pytest.mark.parametrize("redis", [False, True], ids=["alone", "with Redis"])
async def test_nothing_grows_with_what_callers_ask(fault: Fault, redis: bool) -> None:
    before = the_pages()
    client = fakeredis.FakeAsyncRedis() if redis else None
    cache = CacheSettings(memory_bytes=65_536)
    async with rig(cache=cache, redis=client, rate=1e6, burst=1_000_000) as it:
        it.hub.faults.set(fault)
        for number in range(MANY):
            await it.get(f"page_size=1&model=m{number}", **{"x-anything": f"h{number}"})
            await it.get(f"page_size=1&unknown{number}=x")
            await it.caller.get(f"/nowhere/{number}")
        (pages,) = [one for one in the_pages() if one not in before]
        sizes = {path: len(one) for path, one in containers(pages)}
        assert len(sizes) > 8
        memory = {path: size for path, size in sizes.items() if any(p in path for p in KEPT)}
        assert {path: size for path, size in sizes.items() if path not in memory and size > 20} == {}
        assert max(memory.values()) <= MANY, "one record for each listing, until LISTINGS; pages and rows by bytes"


KINDS = [":record", ":1:60", ":head", ":rows", ":written", ":gate", ":slots", ":quota"]
KINDS += [":events", ":seen:", ":subscriber", ":rest", ":purged", ":withdrawn", ":processes", ":clock{"]
"""What is in the keys of Redis, of each kind."""


async def test_nothing_in_redis_is_kept_for_good(own_redis: RedisServer) -> None:
    """What nobody asks for any more goes by itself, whatever policy Redis has for what does not fit."""
    link = RedisLink(connect(Secret(own_redis.url)), 1.0)
    log, other = SharedLog(link, "one"), SharedLog(link, "other")
    async with rig(redis=connect(Secret(own_redis.url)), limits=LimitSettings(rate=100)) as it:
        for _ in range(2):
            await it.get("page_size=60")
            it.hub.world.end(it.hub.world.enqueue("ox"))
            it.clock.advance(6)
        await log.append(b"event", "identity")
        await log.hold()
        await other.give_up(60.0)
        for kind in get_args(Kind):
            await SharedWatermarks(link, kind).add(Extent("everything"), it.clock(), keep=60.0)
        await Census(link, 1, HybridClock(), keep=60.0).count()
        turn = Allowance(rate=1.0, burst=1.0, concurrency=1)
        await SharedGate(link).admit("gp1:{gate}", "ticket", turn, patience=0.0, paid=None, reported=NOTHING_REPORTED)
        keys = [key.decode() for key in own_redis.command("KEYS", "*")]
        assert [kind for kind in KINDS if not any(kind in key for key in keys)] == []
        assert [key for key in keys if own_redis.command("PTTL", key) < 0] == []
    await link.aclose()


def tracked() -> Counter[str]:
    """How many objects of each type a full collection looks at; those of the callers and of the hub do not count."""
    for _ in range(3):  # each leaves out tuples of what the one before has left out
        gc.collect()
    types = [type(one) for one in gc.get_objects()]
    names = [f"{one.__module__}.{one.__qualname__}" for one in types]
    ours = [name for name in names if name.startswith(("builtins.", "collections.", "proxy."))]
    return Counter(name for name in ours if not name.startswith("proxy.simulator."))


@pytest.mark.parametrize("redis", [False, True], ids=["alone", "with Redis"])
async def test_the_garbage_collector_need_not_look_at_what_is_kept(redis: bool) -> None:
    """What it looks at holds up all callers: 140 ms with 100,000 pages, when it did."""
    client = fakeredis.FakeAsyncRedis() if redis else None
    async with rig(redis=client, rate=1e6, burst=1_000_000) as it:
        generation = (await it.get("page_size=1")).json()["generations"][0]["generation_id"]

        async def ask(first: int) -> None:
            for number in range(first, first + 3 * MANY):
                assert (await it.get(f"page_size=1&page={number}")).status_code == 200
                assert (await it.get(f"page_size=1&model=m{number}")).status_code == 200
                await it.caller.get(f"{LIST}/{generation[:-4]}{number:04x}")

        for number in range(ROUTER):
            assert (await it.caller.get(f"{LIST}/no-id-{number}")).status_code == 400
        await ask(1)
        before = tracked()
        await ask(1 + 3 * MANY)
        more = {name: count for name, count in (tracked() - before).items() if count > MANY}
        assert {name: more[name] for name in more if not redis or name.startswith("proxy.")} == {}, "Redis is a fake"


def test_what_is_there_at_the_start_is_left_alone_by_the_garbage_collector() -> None:
    memory, thresholds = Memory(1_000), gc.get_threshold()
    freeze_heap()
    try:
        assert gc.get_freeze_count() > 10_000
        assert not any(one is memory for one in gc.get_objects())
        assert gc.get_threshold() == (*thresholds[:2], 10 * thresholds[2]), "nor is the rest looked through as often"
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


@contextmanager
def cycles() -> Iterator[list[Any]]:
    """What the block leaves that only the garbage collector can free."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_neither_requests_nor_connections_are_left_to_the_garbage_collector(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes seldom, and then frees all at once: 40,000 objects held up all callers for 40 ms."""
    # An error's traceback is a cycle: so nothing is to fail that is under way while a full collection takes its time,
    # and no script is to be unknown to Redis when it is first run, as that of a lease by a request that takes long.
    # Nor is there to be a new connection to it: it refuses some of what redis-py says at the beginning of each.
    monkeypatch.setattr("proxy.redis.client.SOCKET_TIMEOUT", 60.0)
    for script in [one for one in gc.get_objects() if isinstance(one, Script)]:
        own_redis.command("SCRIPT", "LOAD", script._text)
    redis = RedisSettings(url=Secret(own_redis.url), timeout=UNHURRIED, connections=1)
    settings = Settings(redis=redis)
    async with socket_rig(settings, rate=1e6, burst=1_000_000) as it:

        async def ask(number: int) -> None:
            reader, writer = await asyncio.open_connection(LOOPBACK, urlsplit(it.proxy_url).port)
            for target in (f"{LIST}?model=m{number}", f"{LIST}?model=m{number}", f"{LIST}?model=m0", f"{LIST}?page=01"):
                writer.write(f"GET {target} HTTP/1.1\r\nHost: proxy.test\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            writer.write(f"GET {LIST}?model=n{number} HTTP/1.1\r\nHost: proxy.test\r\n\r\n".encode())
            writer.close()  # before there is an answer

        async def ask_all(numbers: range) -> None:
            for number in numbers:
                await ask(number)
            while it.hub.journal.count < 2 * numbers.stop or it.hub.journal.under_way:
                await asyncio.sleep(0.005)

        await ask_all(range(5))
        with cycles() as found:
            await ask_all(range(5, 25))
    modules = Counter(getattr(one, "__module__", None) or type(one).__module__ for one in found)
    assert {name: count for name, count in modules.items() if name.startswith(("proxy", "uvicorn"))} == {}
