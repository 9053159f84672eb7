"""Hub requests against staleness, for a living world: ``python -m tests.benchmarks.replay``.

One world, one schedule of callers, several systems between them at the same time: the hub asked directly, nginx's
``proxy_cache`` at several TTLs (with lock, background update and stale-while-updating), and the proxy. Each system
has a port of the simulated hub for itself, so that what it costs is counted apart.

Staleness of an answer: now minus the first change of its page (rows, statuses, costs, totals) that it misses; 0 if
it misses none. A walk (pages 1…6, one every 0.2 s) is *back in time* if a page is of an older moment of the listing
than a page before it, and *torn* if it shows a row twice.

Needs nginx on PATH. Lasts SECONDS; at most CALLERS requests are under way at once; all on loopback.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from urllib.parse import parse_qsl

import httpx
import msgspec
from msgspec import Struct

from proxy.simulator import Fault, Simulator, World
from proxy.sockets import LOOPBACK, listen, serving, url_of
from tests.support import KEY, LIST, free_port
from tests.test_cli import eventually, get
from tests.test_cli import serving as proxy_process

SECONDS = float(os.environ.get("REPLAY_SECONDS", "60"))
HUB_LATENCY = 0.04
NGINX_TTLS = (1, 2, 5, 10)
NAMESPACES = ("ox", "bessie", "moo")
DASHBOARDS, GALLERIES, PANELS, WALKERS = 36, 9, 6, 3
CALLERS = DASHBOARDS + GALLERIES + PANELS + WALKERS
WALK = 6

Signature = tuple[object, ...]


class Row(Struct):
    generation_id: str
    status: str
    cost: str | None


class Page(Struct):
    total_entries: int
    total_cost: str | None
    generations: list[Row]


decode = msgspec.json.Decoder(Page).decode


class Story:
    """What was true of a question when: signatures, from which time on."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.signatures: list[Signature] = []

    def note(self, now: float, signature: Signature) -> None:
        if not self.signatures or self.signatures[-1] != signature:
            self.times.append(now)
            self.signatures.append(signature)

    def moment(self, signature: Signature, before: float) -> int:
        """The latest index at which this was true, not later than ``before``; -1 if it never was."""
        for index in range(bisect.bisect_right(self.times, before) - 1, -1, -1):
            if self.signatures[index] == signature:
                return index
        return -1


@dataclass
class System:
    """Something that answers list requests, and what became of them."""

    name: str
    url: str
    hub: Simulator
    staleness: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    unknown: int = 0
    walks: int = 0
    back_in_time: int = 0
    torn: int = 0


class Watched(World):
    """A world that notes what is true of each question of the schedule whenever something changed."""

    def __init__(self, questions: list[str]) -> None:
        super().__init__(seed=7, speed=2.0, rate=0.15, history=400, namespaces=NAMESPACES)
        self.questions = {question: dict(parse_qsl(question)) for question in questions}
        self.stories = {question: Story() for question in questions}
        self.totals = {question: Story() for question in questions}
        self._noted = -1
        self.note()

    def advance(self) -> None:
        super().advance()
        self.note()

    def note(self) -> None:
        if self.version == self._noted:
            return
        self._noted = self.version
        now = time.time()
        for question, parameters in self.questions.items():
            wanted = [(name, parameters[name]) for name in ("status", "model") if name in parameters]
            rows = [
                row
                for row in self.newest_first(parameters["namespace"])
                if all(getattr(row, name) == value for name, value in wanted)
            ]
            size, page = 50, int(parameters.get("page", 1))
            shown = tuple(
                (row.id, row.status, None if row.cost is None else str(row.cost))
                for row in rows[(page - 1) * size : page * size]
            )
            costs = [row.cost for row in rows if row.cost is not None]
            totals = (len(rows), str(sum(costs[1:], costs[0])) if costs else None)
            self.stories[question].note(now, (totals, shown))
            self.totals[question].note(now, totals)


def questions_of_the_schedule() -> list[str]:
    found = [f"namespace={name}" for name in NAMESPACES]
    found += [f"namespace={name}&status=succeeded" for name in NAMESPACES]
    found += [f"namespace={name}&model=veo-4" for name in NAMESPACES]
    return found + [f"namespace={name}&page={page}" for name in NAMESPACES for page in range(2, WALK + 1)]


async def ask(system: System, caller: httpx.AsyncClient, world: Watched, question: str) -> tuple[int, list[str]] | None:
    """Ask, and note how stale the answer is; return the moment of its listing and its ids."""
    began = time.time()
    try:
        answer = await caller.get(f"{system.url}{LIST}?{question}")
    except httpx.HTTPError:
        system.failures += 1
        return None
    now = time.time()
    if answer.status_code != 200:
        system.failures += 1
        return None
    system.latencies.append(now - began)
    page = decode(answer.content)
    totals = (page.total_entries, page.total_cost)
    signature = (totals, tuple((row.generation_id, row.status, row.cost) for row in page.generations))
    story = world.stories[question]
    moment = story.moment(signature, now)
    if moment < 0:
        system.unknown += 1
        return None
    missed = moment + 1 < len(story.times) and story.times[moment + 1] <= began
    system.staleness.append(began - story.times[moment + 1] if missed else 0.0)
    return world.totals[question].moment(totals, now), [row.generation_id for row in page.generations]


async def poll(
    system: System, caller: httpx.AsyncClient, world: Watched, question: str, every: float, wait: float
) -> None:
    await asyncio.sleep(wait)
    while True:
        due = asyncio.get_running_loop().time() + every
        await ask(system, caller, world, question)
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


