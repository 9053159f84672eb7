"""Redis with TLS, behind Sentinel and as a cluster: replicas share as with one server, also after another took over."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

import httpx
import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.client import close, connect
from proxy.redis.describe import describe, rehearse
from proxy.redis.link import RedisLink
from proxy.redis.news import News
from proxy.redis_keys import NOBODYS, credential_id, names
from proxy.secret import Secret
from proxy.settings import AdminSettings, CacheSettings, EventSettings, RedisSettings, Settings
from proxy.simulator import Fault, Simulator
from proxy.web.admin import PURGE_PATH
from proxy.web.health import READY_PATH
from tests.redis_servers import (
    PATIENCE,
    SOON,
    Certificates,
    Cluster,
    Server,
    certificates,
    cluster,
    eventually,
    server,
    server_port,
    tls_cluster,
    tls_sentinel,
    tls_server,
    watched,
)
from tests.support import KEY, LIST, RedisServer, socket_rig, still_world

NAMESPACES = tuple(f"n{number}" for number in range(16))
"""One listing of each lands on each node of the cluster, and the shared budget's keys on one of them."""
ADMIN = "operators-key"


class Seen(NamedTuple):
    total: int
    hit: bool
    detail: str
    """Where a hit comes from: ``memory`` or ``redis``."""


