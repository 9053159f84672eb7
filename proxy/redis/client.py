"""Clients for every kind of Redis, from one URL.

::

    redis://[user:password@]host[:port][/db]                      one server
    redis+sentinel://[user:password@]host[:port],…/service[/db]   the primary that Sentinels name
    redis+cluster://[user:password@]host[:port],…                 Redis Cluster, found through any of its nodes
    unix://[user:password@]/path                                  one server, on a socket

``rediss`` in place of ``redis``: with TLS. Options of redis-py may follow as a query, for example
``?ssl_ca_certs=/etc/ca.pem`` (but for timeouts, which are the proxy's own); for Sentinels that want credentials,
``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError

from proxy.secret import Secret

Client: TypeAlias = Redis | RedisCluster
"""What a Redis client is to the rest of the proxy."""
GIVEN_UP: Final = 1.0
"""Seconds after which an attempt to connect, or to read an answer, ends. Callers wait far less (RedisLink); what
they leave behind goes on for so long, so that a TLS handshake or a look at the topology can come to its end."""
SCHEMES: Final = frozenset(
    {"unix", "redis", "redis+sentinel", "redis+cluster", "rediss", "rediss+sentinel", "rediss+cluster"}
)
_DEFAULT_PORTS: Final = {"sentinel": 26379, "cluster": 6379}


class Place(Struct, frozen=True):
    """A URL, taken apart.

    Attributes:
        kind: ``server``, ``sentinel`` or ``cluster``.
        hosts: of the Sentinels or of nodes of the cluster.
        service: that the Sentinels know the primary by.
        options: for the connections to Redis itself.
        sentinel: for those to the Sentinels.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]
    sentinel: dict[str, Any]

    def __repr__(self) -> str:  # the options may hold passwords
        return f"Place({self.kind!r}, {self.hosts!r}, {self.service!r})"


class ClusterUnfit(RedisConnectionError):
    """No node of the cluster can be asked, or what the nodes say of it is no cluster."""


class _Cluster(RedisCluster):
    """A cluster whose every fault is a RedisError; redis-py's is not where the topology cannot be had or does not fit.

    (IndexError, KeyError, AttributeError: no node, a slot of no node, and a node that it was not told of.)
    """

    async def initialize(self, *arguments: Any, **named: Any) -> RedisCluster:
        try:
            return await super().initialize(*arguments, **named)
        except RedisClusterException as error:
            raise ClusterUnfit(str(error)) from error

    async def execute_command(self, *arguments: Any, **named: Any) -> Any:
        try:
            return await super().execute_command(*arguments, **named)
        except (RedisClusterException, LookupError, AttributeError) as error:
            self._initialize = True  # the topology is read anew
            raise ClusterUnfit(str(error)) from error


class _SentinelsPool(SentinelConnectionPool):
    """The connections to the primary. When it is another, none that leads to the old one is used again.

    (redis-py goes on with those that are in use at that moment; and the old one may take writes for a while.)
    """

    async def get_master_address(self) -> tuple[str, int]:
        found: Any = await self.sentinel_manager.discover_master(self.service_name)
        address: tuple[str, int] = found
        if address != self.master_address:
            if self.master_address is not None:
                for connection in self._in_use_connections:
                    connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # redis-py has not typed it
            self.master_address = address
            await self.disconnect(inuse_connections=False)  # none is released before these are taken note of
        return address


