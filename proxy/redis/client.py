"""Clients for every kind of Redis."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from proxy.redis.address import read_address
from proxy.secret import Secret

Client: TypeAlias = Redis | RedisCluster
"""What a Redis client is to the rest of the proxy."""
SOCKET_TIMEOUT: Final = 1.0
"""Seconds after which an attempt to connect, or to read an answer, ends. Callers wait far less (RedisLink); what
they leave behind goes on for so long, so that a TLS handshake or a look at the topology can come to its end."""


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
        except RuntimeError as error:  # of uvloop, where redis-py has closed a connection under a call
            if "closed" not in str(error):
                raise
            raise RedisConnectionError("the connection was closed meanwhile") from error


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


def connect(url: Secret) -> Client:
    """Make a client; nothing is sent before the first command."""
    at = read_address(url)
    limits: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "decode_responses": False,
        # A new connection is to be good for a call after one round trip: no notices are asked for of maintenance, which
        # few servers give, and which would have calls wait for longer; nor is it told which library this is.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,
    }
    options = {**at.options, **limits}
    if at.kind == "server":
        return Redis.from_pool(ConnectionPool(**options))
    tls = options.pop("connection_class", None) is not None
    if at.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in at.hosts]
        # A slot that has moved is taken note of, for itself. At each fifth, redis-py would close all connections and
        # read the topology anew: while slots move, under calls that are on their way. It is read anew after a fault.
        return _Cluster(startup_nodes=nodes, ssl=tls, reinitialize_steps=0, **options)
    secured = {name: value for name, value in options.items() if name.startswith("ssl_")}
    to_sentinels = {**at.sentinel, **limits, **({"ssl": True, **secured} if tls else {})}
    sentinels: Any = Sentinel  # redis-py has not typed it
    client: Redis = sentinels(at.hosts, sentinel_kwargs=to_sentinels, **options).master_for(
        at.service, connection_pool_class=_SentinelsPool, ssl=tls
    )
    return client


def check_redis_url(url: Secret) -> None:
    """Find out whether a client can be made of the URL, its options included; nothing is sent.

    Raises:
        ValueError: as read_address.
    """
    read_address(url)
    try:
        client = connect(url)
        if isinstance(client, RedisCluster):
            next(iter(client.nodes_manager.startup_nodes.values())).acquire_connection()
        else:
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has not typed it
    except (TypeError, ValueError, RedisError, RedisClusterException):
        raise ValueError("an option that is unknown or does not fit") from None


def database_number(client: Client) -> int:
    """The number of the database; a cluster has but one."""
    return 0 if isinstance(client, RedisCluster) else int(client.connection_pool.connection_kwargs.get("db") or 0)


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


async def follow_primary(client: Client) -> None:
    """Ask the Sentinels whether the primary is another by now: the old one may live on, and take writes for a while."""
    if isinstance(client, Redis) and isinstance(client.connection_pool, _SentinelsPool):
        await client.connection_pool.get_master_address()


async def server_info(client: Client, section: str) -> list[dict[str, Any]]:
    """What each server that takes writes says of itself."""
    if not isinstance(client, RedisCluster):
        return [await client.info(section)]
    await client.initialize()
    return [await client.info(section, target_nodes=node) for node in client.get_primaries()]