@dataclass
class Pair:
    """Two replicas of the proxy."""

    urls: list[str]
    hub: Simulator
    caller: httpx.AsyncClient
    hub_url: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def ask(self, replica: int, query: str, **headers: str) -> Seen:
        answer = await self.caller.get(f"{self.urls[replica]}{LIST}?{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        status = answer.headers["cache-status"]
        return Seen(answer.json()["total_entries"], "; hit;" in status, status.rpartition("detail=")[2])

    def question(self, namespace: str) -> str:
        """One that nobody has asked yet."""
        return f"namespace={namespace}&page_size={next(self.numbers)}"

    def page_key(self, query: str) -> str:
        """The key of the page that answers it."""
        given = dict(parse_qsl(query))
        wanted = ListQuery(namespace=given["namespace"], page_size=int(given["page_size"]))
        return page_question(credential_id(self.hub_url, KEY), wanted).page_key

    async def redis(self, replica: int) -> dict[str, Any]:
        health = (await self.caller.get(self.urls[replica] + READY_PATH)).json()
        assert health["status"] == "ready"
        return dict(health["redis"])

    async def faults(self) -> list[str]:
        """Of both; but not what took too long, as on a busy machine anything may."""
        found = [fault for replica in (0, 1) for fault in (await self.redis(replica))["faults"]]
        return [fault for fault in found if not fault.endswith(("TimeoutError", "slow"))]

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await look():
                await asyncio.sleep(0.02)

    async def shares(self, namespace: str, keeper: Server | None = None) -> bool:
        """What one asks, the other answers from Redis and, as news is flowing, then from memory."""
        query = self.question(namespace)
        await self.ask(0, query)
        details = [(await self.ask(1, query)).detail for _ in range(2)]
        kept = keeper is None or await asyncio.to_thread(keeper.command, "EXISTS", self.page_key(query))
        return details == ["redis", "memory"] and bool(kept)

    async def share(self, namespaces: Sequence[str] = NAMESPACES, keeper: Server | None = None) -> None:
        """Wait until all is shared, both ways of it, and over ``keeper`` if one is named."""
        for namespace in namespaces:
            await self.until(partial(self.shares, namespace, keeper))

    async def moves_reach_the_other(self, namespaces: Sequence[str] = NAMESPACES) -> None:
        """Both have the first page in memory; one learns of a move with another page."""
        for namespace in namespaces:
            first, other = self.question(namespace), self.question(namespace)
            for replica in (0, 1):
                await self.until(partial(self.is_seen, replica, first, detail="memory"))
            before = (await self.ask(1, first)).total
            self.hub.world.end(self.hub.world.enqueue(namespace))
            assert (await self.ask(0, other)).total == before + 1
            await self.until(partial(self.is_seen, 1, first, total=before + 1))

    async def is_seen(self, replica: int, query: str, **expected: object) -> bool:
        seen = (await self.ask(replica, query))._asdict()
        return expected.items() <= seen.items()


@asynccontextmanager
async def pair(
    url: str,
    *,
    timeout: float = 5.0,
    settled_ttl: float = 60,
    compose: bool = False,
    events: Literal["auto", "off"] = "auto",
    **cache: float,
) -> AsyncIterator[Pair]:
    """Without composing, every question that nobody has asked yet is the hub's to answer.

    With events, what is known is doubted now and then on a busy machine, where one takes the subscription over.
    """
    simulator = Simulator(still_world(time.time, namespaces=NAMESPACES), api_key=KEY)
    settings = Settings(
        cache=CacheSettings(settled_ttl=settled_ttl, compose=compose, **cache),  # type: ignore[arg-type]
        redis=RedisSettings(url=Secret(url), timeout=timeout),
        admin=AdminSettings(key=Secret(ADMIN)),
        events=EventSettings(mode=events),
    )
    plenty = {"rate": 10_000.0, "burst": 10_000, "concurrency": 500}
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(socket_rig(settings, simulator=simulator, **plenty))
        other = await stack.enter_async_context(socket_rig(settings, simulator=simulator, url=one.hub_url, **plenty))
        caller = await stack.enter_async_context(httpx.AsyncClient(timeout=20))
        yield Pair([one.proxy_url, other.proxy_url], simulator, caller, one.hub_url)


@asynccontextmanager
async def load(it: Pair) -> AsyncIterator[Counter[int]]:
    """Callers who go on asking both for pages old and new; the statuses that they got."""
    statuses: Counter[int] = Counter()
    stop = asyncio.Event()

    async def ask(replica: int) -> None:
        for turn in itertools.count():
            namespace = NAMESPACES[turn % len(NAMESPACES)]
            query = f"namespace={namespace}&page_size=7" if turn % 3 else it.question(namespace)
            statuses[(await it.caller.get(f"{it.urls[replica]}{LIST}?{query}")).status_code] += 1
            if stop.is_set():
                return
            await asyncio.sleep(0.03)

    callers = [asyncio.create_task(ask(replica)) for replica in (0, 1)]
    try:
        yield statuses
    finally:
        stop.set()
        await asyncio.gather(*callers)


# TLS.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(made: Certificates) -> Iterator[int]:
    with tls_server(made) as (_, port):
        yield port


async def test_replicas_share_over_tls(tls: int, made: Certificates) -> None:
    await shares_without_a_fault(f"rediss://127.0.0.1:{tls}/0?ssl_ca_certs={made.authority}")


@pytest.mark.parametrize("servers", [tls_sentinel, tls_cluster])
async def test_replicas_share_over_tls_through_sentinels_and_in_a_cluster(
    made: Certificates, servers: Callable[[Certificates], AbstractContextManager[str]]
) -> None:
    with servers(made) as url:
        await shares_without_a_fault(f"{url}?ssl_ca_certs={made.authority}")


async def shares_without_a_fault(url: str) -> None:
    async with pair(url) as it:
        await it.share(NAMESPACES[:4])
        await it.moves_reach_the_other(NAMESPACES[:4])
        assert not await it.faults()


async def test_tls_of_a_strange_authority_is_nobodys_error(tls: int, made: Certificates) -> None:
    async with pair(f"rediss://127.0.0.1:{tls}/0?ssl_ca_certs={made.stranger}") as it:
        for namespace in NAMESPACES:
            for replica in (0, 1):
                await it.ask(replica, f"namespace={namespace}")
        assert it.hub.journal.count == 2 * len(NAMESPACES), "each asks for itself"
        for replica in (0, 1):
            redis = await it.redis(replica)
            assert redis["state"] == "down"
            assert sum(redis["faults"].values()) > 0


# Sentinel.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "passwords"),
    [
        pytest.param("killed", {}, id="killed"),
        pytest.param("killed", {"password": "r3dis", "sentinel_password": "s3ntinel"}, id="killed-passwords"),
        pytest.param("frozen", {}, id="frozen"),
        pytest.param("demoted", {}, id="demoted"),
    ],
)
async def test_replicas_go_on_with_the_primary_that_takes_over(end: str, passwords: dict[str, Any]) -> None:
    """Whatever becomes of the primary: callers notice nothing, and the replicas find the new one."""
    with watched(**passwords) as them:
        old, new = them.servers
        async with pair(them.url, timeout=0.1) as it:
            await it.share(keeper=old)
            await it.moves_reach_the_other(NAMESPACES[:4])
            async with load(it) as statuses:
                match end:
                    case "killed":
                        old.end()
                    case "frozen":
                        old.signal(signal.SIGSTOP)
                    case "demoted":
                        them.sentinel.command("SENTINEL", "FAILOVER", "mymaster")
                await asyncio.to_thread(eventually, lambda: them.primary() is new, "a new primary")
                await it.share(keeper=new)
                await it.moves_reach_the_other(NAMESPACES[:4])
                if end != "killed":  # it takes writes for a while before the Sentinel makes it a replica
                    old.signal(signal.SIGCONT)
                    await it.share(keeper=new)
                    await asyncio.to_thread(eventually, lambda: old.role() == "slave", "a replica")
                    await it.share(keeper=new)
                    await it.moves_reach_the_other(NAMESPACES[:4])
            assert set(statuses) == {200}


