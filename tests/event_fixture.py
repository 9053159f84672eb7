"""A simulated hub with events and proxies before it, each with a socket of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from proxy.app import create_app
from proxy.callers.caller import digest
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.events.hub_subscriber import Pace
from proxy.redis.client import connect
from proxy.secret import Secret
from proxy.settings import AuthSettings, CacheSettings, CallerSettings, RedisSettings, Settings
from proxy.simulator import Controlled, Fault, Simulator
from proxy.web.health import Readiness
from tests.support import KEY, LIST, UNHURRIED, RedisServer, still_world, until

PACE = Pace(beat=0.05, first_wait=0.05, longest_wait=0.2, steady=0.5, absent_wait=60.0)
SETTLED = CacheSettings(settled_ttl=3600, live_ttl=3600, max_page_age=3600)
CALLERS = AuthSettings(
    callers=tuple(
        CallerSettings(name=name, keys=(digest(f"key-of-{name}"),), namespaces=namespaces)
        for name, namespaces in (("ox", ("ox",)), ("bessie", ("bessie",)), ("both", ("ox", "bessie")), ("all", ("*",)))
    )
)


def key_of(name: str) -> str:
    return f"Authorization: Bearer key-of-{name}"


@dataclass
class Proxies:
    """A simulated hub and proxies before it, in this process, each with a socket of its own."""

    hub: Simulator
    urls: list[str]
    readiness: list[Readiness] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.urls[0]

    def complete(self, namespace: str = "ox", **members: Any) -> str:
        row = self.hub.world.enqueue(namespace, **members)
        self.hub.world.end(row)
        return row.id

    def lookups(self) -> list[str]:
        return [one.path for one in self.hub.journal.requests if one.path.startswith(f"{LIST}/")]


@asynccontextmanager
async def proxies(
    number: int = 1, redis: RedisServer | None = None, *faults: Fault, settings: Settings | None = None
) -> AsyncIterator[Proxies]:
    hub = Simulator(still_world(time.time), api_key=KEY)
    hub.faults.set(*faults)
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # Else the one that is subscribed is replaced where the machine is busy for longer, which is a gap.
        for module in ("shared_log", "subscription"):
            patch.setattr(f"proxy.events.{module}.SUBSCRIBER_LEASE", 30.0)
        socket = stack.enter_context(listen(LOOPBACK, 0))
        await stack.enter_async_context(serving(Controlled(hub), socket))
        settings = settings or Settings(cache=SETTLED)
        hub.further_keys = {one.api_key.reveal() for one in settings.hub.credentials if one.api_key}
        # A key of its own for each test: logs of different tokens are different logs, in one Redis too.
        hub.api_key = f"{KEY}-{time.time_ns()}"
        key = Secret(hub.api_key)
        hub_settings = msgspec.structs.replace(settings.hub, url=url_of(socket), api_key=key)
        settings = msgspec.structs.replace(settings, hub=hub_settings, redis=RedisSettings(timeout=UNHURRIED))
        it = Proxies(hub, [])
        for _ in range(number):
            readiness = Readiness()
            own = None if redis is None else connect(Secret(redis.url))
            app = create_app(settings, redis=own, sinks=[], pace=PACE, readiness=readiness)
            sock = stack.enter_context(listen(LOOPBACK, 0))
            await stack.enter_async_context(serving(app, sock))
            it.urls.append(url_of(sock))
            it.readiness.append(readiness)
        if settings.events.mode == "auto" and not faults:
            await until(lambda: hub.streams.open.total() >= 1 + len(settings.hub.credentials))
        yield it


async def page(url: str, query: str = "namespace=ox&page_size=3", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as caller:
        return await caller.get(f"{url}{LIST}?{query}", headers=headers)
