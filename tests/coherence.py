"""One truth, whatever happens: a state machine over simulator, replicas, a real Redis, time and faults.

Invariants, held at every answer: its body is one that the hub gave; its moment is not older than one that any
caller was shown before; its links live; a live page is no older than ``live_ttl``, and no page's moment had ended
``settled_ttl`` ago, unless it is marked stale. (Slow: .ci/run.)
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from proxy.admission.gate import Gate
from proxy.admission.pending_state import PendingState
from proxy.admission.shield import Shield
from proxy.known.knowledge import Knowledge
from proxy.redis.client import connect
from proxy.redis.news import TRUST_SECONDS, News
from proxy.secret import Secret
from proxy.settings import CacheSettings
from proxy.simulator import Fault, Simulator, World
from proxy.simulator.world import Generation
from tests.support import KEY, LIST, Clock, Rig, rig

T = TypeVar("T")
CACHE = CacheSettings(
    live_ttl=1, settled_ttl=5, max_page_age=40, stale_if_error=100, stale_if_error_live=20, compose=False
)
TERMINAL = ("succeeded", "failed", "cancelled")
LINK_LIFETIME = 60
FILTERS = ("", "status=succeeded&", "media_type=video&", "namespace=bessie&")
REPLICAS = 2
_DATE = re.compile(r"X-Amz-Date=(\d{8}T\d{6}Z)&X-Amz-Expires=(\d+)")


class Recording(Simulator):
    """Remembers every body that it gave."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.said: set[bytes] = set()

    def _answer(self, path: str, query: str) -> bytes:
        body = super()._answer(path, query)
        self.said.add(body)
        return body