@pytest.mark.slow
async def test_sentinel_has_the_last_word() -> None:
    """A primary that was replaced and goes on as if it was not; for seconds that is so in every planned failover.

    The replicas have all the connections to it that they will ever want, so that none asks the Sentinel by itself.
    """
    with watched(stubborn=True) as them:
        old, new = them.servers
        async with pair(them.url) as it:
            await it.share(keeper=old)
            many = [(replica, it.question(namespace)) for replica in (0, 1) for namespace in 3 * NAMESPACES]
            await asyncio.gather(*(it.ask(replica, query) for replica, query in many))
            them.sentinel.command("SENTINEL", "FAILOVER", "mymaster")
            await asyncio.to_thread(eventually, lambda: them.primary() is new, "a new primary")
            await it.share(keeper=new)
            await it.moves_reach_the_other(NAMESPACES[:4])
            assert old.role() == new.role() == "master"


# Cluster.


@pytest.fixture(scope="module")
def the_cluster() -> Iterator[Cluster]:
    with cluster() as it:
        yield it


@pytest.fixture
def three(the_cluster: Cluster) -> Cluster:
    """Three nodes, empty: what an earlier test has kept would answer the same questions."""
    for node in the_cluster.nodes:
        node.command("FLUSHALL")
    return the_cluster


async def test_replicas_share_pages_moves_and_budget_over_a_cluster(three: Cluster) -> None:
    """Pages and moves, over all nodes, and the shared budget: without a fault."""
    async with pair(three.url) as it:
        await it.share()
        await it.moves_reach_the_other()
        assert all(node.command("DBSIZE") > 0 for node in three.nodes)
        assert not await it.faults()


async def test_a_purge_reaches_all_slots_of_a_cluster(three: Cluster) -> None:
    async with pair(three.url, events="off") as it:
        await it.share()
        for namespace in NAMESPACES:
            for replica in (0, 1):
                await it.until(partial(it.is_seen, replica, f"namespace={namespace}", detail="memory"))
        it.hub.journal.clear()
        for namespace in NAMESPACES[::2]:
            purged = await it.caller.post(
                it.urls[0] + PURGE_PATH, json={"namespace": namespace}, headers={"authorization": f"Bearer {ADMIN}"}
            )
            assert purged.status_code == 200, purged.text
            await it.until(partial(it.is_seen, 1, f"namespace={namespace}", hit=False))
            assert await it.is_seen(0, f"namespace={namespace}", hit=True), "kept anew, for both"
        for namespace in NAMESPACES[1::2]:
            for replica in (0, 1):
                assert await it.is_seen(replica, f"namespace={namespace}", hit=True)
        assert it.hub.journal.count == len(NAMESPACES[::2])
        assert not await it.faults()


async def test_replicas_share_rows_over_a_cluster(three: Cluster) -> None:
    """A listing's rows lie in one slot: what one replica has been shown, the other composes pages of."""
    async with pair(three.url, compose=True) as it:
        for namespace in NAMESPACES:

            async def composed(namespace: str = namespace) -> bool:
                await it.ask(0, f"namespace={namespace}&page_size=50", **{"cache-control": "no-cache"})
                url, without_hub = f"{it.urls[1]}{LIST}?{it.question(namespace)}", {"cache-control": "only-if-cached"}
                answer = await it.caller.get(url, headers=without_hub)
                return answer.status_code == 200 and answer.headers["cache-status"].endswith("detail=composed")

            await it.until(composed)
        assert not await it.faults()


