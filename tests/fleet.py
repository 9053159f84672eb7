"""Replicas as processes of their own, with a simulated hub, a real Redis, relays between them, and callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from subprocess import DEVNULL
from typing import Any

from proxy.commands.sockets import LOOPBACK
from tests.herd import Answered, ask
from tests.processes import eventually, get, is_ready, running, send
from tests.support import KEY, LIST, UNHURRIED, RedisServer, free_port, started_redis

LEASE = 2.0
"""As the proxy's: seconds after which a replica that is gone is replaced."""


class Relay:
    """A port that leads to another, in a thread of its own; what passes it can be delayed or held back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = free_port()
        self.delay = 0.0
        """Seconds by which answers come later."""
        self.odds = 1.0
        """The part of answers that do."""
        self.fits = 0.0
        """Seconds for which nothing passes, out of each four times as many."""
        self.open = True
        """False: nothing passes, nothing is refused, as with a network that drops packets."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, LOOPBACK, self.port)
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # for transports to be closed

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._pass(reader, to_writer, late=False), self._pass(to_reader, writer, late=True))
        finally:
            writer.close()
            to_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if late and self.delay and random.random() < self.odds:
                    await asyncio.sleep(self.delay)
                while not self.open or (self.fits and self._loop.time() % (4 * self.fits) < self.fits):
                    await asyncio.sleep(0.005)
                writer.write(data)
                await writer.drain()
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@dataclass
class HubProcess:
    """A simulator, by its control path."""

    url: str
    process: subprocess.Popen[str]

    def faults(self, *faults: dict[str, Any]) -> None:
        send(f"{self.url}/_simulator/faults", "PUT", list(faults))

    def enqueue(self) -> str:
        request = urllib.request.Request(f"{self.url}/_simulator/world", data=b'{"do": "enqueue"}', method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(json.load(answer)["id"])

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It takes what it is asked, and answers after the block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def clear(self) -> None:
        send(f"{self.url}/_simulator/requests", "DELETE")

    def journal(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(get(f"{self.url}/_simulator/requests")[2])
        return found

    @property
    def count(self) -> int:
        return int(self.journal()["count"])

    @property
    def under_way(self) -> int:
        return int(self.journal()["under_way"])

    def times(self) -> list[float]:
        return [request["at"] for request in self.journal()["requests"]]


@contextmanager
def hub_process(*, port: int | None = None, speed: float = 0.0) -> Iterator[HubProcess]:
    port = port or free_port()
    command = ("simulate", "--port", str(port), "--api-key", KEY, "--speed", str(speed))
    with running(*command, output=DEVNULL) as process:
        hub = HubProcess(f"http://{LOOPBACK}:{port}", process)
        eventually(lambda: get(f"{hub.url}/_simulator/requests")[0] == 200)
        yield hub


@dataclass
class Replica:
    """A proxy in a process of its own, which can be ended in every way and started again on its port."""

    hub: str
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    _stack: ExitStack = field(default_factory=ExitStack)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        settings = {"OXEN_HUB_URL": self.hub, "OXEN_API_KEY": KEY, "PROXY_PORT": str(self.port), **self.settings}
        self.process = self._stack.enter_context(running("serve", output=DEVNULL, **settings))
        if wait:
            eventually(lambda: is_ready(self.url))

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int) -> int:
        """End it, and wait until it has."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(30)
        self._stack.close()
        return status

    def close(self) -> None:
        self._stack.close()

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(get(f"{self.url}/health/ready")[2])
        return found

    def gauge(self, name: str) -> float:
        """A figure of its own."""
        found = re.search(rf"^generations_proxy_{name} (\S+)$", get(f"{self.url}/metrics")[2].decode(), re.MULTILINE)
        assert found, name
        return float(found[1])

    def is_together(self) -> bool:
        """Whether it hears the others: it trusts its memory, and Redis answers.

        Asked with a listing of its own: what can be composed of known rows is not said to come from memory.
        """
        return "detail=memory" in self.ask("folder=together&page_size=1")[1] and self.health()["redis"]["state"] == "up"

    def ask(self, query: str) -> tuple[int, str, bytes]:
        status, headers, body = get(f"{self.url}{LIST}?{query}")
        return status, headers.get("cache-status", ""), body


@dataclass
class Fleet:
    hub: HubProcess
    redis: RedisServer
    relays: list[Relay]
    replicas: list[Replica]
    questions: int = 0

    @property
    def replicas_by_url(self) -> dict[str, Replica]:
        return {replica.url: replica for replica in self.replicas}

    def fresh_query(self, rest: str = "status=succeeded&page_size=5") -> str:
        """A question that nobody has asked yet."""
        self.questions += 1
        return f"{rest}&page={1 + self.questions % 7}&folder=f{self.questions}"

    def urls(self, query: str, callers: int) -> list[str]:
        """The question at each replica in turn."""
        return [f"{self.replicas[number % len(self.replicas)].url}{LIST}?{query}" for number in range(callers)]

    def together(self) -> None:
        """Wait until all replicas share through Redis and hear each other: each serves from memory what it has."""
        for replica in self.replicas:
            eventually(replica.is_together)

    def asks_again(self) -> None:
        """Wait until none leaves the hub alone, as for a moment those do who have not heard that it is well."""
        for replica in self.replicas:
            eventually(lambda replica=replica: replica.ask(self.fresh_query())[0] == 200)  # type: ignore[misc]

    def rests(self) -> None:
        """Wait until none asks the hub: what was asked for last may just have been due, and is refreshed."""
        eventually(lambda: not any(replica.gauge("flights") for replica in self.replicas))
        eventually(lambda: self.hub.under_way == 0)

    def shares_again(self) -> None:
        """Wait until what one replica asks the hub, another takes from Redis."""

        def shared() -> bool:
            query = self.fresh_query()
            asked = self.replicas[0].ask(query)
            return asked[0] == 200 and "detail=redis" in self.replicas[-1].ask(query)[1]

        eventually(shared)


@contextmanager
def fleet(
    size: int = 3, *, relayed: bool = False, redis_options: tuple[str, ...] = (), **settings: Any
) -> Iterator[Fleet]:
    """Replicas with one Redis; ``relayed``: each with a relay of its own to it."""
    with ExitStack() as stack:
        redis = stack.enter_context(started_redis(*redis_options))
        hub = stack.enter_context(hub_process())
        relays = [Relay(redis.port) for _ in range(size)] if relayed else []
        for relay in relays:
            stack.callback(relay.close)
        replicas: list[Replica] = []
        for port in [relay.port for relay in relays] or [redis.port] * size:
            url = f"redis://{LOOPBACK}:{port}/0"
            given = {"REDIS_URL": url, "PROXY_REDIS_TIMEOUT": str(UNHURRIED), "PROXY_SERVER_DRAIN_DELAY": "0.5"}
            replicas.append(Replica(hub.url, given | settings))
            stack.callback(replicas[-1].close)
            replicas[-1].start(wait=False)
        for replica in replicas:
            eventually(partial(is_ready, replica.url))
        it = Fleet(hub, redis, relays, replicas)
        it.together()
        it.rests()
        hub.clear()
        yield it


@dataclass
class Load:
    """What callers got who kept asking."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    retry_after: list[str | None] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def note(self, answer: Answered, seconds: float) -> None:
        self.statuses[answer.status] += 1
        self.seconds.append(seconds)
        self.outcomes[answer.headers.get("cache-status", "-").partition("; ")[2].split(";")[0]] += 1
        if answer.status >= 400:
            self.retry_after.append(answer.headers.get("retry-after"))


@asynccontextmanager
async def load(urls: list[str], *, every: float = 0.02) -> AsyncIterator[Load]:
    """One caller for each URL, which asks it again and again, each time ``every`` seconds after the last answer.

    Connections are kept alive; a broken one is a status of 0. Real callers do not open a new one each time.
    """
    seen, stop = Load(), asyncio.Event()

    async def caller(url: str) -> None:
        host, port = url.split("/")[2].split(":")
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            began = time.monotonic()
            try:
                connection = connection or await asyncio.open_connection(host, int(port))
                answer = await ask(*connection, url)
            except (OSError, asyncio.IncompleteReadError):
                answer, connection = Answered(0, {}, b"", time.monotonic()), None
            seen.note(answer, time.monotonic() - began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await stop.wait()
        if connection is not None:
            connection[1].close()

    callers = [asyncio.create_task(caller(url)) for url in urls]
    try:
        yield seen
    finally:
        stop.set()
        await asyncio.gather(*callers)


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) != 0
