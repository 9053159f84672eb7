"""How soon a completion shows: ``python -m tests.benchmarks.completions``.

A generation ends; from then on, a caller who listens to ``/api/events`` waits to be told, and a poller asks every 20 ms
for the listing of what has succeeded, and another for the generation itself, until they show it. All on loopback, one
proxy process without Redis, the hub answering in 40 ms. ROUNDS with events, FEW without.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from subprocess import DEVNULL

import httpx

from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.simulator import Fault, Simulator
from tests.listening import listening
from tests.processes import serving as proxy_process
from tests.support import KEY, LIST, still_world

ROUNDS, FEW = 60, 8
HUB_LATENCY = 0.04
EVERY = 0.02
PATIENCE = 30.0


async def shows(caller: httpx.AsyncClient, url: str, wanted: str) -> float:
    """When an answer held it first."""
    async with asyncio.timeout(PATIENCE):
        while wanted not in (await caller.get(url)).text:
            await asyncio.sleep(EVERY)
    return time.monotonic()


async def measure(mode: str, rounds: int) -> list[tuple[float, float, float]]:
    """For each round, seconds until the listener was told, and until listing and generation showed it."""
    hub = Simulator(still_world(time.time), api_key=KEY)
    hub.faults.set(Fault(latency=HUB_LATENCY))
    found = []
    with listen(LOOPBACK, 0) as sock:
        async with serving(hub, sock), httpx.AsyncClient(trust_env=False) as caller:
            process = proxy_process(url_of(sock), output=DEVNULL, PROXY_EVENTS_MODE=mode)
            url, _ = await asyncio.to_thread(process.__enter__)
            try:
                listing = f"{url}{LIST}?namespace=ox&status=succeeded&page_size=5"
                async with listening(url, wait=mode == "auto") as heard:
                    for number in range(rounds):
                        row = hub.world.enqueue("ox")
                        item = f"{url}{LIST}/{row.id}"
                        await asyncio.gather(caller.get(listing), caller.get(item))
                        await asyncio.sleep(0.15 + 0.01 * (number % 10))
                        hub.world.end(row)
                        began = time.monotonic()
                        polls = asyncio.gather(shows(caller, listing, row.id), shows(caller, item, '"succeeded"'))
                        while mode == "auto" and row.id not in heard.completions:
                            await asyncio.sleep(0.001)
                        told = time.monotonic() - began
                        listed, shown = await polls
                        found.append((told, listed - began, shown - began))
            finally:
                await asyncio.to_thread(process.__exit__, None, None, None)
    return found


def line(name: str, rounds: list[tuple[float, float, float]], *, told: bool) -> str:
    cells = [name, str(len(rounds))]
    for index in range(3):
        values = sorted(one[index] * 1000 for one in rounds)
        cells.append(f"{statistics.median(values):.0f} / {values[-1]:.0f}" if told or index else "-")
    return f"| {' | '.join(cells)} |"


async def main() -> None:
    print("| events | completions | told, ms: median / most | listing | generation |")
    print("| --- | --- | --- | --- | --- |")
    print(line("on", await measure("auto", ROUNDS), told=True))
    print(line("off", await measure("off", FEW), told=False))


if __name__ == "__main__":
    asyncio.run(main())