async def test_replicas_share_one_flight_over_a_cluster(three: Cluster) -> None:
    """Many ask both replicas at once what neither knows."""
    async with pair(three.url, events="off") as it:
        await it.share()
        it.hub.faults.set(Fault(latency=0.1))
        for namespace in NAMESPACES:
            it.hub.journal.clear()
            query = it.question(namespace)
            await asyncio.gather(*(it.ask(number % 2, query) for number in range(20)))
            assert it.hub.journal.count == 1
        assert not await it.faults()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["killed", "killed-news", "frozen-news", "demoted-news"])
async def test_a_cluster_that_loses_a_primary_costs_callers_nothing(end: str) -> None:
    """``news``: the one that the replicas have subscribed at."""
    with cluster(replicas=1, node_timeout=SOON) as them:
        async with pair(them.url, timeout=0.1) as it:
            subscribed = them.shard(names(it.hub_url, 0).news)
            shard = subscribed if end.endswith("news") else (subscribed + 1) % 3
            old, new = them.nodes[shard], them.nodes[shard + 3]
            witness = them.nodes[(shard + 1) % 3]
            await it.share()
            async with load(it) as statuses:
                match end.partition("-")[0]:
                    case "killed":
                        old.end()
                    case "frozen":
                        old.signal(signal.SIGSTOP)
                    case "demoted":
                        new.command("CLUSTER", "FAILOVER")
                await asyncio.to_thread(eventually, lambda: new in them.primaries(witness), "a new primary")
                await it.share()
                await it.moves_reach_the_other()
                if not end.startswith("killed"):
                    old.signal(signal.SIGCONT)
                    await asyncio.to_thread(eventually, lambda: old.role() == "slave", "a replica")
                    await it.share()
                    await it.moves_reach_the_other()
            assert set(statuses) == {200}
            assert all(node.command("DBSIZE") > 0 for node in them.primaries(witness))


# All of them.


@pytest.mark.parametrize("url", ["redis+cluster://{0},{1}", "redis+sentinel://{0},{1}/mymaster", "redis://{0}"])
async def test_a_redis_that_never_was_is_nobodys_error(url: str) -> None:
    nowhere = [f"127.0.0.1:{server_port()}" for _ in range(2)]
    async with pair(url.format(*nowhere)) as it:
        for namespace in NAMESPACES:
            await it.ask(0, f"namespace={namespace}")
        redis = await it.redis(0)
        assert redis["state"] == "down"
        assert sum(redis["faults"].values()) > 0


@pytest.mark.slow
async def test_a_cluster_that_is_lost_is_nobodys_error() -> None:
    """First one of its nodes, which nobody replaces; then all."""
    with cluster(node_timeout=SOON) as them:
        async with pair(them.url, timeout=0.1) as it:
            await it.share()
            async with load(it) as statuses:
                them.nodes[0].end()
                down = partial(them.nodes[1].command, "CLUSTER", "INFO")
                await asyncio.to_thread(eventually, lambda: "cluster_state:fail" in down(), "a cluster that is down")
                for node in them.nodes[1:]:
                    node.end()
                asked = it.hub.journal.count
                await it.until(partial(_more_than, it, asked + 20))
            assert set(statuses) == {200}


async def _more_than(it: Pair, count: int) -> bool:
    return it.hub.journal.count > count


async def test_what_redis_py_should_not_raise_is_nobodys_error() -> None:
    link = RedisLink(connect(Secret("redis://127.0.0.1")), 0.5)

    async def closed() -> bytes:
        raise RuntimeError("the transport is closed")

    assert await link.call("page_look", closed) is None
    assert (link.state, dict(link.faults)) == ("down", {"page_look: RuntimeError": 1})
    await link.aclose()


