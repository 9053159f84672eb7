"""Clients for every kind of Redis, from one URL.

::

    redis://[user:password@]host[:port][/db]                      one server
    redis+sentinel://[user:password@]host[:port],…/service[/db]   the primary that Sentinels name
    redis+cluster://[user:password@]host[:port],…                 Redis Cluster, found through any of its nodes
    unix://[user:password@]/path                                  one server, on a socket

``rediss`` in place of ``redis``: with TLS. Options of redis-py may follow as a query, for example
``?ssl_ca_certs=/etc/ca.pem``; for Sentinels that want credentials, ``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct
from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

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


def place(url: Secret) -> Place:
    """Take a URL apart.

    Raises:
        ValueError: it is none; the text does not show it, as it may hold a password.
    """
    parts = urlsplit(url.reveal())
    if parts.scheme not in SCHEMES:
        raise ValueError("unknown scheme")
    scheme, _, kind = parts.scheme.partition("+")
    user, at, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    sentinel = {name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query}
    if not kind:
        if not (parts.path if scheme == "unix" else parts.hostname) or parts.port == 0:
            raise ValueError("no host")
        return Place("server", (), "", dict(parse_url(url.reveal())), {})
    service, _, db = parts.path.strip("/").partition("/")
    if (kind == "sentinel") != bool(service) or (db and not db.isdecimal()):
        raise ValueError("a path that does not fit")
    base = parts._replace(scheme=scheme, netloc=f"{user}{at}any", path=f"/{db}", query=urlencode(query))
    options = dict(parse_url(base.geturl()))
    del options["host"]
    named = tuple(_host(host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
    return Place(kind, named, service, options, sentinel)


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host")
    return parts.hostname, parts.port or port


def connect(url: Secret) -> Client:
    """Make a client; nothing is sent before the first command."""
    at = place(url)
    limits: dict[str, Any] = {
        "socket_timeout": GIVEN_UP,
        "socket_connect_timeout": GIVEN_UP,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }
    if at.kind == "server":
        return Redis.from_pool(ConnectionPool(**at.options, **limits))
    tls = at.options.pop("connection_class", None) is not None
    if at.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in at.hosts]
        return RedisCluster(startup_nodes=nodes, ssl=tls, **at.options, **limits)
    secured = {name: value for name, value in at.options.items() if name.startswith("ssl_")}
    to_sentinels = {**at.sentinel, **limits, **({"ssl": True, **secured} if tls else {})}
    sentinels: Any = Sentinel  # redis-py has not typed it
    client: Redis = sentinels(at.hosts, sentinel_kwargs=to_sentinels, **at.options).master_for(
        at.service, ssl=tls, **limits
    )
    return client


def primaries(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """The servers that take writes: a name, and the options that send a command there."""
    if isinstance(client, RedisCluster):
        return [(node.name, {"target_nodes": node}) for node in client.get_primaries()]
    return [("", {})]
