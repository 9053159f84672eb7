"""Where a Redis is: URLs for every kind of it.

::

    redis://[user:password@]host[:port][/db]                      one server
    redis+sentinel://[user:password@]host[:port],…/service[/db]   the primary that Sentinels name
    redis+cluster://[user:password@]host[:port],…                 Redis Cluster, found through any of its nodes
    unix://[user:password@]/path                                  one server, on a socket

``rediss`` in place of ``redis``: with TLS. Options of redis-py may follow as a query, for example
``?ssl_ca_certs=/etc/ca.pem`` (timeouts given so are the proxy's own all the same); for Sentinels that want credentials,
``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from msgspec import Struct
from redis.asyncio.connection import parse_url

from proxy.secret import Secret

SCHEMES: Final = frozenset(
    {"unix", "redis", "redis+sentinel", "redis+cluster", "rediss", "rediss+sentinel", "rediss+cluster"}
)
_DEFAULT_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_OWN: Final = {
    "max_connections": "PROXY_REDIS_CONNECTIONS says how many calls there are at once, and news has one of its own",
    "encoding": "what is sent is UTF-8",
    "encoding_errors": "what is sent is UTF-8",
}
"""Options of redis-py that would leave no connection to work with, or break what is sent; and what is so instead."""


class Address(Struct, frozen=True):
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
        return f"Address({self.kind!r}, {self.hosts!r}, {self.service!r})"


def read_address(url: Secret) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: it is none; the text does not show it, as it may hold a password.
    """
    parts = _split(url.reveal())
    if parts.scheme not in SCHEMES:
        raise ValueError("unknown scheme")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name in _OWN:
            raise ValueError(f"its option {name} is to be left out: {_OWN[name]}")
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
        return Address("server", (), "", dict(parse_url(url.reveal())), {})
    query = dict(parse_qsl(parts.query))
    sentinel = {name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query}
    service, _, db = parts.path.strip("/").partition("/")
    if (kind == "sentinel") != bool(service) or not _is_db(db):
        raise ValueError("a path that does not fit")
    base = parts._replace(scheme=scheme, netloc=f"{user}{at}any", path=f"/{db}", query=urlencode(query))
    options = dict(parse_url(base.geturl()))
    del options["host"]
    named = tuple(_host(host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
    return Address(kind, named, unquote(service), options, sentinel)


def redacted(url: Secret) -> str:
    """The URL without what may hold a secret: the user, the password, the options."""
    parts = _split(url.reveal())
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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
