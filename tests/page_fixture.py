"""Pages before a hub that says what a script says, when its gate is open; the clock is in hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import httpx

from proxy.admission.gate import Allowance
from proxy.admission.gates import Gates
from proxy.admission.shared_gate import SharedGate
from proxy.admission.shield import Shield
from proxy.answer.directives import Directives
from proxy.answer.freshness import keep_record
from proxy.fetch import Fetcher
from proxy.hub.client import Hub
from proxy.hub.credential import Credential
from proxy.known.invalidations import Invalidations
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.pages import Pages
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis.landings import Landings
from proxy.redis.leases import Leases
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from proxy.secret import Secret
from proxy.settings import CacheSettings, HubSettings
from proxy.upstream import Upstream
from tests.support import UNHURRIED, Clock

QUESTION = page_question("c", ListQuery())
OTHER = page_question("c", ListQuery(page=2))
LEASE_KEY = f"{QUESTION.page_key}:lease"


@dataclass
class ScriptedHub(httpx.AsyncBaseTransport):
    """Answers when the gate is open, with what the script says."""

    statuses: list[str] = field(default_factory=lambda: ["succeeded"])
    status: int = 200
    total: int = 9
    cost: str | None = None
    link: str | None = None
    retry_after: str | None = None
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.status == 0:
            raise httpx.ConnectError("nobody there")
        rows = [{"status": status, "n": number, "url": self.link} for status in self.statuses]
        page = {"count": len(rows), "generations": rows, "page_number": 1, "page_size": 50, "total_pages": 1}
        body = json.dumps({**page, "total_entries": self.total, "total_cost": self.cost}).encode()
        headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
        return httpx.Response(self.status, headers=headers, stream=httpx.ByteStream(body), request=request)


async def until_asked(hub: ScriptedHub, times: int) -> None:
    async with asyncio.timeout(5):
        while hub.asked < times:
            await asyncio.sleep(0.001)


GATE = "gp1:{g}"


@dataclass
class Fixture:
    pages: Pages
    hub: ScriptedHub
    clock: Clock
    replica: Callable[[], Pages]
    fetcher: Fetcher
    credential: Credential

    @property
    def shield(self) -> Shield:
        return self.fetcher._upstreams["default"].shield

    @property
    def shared(self) -> Shared:
        shared = self.pages._known._shared
        assert shared is not None
        return shared

    @property
    def leases(self) -> Leases:
        leases = self.fetcher._leases
        assert leases is not None
        return leases

    async def ask(self, question: Question = QUESTION, **directives: Any) -> Any:
        return await self.pages.answer(question, Directives(**directives))


@asynccontextmanager
async def fixture(
    redis: fakeredis.FakeServer | None = None, *, patience: float = UNHURRIED, **cache: float
) -> AsyncIterator[Fixture]:
    """``patience`` is of real time, as nothing else here."""
    scripted, clock = ScriptedHub(), Clock()
    scripted.gate.set()
    settings = HubSettings(url="http://hub.test", api_key=Secret("k"))
    credential = Credential(settings, settings.url)
    credential.id = "c"
    made: list[tuple[Pages, Fetcher, Hub]] = []

    def replica() -> Pages:
        hub = Hub(settings, credential, transport=scripted, clock=clock)
        link = RedisLink(fakeredis.FakeAsyncRedis(server=redis), 5.0) if redis else None
        shared, gate = (None, None) if link is None else (Shared(link, clock=clock), SharedGate(link))
        given = CacheSettings(patience=patience, **cache)  # type: ignore[arg-type]
        invalidations = Invalidations(link, keep=keep_record(given), clock=clock)
        knowledge = Knowledge(given, Memory(2**20), shared, None, invalidations, rows_bytes=2**20, clock=clock)
        allowance = Allowance(settings.rate, settings.burst, settings.concurrency)
        shield = Shield(Gates(allowance, gate, gate_name=lambda: GATE), patience=settings.deadline / 2)
        upstreams = {"default": Upstream(hub, shield, deadline=settings.deadline, clock=clock)}
        leases = None if link is None else Leases(link)
        fetcher = Fetcher(upstreams, knowledge, leases, Landings(), deadline=settings.deadline, clock=clock)
        pages = Pages(given, settings, knowledge, fetcher, clock=clock)
        made.append((pages, fetcher, hub))
        return pages

    yield Fixture(replica(), scripted, clock, replica, made[0][1], credential)
    for pages, fetcher, hub in made:
        await pages.drain(5)
        await fetcher.drain(5)
        for upstream in fetcher._upstreams.values():
            await upstream.shield.drain(5)
        await hub.aclose()