class Coherence(RuleBasedStateMachine):
    """Replicas of the proxy with one Redis, and a world that changes under them."""

    redis_url = ""
    cache = CACHE
    history = 12
    news: ClassVar[list[News]] = []
    shields: ClassVar[list[Shield]] = []
    knowledge: ClassVar[list[NotedKnowledge]] = []
    in_flight: Bundle[Generation] = Bundle("in_flight")

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.news.clear()
        self.shields.clear()
        self.knowledge.clear()
        self.stop = asyncio.Event()
        self.running: list[asyncio.Task[None]] = []
        self.clock = Clock()
        world = World(clock=self.clock, speed=0, history=self.history, namespaces=("ox", "bessie"))
        self.hub = Recording(world, api_key=KEY, clock=self.clock, link_lifetime=LINK_LIFETIME)
        self.moments: dict[str, list[tuple[float, tuple[int, str | None]]]] = {}
        self.shown: dict[str, int] = {}
        self.admin = connect(Secret(self.redis_url))
        self.run(self.admin.flushall())
        self.replicas: list[Rig] = []
        for _ in range(REPLICAS):
            self.run(self.open_replica())
        self.note_moments()
        self.settle()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.stop.set()
            self.run(asyncio.wait_for(asyncio.gather(*self.running), 20))
            self.run(self.admin.aclose())
            self.loop.close()

    async def open_replica(self) -> None:
        """A lifespan has to end in the task in which it began: each replica has one of its own."""
        opened: asyncio.Future[Rig] = self.loop.create_future()

        async def live() -> None:
            client = connect(Secret(self.redis_url))
            budget: dict[str, Any] = {"rate": 1e6, "burst": 1_000_000}
            async with rig(cache=self.cache, redis=client, simulator=self.hub, clock=self.clock, **budget) as replica:
                opened.set_result(replica)
                await self.stop.wait()

        self.running.append(asyncio.create_task(live()))
        self.replicas.append(await opened)

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        """Let all news that is on its way arrive.

        Whatever was published by now has come when a ping that is sent now is answered. Where none is, memory
        is not trusted, and there is nothing to wait for.
        """
        now = time.monotonic()

        async def heard() -> None:
            while any(news.flowing and news._good_until < now + TRUST_SECONDS for news in self.news):
                await asyncio.sleep(0.001)

        self.run(heard())

    def note_moments(self) -> None:
        """Write down each listing's totals where they changed, and when."""
        for filters in FILTERS:
            parameters = dict(pair.split("=") for pair in filters.split("&") if pair)
            rows = self.hub._select(parameters)
            costs = [row.cost for row in rows if row.cost is not None]
            stamp = (len(rows), str(sum(costs, Decimal(0))) if costs else None)
            story = self.moments.setdefault(filters, [])
            if not story or story[-1][1] != stamp:
                story.append((self.clock.now, stamp))

    # What happens in the world. A little time passes with each change: two moments are never one.

    @rule(target=in_flight, namespace=st.sampled_from(["ox", "bessie"]))
    def enqueue(self, namespace: str) -> Generation:
        self.clock.advance(0.05)
        row = self.hub.world.enqueue(namespace)
        self.note_moments()
        return row

    @rule(row=in_flight)
    def start(self, row: Generation) -> None:
        self.clock.advance(0.05)
        self.hub.world.start(row)
        self.note_moments()

    @rule(row=consumes(in_flight), status=st.sampled_from(TERMINAL))
    def end(self, row: Generation, status: str) -> None:
        self.clock.advance(0.05)
        self.hub.world.end(row, status)
        self.note_moments()

    @rule(back=st.integers(0, 8), cents=st.integers(1, 99))
    def charge_late(self, back: int, cents: int) -> None:
        self.clock.advance(0.05)
        row = [row for row in self.hub.world.newest_first("ox") if row.terminal][back]
        self.hub.world.charge(row, (row.cost or Decimal(0)) + Decimal(cents).scaleb(-3))
        self.note_moments()

    @rule(seconds=st.sampled_from([0.1, 0.4, 0.9, 1.1, 3.0, 4.9, 5.1, 12.0, 45.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # What goes wrong.

    @rule(status=st.sampled_from([None, None, 500, 429]))
    def the_hub_fails_or_recovers(self, status: int | None) -> None:
        self.hub.faults.clear()
        if status is not None:
            self.hub.faults.set(Fault(status=status))

    @rule()
    def redis_forgets(self) -> None:
        self.run(self.admin.flushall())

    @rule(replica=st.integers(0, REPLICAS - 1), filters=st.sampled_from(FILTERS), cents=st.integers(1, 99))
    def redis_loses_what_it_took_last(self, replica: int, filters: str, cents: int) -> None:
        """It comes back as it was a moment ago, of which one replica has shown what came after, and is told again."""
        self.ask(replica, filters, 1, 5, None)
        found = [(key, self.run(self.admin.dump(key))) for key in self.run(self.admin.keys())]
        self.charge_late(0, cents)
        self.clock.advance(0.5)
        self.ask(replica, filters, 1, 5, "no-cache")
        back = self.admin.pipeline()
        back.flushall()
        for key, value in found:
            if value is not None:  # some have gone meanwhile
                back.restore(key, 0, value)
        self.run(back.execute())
        before = [known.gaps for known in self.knowledge]
        self.subscriptions_break()

        async def told() -> None:
            while any(known.gaps == gaps for known, gaps in zip(self.knowledge, before, strict=True)):
                await asyncio.sleep(0.001)
            for known in self.knowledge:
                assert await known.drain(10) == 0

        self.run(asyncio.wait_for(told(), 10))
        self.ask(REPLICAS - 1 - replica, filters, 1, 5, None)

    @rule()
    def subscriptions_break(self) -> None:
        self.run(self.admin.client_kill_filter(_type="pubsub"))

    @rule()
    def news_comes_back(self) -> None:
        async def flowing() -> None:
            while not all(news.flowing for news in self.news):
                await asyncio.sleep(0.001)

        self.run(asyncio.wait_for(flowing(), 10))

    @rule()
    def cooldowns_end(self) -> None:
        """They are of real time, of which next to none goes by here."""
        for key in self.run(self.admin.keys("gp1:*:gate")):
            self.run(self.admin.delete(key))
        for shield in self.shields:  # which would tell Redis of them again
            shield._backoff, shield._gates._local, shield._gates._pending_state = None, Gate(0.0), PendingState()

    # What callers see.

    @rule(
        replica=st.integers(0, REPLICAS - 1),
        filters=st.sampled_from(FILTERS),
        page=st.integers(1, 3),
        page_size=st.sampled_from([3, 5]),
        directive=st.sampled_from([None, None, None, "no-cache", "max-age=2", "max-stale=30"]),
    )
    def ask(self, replica: int, filters: str, page: int, page_size: int, directive: str | None) -> None:
        self.settle()
        headers = {"cache-control": directive} if directive else {}
        query = f"{filters}page={page}&page_size={page_size}"
        answer = self.run(self.replicas[replica].caller.get(f"{LIST}?{query}", headers=headers))
        if answer.status_code == 200:
            self.hold(filters, answer)
        else:
            assert answer.status_code in (502, 503)
            failing = self.hub.faults.befall(LIST).status is not None
            assert failing or answer.json()["error"]["type"] in ("hub_rate_limited", "hub_resting"), answer.text
        self.clock.advance(0.01)

    @rule(replica=st.integers(0, REPLICAS - 1), filters=st.sampled_from(FILTERS))
    def walk(self, replica: int, filters: str) -> None:
        """All pages, one after the other, while the world stands still: one total, no row twice, none missing."""
        self.hub.faults.clear()
        self.cooldowns_end()
        self.clock.advance(CACHE.settled_ttl + CACHE.live_ttl)  # quiet for longer than the freshness bounds
        self.settle()
        ids: list[str] = []
        totals = set()
        for page in range(1, 60):
            answer = self.run(self.replicas[replica].caller.get(f"{LIST}?{filters}page={page}&page_size=5"))
            self.hold(filters, answer)
            ids += [row["generation_id"] for row in answer.json()["generations"]]
            totals.add(answer.json()["total_entries"])
            self.clock.advance(0.01)
            if page >= answer.json()["total_pages"]:
                break
        assert len(ids) == len(set(ids))
        assert totals == {len(ids)}

    def hold(self, filters: str, answer: httpx.Response) -> None:
        """The invariants."""
        assert answer.content in self.hub.said, "a body that the hub never gave"
        body = json.loads(answer.content)
        story = self.moments[filters]
        stamps = [stamp for _, stamp in story]
        moment = len(stamps) - 1 - stamps[::-1].index((body["total_entries"], body["total_cost"]))
        assert moment >= self.shown.get(filters, 0), "back in time"
        self.shown[filters] = moment
        for date, lifetime in _DATE.findall(answer.text):
            signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            assert self.clock.now < signed_at + int(lifetime), "a dead link"
        status = answer.headers["cache-status"]
        if "detail=stale-" in status:
            return
        age = int(answer.headers["age"])
        settled = all(row["status"] in TERMINAL for row in body["generations"])
        assert age <= (CACHE.settled_ttl if settled else CACHE.live_ttl)
        if moment + 1 < len(story):
            ended_at = story[moment + 1][0]
            assert self.clock.now - ended_at < CACHE.settled_ttl + 0.001, "unconfirmed for longer than settled_ttl"


class Noted(News):
    """News that the state machine can wait for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        Coherence.news.append(self)


class NotedKnowledge(Knowledge):
    """Knowledge that the state machine can wait for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.gaps = 0
        super().__init__(*arguments, **named)
        Coherence.knowledge.append(self)

    def _on_reconnect(self) -> None:
        super()._on_reconnect()
        self.gaps += 1


class NotedShield(Shield):
    """Admission that the state machine can have forget."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        Coherence.shields.append(self)