async def walk(system: System, caller: httpx.AsyncClient, world: Watched, namespace: str) -> None:
    while True:
        moments: list[int] = []
        ids: list[str] = []
        for page in range(1, WALK + 1):
            question = f"namespace={namespace}" + (f"&page={page}" if page > 1 else "")
            if seen := await ask(system, caller, world, question):
                moments.append(seen[0])
                ids += seen[1]
            await asyncio.sleep(0.2)
        system.walks += 1
        system.back_in_time += moments != sorted(moments)
        system.torn += len(ids) != len(set(ids))


async def callers(system: System, world: Watched) -> None:
    """The schedule, the same for each system."""
    async with httpx.AsyncClient(
        headers={"authorization": f"Bearer {KEY}"}, trust_env=False, limits=httpx.Limits(max_connections=CALLERS)
    ) as caller:
        polls = [(DASHBOARDS, "", 2.0), (GALLERIES, "&status=succeeded", 5.0), (PANELS, "&model=veo-4", 5.0)]
        work = [
            poll(system, caller, world, f"namespace={NAMESPACES[number % 3]}{filters}", every, number * every / many)
            for many, filters, every in polls
            for number in range(many)
        ]
        work += [walk(system, caller, world, NAMESPACES[number % 3]) for number in range(WALKERS)]
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.sleep(SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def nginx(hubs: dict[int, str]) -> AsyncIterator[dict[int, str]]:
    """One nginx with a server for each TTL."""
    with tempfile.TemporaryDirectory(prefix="replay-nginx-") as folder:
        ports = {ttl: free_port() for ttl in hubs}
        servers = "\n".join(
            f"""
            proxy_cache_path {folder}/cache{ttl} keys_zone=zone{ttl}:10m;
            server {{
              listen {LOOPBACK}:{ports[ttl]};
              location / {{
                proxy_pass {hub};
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Authorization "Bearer {KEY}";
                proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
                proxy_hide_header Set-Cookie;
                proxy_cache zone{ttl};
                proxy_cache_key $request_uri;
                proxy_cache_valid 200 {ttl}s;
                proxy_cache_lock on;
                proxy_cache_background_update on;
                proxy_cache_use_stale updating error timeout;
              }}
            }}"""
            for ttl, hub in hubs.items()
        )
        path = Path(folder) / "nginx.conf"
        path.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections 2048; }}\n"
            f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
            f" fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n{servers}\n}}\n"
        )
        process = await asyncio.create_subprocess_exec("nginx", "-c", str(path), stdout=DEVNULL, stderr=DEVNULL)
        try:
            yield {ttl: f"http://{LOOPBACK}:{port}" for ttl, port in ports.items()}
        finally:
            process.terminate()
            await process.wait()


def answers(url: str) -> bool:
    return get(f"{url}{LIST}?page_size=1")[0] == 200


async def measure() -> list[System]:
    world = Watched(questions_of_the_schedule())

    def hub() -> Simulator:
        made = Simulator(world, api_key=KEY)
        made.faults.set(Fault(latency=HUB_LATENCY))
        return made

    async with AsyncExitStack() as stack:

        async def serve(simulator: Simulator) -> str:
            sock = stack.enter_context(listen(LOOPBACK, 0))
            await stack.enter_async_context(serving(simulator, sock))
            return url_of(sock)

        systems = [System("the hub itself", "", hub())]
        systems[0].url = await serve(systems[0].hub)
        hubs = {ttl: hub() for ttl in NGINX_TTLS}
        places = {ttl: await serve(simulator) for ttl, simulator in hubs.items()}
        urls = await stack.enter_async_context(nginx(places))
        systems += [System(f"nginx, TTL {ttl} s", urls[ttl], hubs[ttl]) for ttl in NGINX_TTLS]
        for name, mode in (("generations-proxy, events off", "off"), ("generations-proxy", "auto")):
            own = hub()
            process = proxy_process(await serve(own), output=DEVNULL, PROXY_EVENTS_MODE=mode)
            url, _ = await asyncio.to_thread(stack.enter_context, process)
            systems.append(System(name, url, own))
        for system in systems[1:]:
            await asyncio.to_thread(eventually, partial(answers, system.url))
        for system in systems:
            system.hub.journal.clear()
        await asyncio.gather(*(callers(system, world) for system in systems))
    return systems


COLUMNS = (
    *("asked", "answers", "hub requests per 1,000", "mean staleness s", "p99 s"),
    *("walks", "back in time", "torn", "median ms", "p99 ms"),
)


def report(systems: list[System]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for it in systems:
        count = len(it.latencies)
        stale, taken = statistics.quantiles(it.staleness, n=100), statistics.quantiles(it.latencies, n=100)
        cells = [it.name, count, f"{it.hub.journal.count / count * 1000:.0f}"]
        cells += [f"{statistics.mean(it.staleness):.2f}", f"{stale[98]:.1f}", it.walks, it.back_in_time, it.torn]
        cells += [f"{taken[49] * 1e3:.1f}", f"{taken[98] * 1e3:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    if shutil.which("nginx") is None:
        sys.exit("nginx is not on PATH: install Debian's nginx-light")
    systems = asyncio.run(measure())
    print(f"{SECONDS:g} s, {CALLERS} callers a system, hub latency {HUB_LATENCY * 1e3:g} ms\n")
    print(report(systems))
    odd = {it.name: {"failures": it.failures, "unknown": it.unknown} for it in systems if it.failures or it.unknown}
    if odd:
        print(f"\nNot counted: {json.dumps(odd)}")


if __name__ == "__main__":
    main()
