"""The schedule of callers, the same for each system, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from proxy.simulator import Simulator
from tests.benchmarks.lean import Lean
from tests.benchmarks.replay.world import NAMESPACES, WALK, Watched
from tests.support import KEY, LIST

GROUPS = {"dashboards": (36, 2.0, ""), "galleries": (9, 5.0, "&status=succeeded"), "panels": (6, 5.0, "&model=veo-4")}
"""Callers at scale 1, seconds between their questions, and what they ask."""
WALKERS = 3
PAUSE = 0.2
"""Seconds between the pages of a walk."""


class Row(Struct):
    generation_id: str
    status: str
    cost: str | None


class Page(Struct):
    total_entries: int
    total_cost: str | None
    generations: list[Row]


decode = msgspec.json.Decoder(Page).decode


@dataclass
class System:
    """Something that answers list requests, and what became of them.

    ``moments``: walks are as of one moment; their later pages are not measured for staleness.
    """

    name: str
    url: str
    hub: Simulator
    moments: bool = False
    staleness: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    unknown: int = 0
    walks: int = 0
    back_in_time: int = 0
    torn: int = 0

    @property
    def hub_requests(self) -> int:
        """Not counted: the subscription to events."""
        return sum(request.path == LIST for request in self.hub.journal.requests)


class Seen(Struct):
    """What an answer showed: which moment of its listing, its ids, and the token of the moment."""

    moment: int
    ids: list[str]
    token: str


class Caller:
    """Asks one system."""

    def __init__(self, system: System, world: Watched) -> None:
        self._system = system
        self._world = world
        self._lean = Lean(system.url, {"authorization": f"Bearer {KEY}"})

    async def ask(self, question: str, token: str = "") -> Seen | None:
        """Ask, and note how stale the answer is."""
        system, began = self._system, time.time()
        try:
            status, headers, body = await self._lean.get(
                f"{LIST}?{question}", {"listing-moment": token} if token else None
            )
        except (OSError, EOFError, ValueError):
            system.failures += 1
            return None
        now = time.time()
        if status != 200:
            system.failures += 1
            return None
        system.latencies.append(now - began)
        page = decode(body)
        totals = (page.total_entries, page.total_cost)
        signature = (totals, tuple((row.generation_id, row.status, row.cost) for row in page.generations))
        ids = [row.generation_id for row in page.generations]
        if token:
            return Seen(0, ids, token)
        story = self._world.stories[question]
        moment = story.moment(signature, now)
        if moment < 0:
            system.unknown += 1
            return None
        missed = moment + 1 < len(story.times) and story.times[moment + 1] <= began
        system.staleness.append(began - story.times[moment + 1] if missed else 0.0)
        at = self._world.totals[question].moment(totals, now)
        return Seen(at, ids, headers.get("listing-moment", ""))

    async def poll(self, question: str, every: float, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            due = asyncio.get_running_loop().time() + every
            await self.ask(question)
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    async def walk(self, namespace: str, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            moments: list[int] = []
            ids: list[str] = []
            token = ""
            for page in range(1, WALK + 1):
                question = f"namespace={namespace}" + (f"&page={page}" if page > 1 else "")
                if seen := await self.ask(question, token):
                    moments.append(seen.moment)
                    ids += seen.ids
                    token = seen.token if self._system.moments else ""
                await asyncio.sleep(PAUSE)
            self._system.walks += 1
            self._system.back_in_time += not self._system.moments and moments != sorted(moments)
            self._system.torn += len(ids) != len(set(ids))


def number_of(scale: int) -> int:
    """How many callers a system has."""
    return scale * (WALKERS + sum(many for many, _, _ in GROUPS.values()))


async def run(system: System, world: Watched, *, scale: int, seconds: float) -> None:
    """Let all callers ask for so long."""
    tasks = [
        asyncio.create_task(
            Caller(system, world).poll(f"namespace={NAMESPACES[number % 3]}{filters}", every, number * every / many)
        )
        for most, every, filters in GROUPS.values()
        for many in [most * scale]
        for number in range(many)
    ]
    walkers = WALKERS * scale
    tasks += [
        asyncio.create_task(Caller(system, world).walk(NAMESPACES[number % 3], number * PAUSE * WALK / walkers))
        for number in range(walkers)
    ]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