def place(url: Secret) -> Place:
    """Take a URL apart.

    Raises:
        ValueError: it is none; the text does not show it, as it may hold a password.
    """
    parts = _split(url.reveal())
    if parts.scheme not in SCHEMES:
        raise ValueError("unknown scheme")
    scheme, _, kind = parts.scheme.partition("+")
    user, at, hosts = parts.netloc.rpartition("@")
    if not kind:
        if scheme == "unix":
            if not parts.path:
                raise ValueError("no path")
        else:
            _host(hosts, 0)
            if not _is_db(parts.path.strip("/")):
                raise ValueError("a path that does not fit")
        return Place("server", (), "", dict(parse_url(url.reveal())), {})
    query = dict(parse_qsl(parts.query))
    sentinel = {name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query}
    service, _, db = parts.path.strip("/").partition("/")
    if (kind == "sentinel") != bool(service) or not _is_db(db):
        raise ValueError("a path that does not fit")
    base = parts._replace(scheme=scheme, netloc=f"{user}{at}any", path=f"/{db}", query=urlencode(query))
    options = dict(parse_url(base.geturl()))
    del options["host"]
    named = tuple(_host(host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
    return Place(kind, named, unquote(service), options, sentinel)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("no URL") from None


def _host(text: str, port: int) -> tuple[str, int]:
    parts = _split(f"//{text}")
    try:
        given = parts.port
    except ValueError:  # it may be a password
        raise ValueError("no port") from None
    if not parts.hostname or "," in text or given == 0:
        raise ValueError("no host")
    return parts.hostname, given or port


def _is_db(text: str) -> bool:
    return not text or text.isdecimal()


def connect(url: Secret) -> Client:
    """Make a client; nothing is sent before the first command."""
    at = place(url)
    limits: dict[str, Any] = {
        "socket_timeout": GIVEN_UP,
        "socket_connect_timeout": GIVEN_UP,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "decode_responses": False,
    }
    options = {**at.options, **limits}
    if at.kind == "server":
        return Redis.from_pool(ConnectionPool(**options))
    tls = options.pop("connection_class", None) is not None
    if at.kind == "cluster":
        return _Cluster(startup_nodes=[ClusterNode(host, port) for host, port in at.hosts], ssl=tls, **options)
    secured = {name: value for name, value in options.items() if name.startswith("ssl_")}
    to_sentinels = {**at.sentinel, **limits, **({"ssl": True, **secured} if tls else {})}
    sentinels: Any = Sentinel  # redis-py has not typed it
    client: Redis = sentinels(at.hosts, sentinel_kwargs=to_sentinels, **options).master_for(
        at.service, connection_pool_class=_SentinelsPool, ssl=tls
    )
    return client


def check(url: Secret) -> None:
    """Find out whether a client can be made of the URL, its options included; nothing is sent.

    Raises:
        ValueError: as place.
    """
    place(url)
    try:
        client = connect(url)
        if isinstance(client, RedisCluster):
            next(iter(client.nodes_manager.startup_nodes.values())).acquire_connection()
        else:
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has not typed it
    except (TypeError, ValueError, RedisError, RedisClusterException):
        raise ValueError("an option that is unknown or does not fit") from None


async def close(client: Client) -> None:
    """Close all connections, also those that the client itself passes over."""
    try:
        await client.aclose()
    finally:
        if isinstance(client, RedisCluster):  # it does not, while its topology is to be read anew
            await client.nodes_manager.aclose()
            await client.nodes_manager.aclose("startup_nodes")
        elif isinstance(client.connection_pool, _SentinelsPool):
            await client.connection_pool.sentinel_manager.aclose()


def primaries(client: Client) -> list[str]:
    """The names of the servers that take writes, as far as is known; one server has none."""
    return [node.name for node in client.get_primaries()] if isinstance(client, RedisCluster) else [""]


async def publish(client: Client, server: str, channel: str, text: str) -> None:
    """Publish through a server that takes writes."""
    target: dict[str, Any] = {}
    if isinstance(client, RedisCluster):
        await client.initialize()
        target["target_nodes"] = client.get_node(node_name=server)
        if target["target_nodes"] is None:
            return  # it has left the cluster
    await client.execute_command("PUBLISH", channel, text, **target)


async def subscribers(client: Client, channel: str) -> int:
    """How many processes subscribe to a channel."""
    # A cluster's subscribers are with its primaries. A replica that is gone is no reason for a fault.
    target = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
    return sum(number for _, number in await client.pubsub_numsub(channel, **target))


async def follow(client: Client) -> None:
    """Ask the Sentinels whether the primary is another by now: the old one may live on, and take writes for a while."""
    if isinstance(client, Redis) and isinstance(client.connection_pool, _SentinelsPool):
        await client.connection_pool.get_master_address()


async def info(client: Client, section: str) -> list[dict[str, Any]]:
    """What each server that takes writes says of itself."""
    if not isinstance(client, RedisCluster):
        return [await client.info(section)]
    await client.initialize()
    return [await client.info(section, target_nodes=node) for node in client.get_primaries()]
