"""Redis in every topology, of real servers on loopback: with TLS, behind a Sentinel, as a cluster."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from redis.crc import key_slot

from proxy.commands.sockets import LOOPBACK
from tests.support import redis_binary

PATIENCE = 30.0
"""Seconds in which servers find each other, and in which one takes over from another."""
SOON, LATE = 1000, 30_000
"""Milliseconds after which a cluster's nodes give up one that is silent; ``LATE``, so that they do not on a busy
machine where none is lost."""
SLOTS = 16_384
PROMPT = ("--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)
"""Replicas follow at once, and say so within a second."""
STUBBORN = ("--rename-command", "SLAVEOF", "", "--rename-command", "REPLICAOF", "")


def missing(what: str) -> NoReturn:
    """Skip the test; in CI, where everything has to be there, fail."""
    assert "CI" not in os.environ, f"{what} in CI"
    pytest.skip(what)


def server_port() -> int:
    """A free port which no outgoing connection takes meanwhile, and whose cluster bus port is free too."""
    while True:
        port = random.randrange(11_000, 16_000)  # up to there, so that the bus is below those of ``free_port``
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((LOOPBACK, port))
            other.bind((LOOPBACK, port + 10_000))
            return port


def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError):
            if look():
                return
        time.sleep(0.02)
    raise AssertionError(f"did not come about in time: {what}")


@dataclass
class Server:
    """A process of redis-server."""

    port: int
    process: subprocess.Popen[bytes]
    client: dict[str, Any] = field(default_factory=dict)

    def command(self, *words: str | int) -> Any:
        """What the server says to a command, as it says it."""
        with redis.Redis(
            host=LOOPBACK, port=self.port, decode_responses=True, protocol=2, socket_timeout=10, **self.client
        ) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def role(self) -> str:
        return str(self.command("ROLE")[0])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """End it at once; who talks to it sees the connection reset."""
        self.process.kill()
        self.process.wait()


@contextmanager
def server(
    *options: str | int | Path, config: str | None = None, binary: str | None = None, **client: Any
) -> Iterator[Server]:
    """A server, with the options of its command line or with a configuration file; ``client``: how it is talked to."""
    binary = binary or redis_binary()
    if binary is None:
        missing("there is no redis-server on PATH")
    with tempfile.TemporaryDirectory(prefix="redis-test-") as directory:
        port = server_port()
        arguments = ["--port", port, "--bind", LOOPBACK, "--dir", directory, "--daemonize", "no", *options]
        if config is not None:
            path = Path(directory, "redis.conf")
            path.write_text(config)
            arguments = [path, *arguments]
        else:
            arguments += ["--save", "", "--appendonly", "no"]
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen([str(binary), *map(str, arguments)], stdout=log, stderr=log)
        it = Server(port, process, client)
        try:
            eventually(lambda: process.poll() is not None or it.command("PING"), "a server that answers")
            assert process.poll() is None, Path(directory, "log").read_text()
            yield it
        finally:
            it.end()


# TLS.


@dataclass
class Certificates:
    """``authority`` has signed the server's, and ``lax``, which does not say by which key; ``stranger`` has not."""

    authority: Path
    certificate: Path
    key: Path
    stranger: Path
    lax: Path


