"""Hubs of 120 rows, some of whose answers have members that no contract lists; two replicas before one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from proxy.redis.client import connect
from proxy.secret import Secret
from proxy.settings import CacheSettings
from proxy.simulator import Simulator
from proxy.simulator.world import Generation
from tests.support import KEY, Clock, RedisServer, Rig, rig, still_world

ENTRIES = 120

KINDS = ["none", "of the hub", "has_more", "next_page", "next, but on the last", "offset", "first", "links"]
KINDS += ["limit", "limit on all"]


def further(kind: str, page: int, size: int, *, last: bool) -> dict[str, object]:
    """What an answer has beside what the contract lists."""
    kinds: dict[str, dict[str, object]] = {
        "none": {},
        "of the hub": {"region": "eu", "limits": {"page_size": 1000, "count": [1]}},
        "has_more": {"has_more": not last},
        "next_page": {"next_page": None if last else page + 1},
        "next, but on the last": {} if last else {"next": f"?page={page + 1}"},
        "offset": {"offset": (page - 1) * size},
        "first": {"first": page == 1},
        "links": {"links": {"self": f"?page={page}&page_size={size}"}},
        "limit": {"limit": size, "next_cursor": None if last else f"row {page * size}"},
        "limit on all": {"limit": size},
    }
    return kinds[kind]


def hub_with(kind: str, clock: Clock) -> Simulator:
    """A hub of 120 rows whose answers have further members."""
    hub = Simulator(still_world(clock, history=ENTRIES), api_key=KEY, clock=clock)
    plain = hub.writer.page

    def page(rows: Sequence[Generation], number: int, size: int, now: float) -> bytes:
        body = plain(rows, number, size, now)
        members = json.dumps(further(kind, number, size, last=number * size >= len(rows)))[1:-1]
        return body[:1] + members.encode() + b", " + body[1:] if members else body

    hub.writer.page = page  # type: ignore[method-assign, assignment]
    return hub


@dataclass
class Pair:
    """Two replicas with one clock; the world is 120 rows long."""

    one: Rig
    other: Rig
    hub: Simulator
    clock: Clock
    redis: RedisServer

    @property
    def asked(self) -> int:
        return self.hub.journal.count

    def arrive(self) -> None:
        self.clock.advance(0.1)
        self.hub.world.end(self.hub.world.enqueue("ox"))
        self.clock.advance(6)

    def keys(self, ending: str) -> list[str]:
        return [key.decode() for key in self.redis.command("KEYS", f"gp1:*:{ending}")]


@asynccontextmanager
async def pair(redis: RedisServer, **cache: Any) -> AsyncIterator[Pair]:
    redis.command("FLUSHALL")
    clock = Clock()
    hub = Simulator(still_world(clock, history=120), api_key=KEY, clock=clock)
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                rig(cache=CacheSettings(**cache), redis=connect(Secret(redis.url)), simulator=hub, clock=clock)
            )
            for _ in range(2)
        ]
        yield Pair(replicas[0], replicas[1], hub, clock, redis)