async def test_a_slot_that_moves_closes_no_connections(three: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py closes all of them at each fifth move that it hears of, under calls that are on their way."""
    client = connect(Secret(three.url))
    assert isinstance(client, RedisCluster)
    closed: list[None] = []
    await client.initialize()

    async def note() -> None:
        closed.append(None)

    monkeypatch.setattr(client, "aclose", note)
    for number in range(20):
        key = f"k{number}"
        right = client.get_node_from_key(key)
        wrong = next(node for node in client.get_primaries() if node is not right)
        client.nodes_manager.slots_cache[client.keyslot(key)] = [wrong]
        assert await client.get(key) is None
        assert client.get_node_from_key(key) is right, "what moved is known"
    assert not closed
    monkeypatch.undo()
    await close(client)


@pytest.mark.parametrize(
    "text", ["unable to perform operation on <TCPTransport closed=True>; the handler is closed", "a bug"]
)
async def test_a_connection_of_a_cluster_that_closes_under_a_call_is_a_fault_of_redis(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(RedisCluster, "execute_command", fail)
    client = connect(Secret("redis+cluster://127.0.0.1"))
    with pytest.raises(RedisConnectionError if "closed" in text else RuntimeError):
        await client.execute_command("GET", "k")


@pytest.fixture(params=["single", "clustered"])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[Server]]]:
    if request.param == "clustered":
        them: Cluster = request.getfixturevalue("the_cluster")
        yield them.url, them.nodes
    else:
        with server() as it:
            yield f"redis://127.0.0.1:{it.port}", [it]


async def test_news_missed_while_subscribing_anew_is_told(servers: tuple[str, list[Server]]) -> None:
    """A connection that breaks and is back at once: redis-py subscribes again and says nothing of it."""
    url, nodes = servers
    link = RedisLink(connect(Secret(url)), 0.5)
    news = News(link)
    gaps: list[bool] = []
    news.start()
    async with asyncio.timeout(PATIENCE):
        while not news.flowing:
            await asyncio.sleep(0.01)
        news.on_gap.append(lambda: gaps.append(news.flowing))
        for node in nodes:  # all of it before this process finds out
            node.command("CLIENT", "KILL", "TYPE", "pubsub")
        assert nodes[0].command("PUBLISH", NOBODYS.news, "record that nobody hears") == 0
        while gaps[-1:] != [True]:
            await asyncio.sleep(0.01)
    await news.aclose()
    await link.aclose()


async def test_describe_asks_the_primary_that_sentinels_name() -> None:
    with watched(password="r3dis", sentinel_password="s3ntinel") as them:
        for one, memory in zip(them.servers, ("100mb", "200mb"), strict=True):
            one.command("CONFIG", "SET", "maxmemory", memory)
        them.servers[0].command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        _, policy, memory = await describe(Secret(them.url))
        assert (policy, memory) == ("allkeys-lru", "100.00M")
        assert await rehearse(Secret(them.url)) == []
        for wrong in (them.url.replace("r3dis", "wrong"), them.url.replace("s3ntinel", "wrong")):
            with pytest.raises(ConnectionError) as caught:
                await describe(Secret(wrong))
            assert "wrong" not in str(caught.value)


async def test_describe_asks_all_primaries_of_a_cluster(three: Cluster) -> None:
    version, policy, memory = await describe(Secret(three.url))
    assert version[0].isdigit()
    assert (policy, memory) == ("noeviction", "")
    assert await rehearse(Secret(three.url)) == []
    three.nodes[1].command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        _, policy, _ = await describe(Secret(three.url))
        assert policy == "allkeys-lru / noeviction", "all of its primaries are asked"
    finally:
        three.nodes[1].command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_what_is_no_cluster_is_not_described_as_one(own_redis: RedisServer) -> None:
    with pytest.raises(ConnectionError, match="Cluster mode is not enabled"):
        await describe(Secret(f"redis+cluster://127.0.0.1:{own_redis.port}"))


async def test_describe_says_what_is_wrong_with_tls(tls: int, made: Certificates) -> None:
    version, *_ = await describe(Secret(f"rediss://127.0.0.1:{tls}?ssl_ca_certs={made.authority}"))
    assert version[0].isdigit()
    with pytest.raises(ConnectionError, match=r"ConnectionError: .*(issuer|self-signed) certificate"):
        await describe(Secret(f"rediss://127.0.0.1:{tls}?ssl_ca_certs={made.stranger}"))
    with pytest.raises(ConnectionError, match=r"it closed the connection|Connection reset by peer"):
        await describe(Secret(f"redis://127.0.0.1:{tls}"))
