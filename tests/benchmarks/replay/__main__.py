"""Runs the replay; needs nginx and varnish on PATH. All on loopback.

``REPLAY_SECONDS`` (60), ``REPLAY_SCALE`` (2): how long, and how many times 54 callers each system has; at most so many
requests are under way at once. With an argument: the file that the picture goes to.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

from proxy.commands.sockets import listen, serving, url_of
from proxy.simulator import Fault, Simulator
from tests.benchmarks.replay import callers
from tests.benchmarks.replay.caches import nginx, varnish
from tests.benchmarks.replay.callers import System
from tests.benchmarks.replay.picture import Point, draw
from tests.benchmarks.replay.world import Watched
from tests.processes import eventually, get
from tests.processes import serving as proxy_process
from tests.support import KEY, LIST

SECONDS = float(os.environ.get("REPLAY_SECONDS", "60"))
SCALE = int(os.environ.get("REPLAY_SCALE", "2"))
HUB_LATENCY = 0.04
TTLS = {"nginx": (1, 2, 5, 10), "Varnish": (2, 5)}


def answers(url: str) -> bool:
    return get(f"{url}{LIST}?page_size=1")[0] == 200


async def measure() -> list[System]:
    world = Watched()

    def hub() -> Simulator:
        made = Simulator(world, api_key=KEY)
        made.faults.set(Fault(latency=HUB_LATENCY, path=LIST))
        return made

    async with AsyncExitStack() as stack:

        async def serve(simulator: Simulator) -> str:
            sock = stack.enter_context(listen("127.0.0.1", 0))
            await stack.enter_async_context(serving(simulator, sock))
            return url_of(sock)

        direct = hub()
        systems = [System("the hub itself", await serve(direct), direct)]
        for name, cache in (("nginx", nginx), ("Varnish", varnish)):
            hubs = {ttl: hub() for ttl in TTLS[name]}
            places = {ttl: await serve(simulator) for ttl, simulator in hubs.items()}
            urls = await stack.enter_async_context(cache(places))
            systems += [System(f"{name}, TTL {ttl} s", urls[ttl], hubs[ttl]) for ttl in TTLS[name]]
        for name, mode, moments in (
            ("generations-proxy, events off", "off", False),
            ("generations-proxy", "auto", False),
            ("generations-proxy, walks with Listing-Moment", "auto", True),
        ):
            own = hub()
            process = proxy_process(await serve(own), output=DEVNULL, PROXY_EVENTS_MODE=mode)
            url, _ = await asyncio.to_thread(stack.enter_context, process)
            systems.append(System(name, url, own, moments=moments))
        for system in systems[1:]:
            await asyncio.to_thread(eventually, partial(answers, system.url))
        for system in systems:
            system.hub.journal.clear()
        await asyncio.gather(*(callers.run(system, world, scale=SCALE, seconds=SECONDS) for system in systems))
    return systems


COLUMNS = (
    *("asked", "answers", "hub requests per 1,000", "mean staleness s", "p99 s"),
    *("walks", "back in time", "torn", "median ms", "p99 ms"),
)


def report(systems: list[System]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for it in systems:
        stale, taken = statistics.quantiles(it.staleness, n=100), statistics.quantiles(it.latencies, n=100)
        cells = [it.name, len(it.latencies), f"{per_thousand(it):.0f}"]
        cells += [f"{statistics.mean(it.staleness):.2f}", f"{stale[98]:.1f}", it.walks]
        cells += ["-" if it.moments else it.back_in_time, it.torn, f"{taken[49] * 1e3:.1f}", f"{taken[98] * 1e3:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def per_thousand(system: System) -> float:
    return system.hub_requests / len(system.latencies) * 1000


def points(systems: list[System]) -> list[Point]:
    """Without the hub itself, which costs 1,000, and what walks otherwise than the rest."""
    return [
        Point(family, label.removeprefix(", ") or family, statistics.mean(it.staleness), per_thousand(it))
        for it in systems[1:]
        if not it.moments
        for family, _, label in [it.name.partition(",")]
    ]


def main() -> None:
    for program in ("nginx", "varnishd"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not on PATH: install Debian's nginx-light and varnish")
    systems = asyncio.run(measure())
    number = callers.number_of(SCALE)
    print(f"{SECONDS:g} s, {number} callers a system, hub latency {HUB_LATENCY * 1e3:g} ms\n")
    print(report(systems))
    odd = {it.name: {"failures": it.failures, "unknown": it.unknown} for it in systems if it.failures or it.unknown}
    if odd:
        print(f"\nNot counted: {json.dumps(odd)}")
    if len(sys.argv) > 1:
        title = f"Hub requests against staleness: {number} callers, {SECONDS:g} s"
        Path(sys.argv[1]).write_text(draw(points(systems), title))


if __name__ == "__main__":
    main()