def certificates(directory: Path) -> Certificates:
    """Made by ``openssl``: an authority of our own, a certificate of 127.0.0.1, and another authority."""
    if shutil.which("openssl") is None:
        missing("there is no openssl on PATH")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    for name in ("authority", "stranger"):
        openssl(
            *("req", "-x509", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
    openssl("req", *key[:3], "-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr")
    for name, identifier in (("redis", "keyid"), ("lax", "none")):
        extensions = f"subjectAltName=IP:{LOOPBACK}\nauthorityKeyIdentifier={identifier}\n"
        (directory / "extensions").write_text(extensions)
        openssl(
            *("x509", "-req", "-in", "redis.csr", "-out", f"{name}.pem", "-days", "2", "-extfile", "extensions"),
            *("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"),
        )
    names = ("authority.pem", "redis.pem", "redis.key", "stranger.pem", "lax.pem")
    return Certificates(*(directory / name for name in names))


@contextmanager
def tls_server(made: Certificates, *options: str | int, config: str | None = None) -> Iterator[tuple[Server, int]]:
    """A server and its port for TLS."""
    found = [path for place in os.get_exec_path() if (path := shutil.which("redis-server", path=place))]
    binary = next(filter(_speaks_tls, found), None)
    if binary is None:
        missing("there is no redis-server built with TLS on PATH")
    port = server_port()
    with server(
        *("--tls-port", port, "--tls-auth-clients", "no", "--tls-ca-cert-file", made.authority),
        *("--tls-cert-file", made.certificate, "--tls-key-file", made.key, *options),
        config=config,
        binary=binary,
    ) as it:
        yield it, port


def _speaks_tls(binary: str) -> bool:
    """The first directive that it does not know ends it: this one, or the one before if it was built without TLS."""
    probe = [binary, "--port", "0", "--tls-port", "0", "--no-such-directive", "yes"]
    return "no-such-directive" in subprocess.run(probe, capture_output=True, text=True, check=False).stderr


# Sentinel.


@dataclass
class Watched:
    """A primary and its replica, and the Sentinel that watches over them."""

    servers: list[Server]
    sentinel: Server
    url: str

    def primary(self) -> Server:
        """The one that the Sentinel names."""
        _, port = self.sentinel.command("SENTINEL", "get-master-addr-by-name", "mymaster")
        return next(one for one in self.servers if one.port == int(port))


@contextmanager
def watched(*, password: str = "", sentinel_password: str = "", stubborn: bool = False) -> Iterator[Watched]:
    """Three servers: ``mymaster``, its replica, and one Sentinel that decides alone.

    ``stubborn``: the primary cannot be made a replica.
    """
    options = (*PROMPT, *(("--requirepass", password, "--masterauth", password) if password else ()))
    client = {"password": password} if password else {}
    with ExitStack() as stack:
        primary = stack.enter_context(server(*options, *(STUBBORN if stubborn else ()), **client))
        replica = stack.enter_context(server(*options, "--replicaof", LOOPBACK, primary.port, **client))
        lines = [
            f"sentinel monitor mymaster {LOOPBACK} {primary.port} 1",
            "sentinel down-after-milliseconds mymaster 500",
            "sentinel failover-timeout mymaster 4000",
            *([f"sentinel auth-pass mymaster {password}"] if password else []),
            *([f"requirepass {sentinel_password}"] if sentinel_password else []),
        ]
        secret = {"password": sentinel_password} if sentinel_password else {}
        sentinel = stack.enter_context(server("--sentinel", config="\n".join(lines) + "\n", **secret))
        with contextlib.suppress(redis.ResponseError):  # before Redis 7 it has its own pace: INFO each 10 s, and so on
            sentinel.command("SENTINEL", "DEBUG", "INFO-PERIOD", 1000, "PUBLISH-PERIOD", 500)
        eventually(lambda: "master_link_status:up" in replica.command("INFO", "replication"), "replication")
        eventually(lambda: _fit_to_take_over(sentinel), "a Sentinel that knows the replica")
        user, query = f":{password}@" if password else "", f"?sentinel_password={sentinel_password}"
        url = f"redis+sentinel://{user}{LOOPBACK}:{sentinel.port}/mymaster{query if sentinel_password else ''}"
        yield Watched([primary, replica], sentinel, url)


def _fit_to_take_over(sentinel: Server) -> bool:
    replicas = sentinel.command("SENTINEL", "replicas", "mymaster")
    facts = [dict(zip(found[::2], found[1::2], strict=True)) for found in replicas]
    return [(fact["flags"], fact["master-link-status"]) for fact in facts] == [("slave", "ok")]


@contextmanager
def tls_sentinel(made: Certificates) -> Iterator[str]:
    """The URL of a primary behind a Sentinel, all with TLS."""
    with tls_server(made, "--tls-replication", "yes") as (_, port):
        config = f"tls-replication yes\nsentinel monitor mymaster {LOOPBACK} {port} 1\n"
        with tls_server(made, "--sentinel", config=config) as (_, sentinel_port):
            yield f"rediss+sentinel://{LOOPBACK}:{sentinel_port}/mymaster"


# Cluster.


@dataclass
class Cluster:
    """Its nodes; those that began as primaries come first."""

    nodes: list[Server]
    url: str

    def primaries(self, seen_by: Server | None = None) -> list[Server]:
        """Those that have slots, as one node sees it."""
        ports = {int(found[2][1]) for found in (seen_by or self.nodes[-1]).command("CLUSTER", "SLOTS")}
        return [node for node in self.nodes if node.port in ports]

    def shard(self, key: str) -> int:
        """The number of the node that has a key at first; its replica's is higher by 3."""
        return key_slot(key.encode()) * 3 // SLOTS


@contextmanager
def cluster(replicas: int = 0, *, node_timeout: int = LATE) -> Iterator[Cluster]:
    """Three primaries, and so many replicas of each."""
    options = (
        *("--cluster-enabled", "yes", "--cluster-node-timeout", node_timeout),
        *("--cluster-replica-validity-factor", 0, *PROMPT),
    )
    with ExitStack() as stack:
        nodes = [stack.enter_context(server(*options)) for _ in range(3 + 3 * replicas)]
        for number, node in enumerate(nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            nodes[0].command("CLUSTER", "MEET", LOOPBACK, node.port)
        for number, node in enumerate(nodes[:3]):
            node.command("CLUSTER", "ADDSLOTS", *(slot for slot in range(SLOTS) if slot * 3 // SLOTS == number))
        eventually(lambda: all(_knows(node, len(nodes)) for node in nodes), "nodes that know each other")
        for number, node in enumerate(nodes[3:]):
            node.command("CLUSTER", "REPLICATE", nodes[number % 3].command("CLUSTER", "MYID"))
        eventually(lambda: all(_is_whole(node, nodes, replicas) for node in nodes), "a whole cluster")
        url = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes[:2])
        yield Cluster(nodes, f"redis+cluster://{url}")


@contextmanager
def tls_cluster(made: Certificates) -> Iterator[str]:
    """The URL of a cluster of one node, with TLS."""
    with tls_server(made, "--cluster-enabled", "yes", "--tls-cluster", "yes") as (node, port):
        node.command("CLUSTER", "ADDSLOTS", *range(SLOTS))
        eventually(lambda: "cluster_state:ok" in node.command("CLUSTER", "INFO"), "a cluster")
        yield f"rediss+cluster://{LOOPBACK}:{port}"


def _facts(node: Server, *words: str) -> dict[str, str]:
    lines: Sequence[str] = str(node.command(*words)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _knows(node: Server, number: int) -> bool:
    return _facts(node, "CLUSTER", "INFO")["cluster_known_nodes"] == str(number)


def _is_whole(node: Server, nodes: list[Server], replicas: int) -> bool:
    if node in nodes[3:] and "master_link_status:up" not in node.command("INFO", "replication"):
        return False
    ranges = node.command("CLUSTER", "SLOTS")
    complete = len(ranges) == 3 and all(len(found) == 3 + replicas for found in ranges)
    return complete and "cluster_state:ok" in node.command("CLUSTER", "INFO")
