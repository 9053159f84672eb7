"""Deployments that share a Redis server do not meet: what one does is neither shown nor told to another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from litestar import Litestar

from proxy.app import create_app
from proxy.redis.client import connect, database_number
from proxy.redis_keys import credential_id, hash_tag, names
from proxy.secret import Secret
from proxy.settings import AdminSettings, CacheSettings, EventSettings, HubSettings, RedisSettings, Settings
from proxy.simulator import Simulator
from proxy.web.admin import PURGE_PATH
from tests.support import KEY, LIST, RedisServer, still_world

HUBS = ("http://one.test", "http://other.test")
QUERY = "namespace=ox&page_size=5"
ADMIN = "operators-key"


@dataclass
class Deployment:
    """A proxy in this process, and the news that it hears."""

    app: Litestar
    caller: httpx.AsyncClient
    hub: Simulator
    heard: list[bytes] = field(default_factory=list)

    async def ask(self, **headers: str) -> tuple[int, str]:
        """The total, and what was done."""
        answer = await self.caller.get(f"{LIST}?{QUERY}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["total_entries"], answer.headers["cache-status"]

    async def until(self, done: str) -> None:
        async with asyncio.timeout(10):
            while done not in (await self.ask())[1]:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def deployment(url: str, hub: str, *, history: int) -> AsyncIterator[Deployment]:
    simulator = Simulator(still_world(time.time, history=history), api_key=KEY)
    settings = Settings(
        hub=HubSettings(url=hub, api_key=Secret(KEY), rate=1e6, burst=1_000_000),
        redis=RedisSettings(url=Secret(url), timeout=5.0),
        admin=AdminSettings(key=Secret(ADMIN)),
        cache=CacheSettings(settled_ttl=60, min_refresh=0),
        events=EventSettings(mode="off"),
    )
    app = create_app(settings, transport=httpx.ASGITransport(simulator), sinks=[])
    news = app.state["observability"]._status._core.news
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's types are narrower
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://proxy.test") as caller:
        it = Deployment(app, caller, simulator)
        take = news._take

        def hear(message: dict[str, bytes]) -> None:
            if message["channel"] != news._own.encode():
                it.heard.append(message["data"])
            take(message)

        news._take = hear
        yield it


@pytest.mark.parametrize(
    ("databases", "hubs"),
    [((0, 1), HUBS), ((0, 0), HUBS), ((0, 1), (HUBS[0], HUBS[0]))],
    ids=["two databases, two hubs", "one database, two hubs", "two databases, one hub"],
)
async def test_deployments_do_not_meet(
    redis_server: RedisServer, databases: tuple[int, int], hubs: tuple[str, str]
) -> None:
    """Pub/sub knows no databases, and listings' keys did not name the hub: records of another hub retired all pages."""
    redis_server.command("FLUSHALL")
    bare = redis_server.url.removesuffix("/0")
    urls = [f"{bare}/{number}" for number in databases]
    async with (
        deployment(urls[0], hubs[0], history=30) as one,
        deployment(urls[1], hubs[1], history=20) as other,
    ):
        await one.until("detail=memory")
        await other.until("detail=memory")
        totals = [(await it.ask())[0] for it in (one, other)]
        assert totals[0] != totals[1], "each hub's own"
        one.heard.clear()
        asked = one.hub.journal.count
        for _ in range(3):
            other.hub.world.end(other.hub.world.enqueue("ox"))
            assert (await other.ask(**{"cache-control": "no-cache"}))[0] > totals[1]
        purged = await other.caller.post(
            PURGE_PATH, json={"everything": True}, headers={"authorization": f"Bearer {ADMIN}"}
        )
        assert purged.json()["everywhere"]
        core = one.app.state["observability"]._status._core
        sent_at = core.news._clock()
        async with asyncio.timeout(10):  # until what was published before has come
            while core.news._good_until < sent_at + 0.3:
                await asyncio.sleep(0.01)
        assert one.heard == []
        await one.until("detail=memory")  # which is not trusted for a moment where the machine is busy
        assert one.hub.journal.count == asked
        assert core.replicas() == 1


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://redis.test", 0),
        ("redis://redis.test/0", 0),
        ("rediss://redis.test/3", 3),
        ("redis://redis.test?db=3", 3),
        ("unix:///run/redis.sock", 0),
        ("unix:///run/redis.sock?db=3", 3),
        ("redis+sentinel://sentinel.test/main", 0),
        ("redis+sentinel://sentinel.test/main/3", 3),
        ("redis+cluster://node.test", 0),
    ],
)
async def test_the_database_is_that_of_the_url(url: str, number: int) -> None:
    assert database_number(connect(Secret(url))) == number


def test_names_are_those_of_one_deployment() -> None:
    here = names(HUBS[0], 0)
    assert names(f"{HUBS[0]}/", 0) == here, "the same hub"
    for other in (names(HUBS[1], 0), names(HUBS[0], 1)):
        assert other.news != here.news
    other = names(HUBS[1], 0)
    assert not {here.processes, here.status, here.watermarks("purged"), here.quota("web")} & {
        *(other.processes, other.status, other.watermarks("purged"), other.quota("web"))
    }
    ids = {credential_id(hub, token) for hub in HUBS for token in ("a", "b")}
    assert len(ids) == len({hash_tag(one) for one in ids}) == 4
    assert credential_id(f"{HUBS[0]}/", "a") in ids
