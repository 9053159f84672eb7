"""What a process needs at most: one caller does its best to make it grow, in one way after the other.

    .venv/bin/python -m tests.benchmarks.memory [REQUESTS [MEMORY_BYTES]]

Settings are the defaults, but for the hub's budget, with which it would take hours. Printed is what is resident after
so many requests of each kind: as many as it takes to fill all that is bounded.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from proxy.settings import CacheSettings
from tests.benchmarks.speed import competitors
from tests.benchmarks.speed.hits import AUTHORIZATION
from tests.benchmarks.speed.load import Caller
from tests.benchmarks.speed.many import CALLERS, resident
from tests.support import LIST

ONE = "namespace=ox&page_size=50"


def forty_tags(number: int) -> tuple[str, str]:
    tags = ", ".join(f'"{number:030x}{at:02x}"' for at in range(40))
    return ONE, f"If-None-Match: {tags}\r\n"


NEW: dict[str, Callable[[int], tuple[str, str]]] = {
    "listings of 50 rows, filters of 30 characters": lambda n: (f"{ONE}&model=m{n}", ""),
    "pages of one listing": lambda n: (f"{ONE}&page={n + 1}", ""),
    "filters of 3,100 characters": lambda n: (f"{ONE}&model={n:0256d}&folder={'%C3%A4' * 256}&repo={'%3A' * 256}", ""),
    "If-None-Match, a tag": lambda n: (ONE, f'If-None-Match: "{n:032x}"\r\n'),
    "If-None-Match, 40 tags": forty_tags,
    "Cache-Control": lambda n: (ONE, f"Cache-Control: max-age={n + 60}, max-stale={n}, stale-if-error={n}\r\n"),
    "a header that means nothing": lambda n: (ONE, f"X-Trace: {n}\r\n"),
}
"""What is new in each request: the query, and lines of its head."""


async def ask(url: str, requests: int, new: Callable[[int], tuple[str, str]]) -> None:
    """Ask so many times, each time twice: what is asked again is remembered by its head."""
    host, port = url.removeprefix("http://").split(":")
    left = iter(range(requests))
    known = "".join(f"{name}: {value}\r\n" for name, value in AUTHORIZATION.items())

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in left:
            query, lines = new(number)
            for _ in range(2):
                writer.write(f"GET {LIST}?{query} HTTP/1.1\r\nHost: {host}\r\n{known}{lines}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
        writer.close()

    await asyncio.gather(*(one() for _ in range(CALLERS)))


def main(requests: int = 40_000, memory_bytes: int = CacheSettings().memory_bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with competitors.simulator(folder, 100) as source, competitors.proxy(folder, source) as (ours, _):
            caller = Caller(ours, AUTHORIZATION)
            (folder / "rows").write_bytes(caller.get(f"{LIST}?{ONE}")[2])
            caller.close()
        settings = {"PROXY_CACHE_MEMORY_BYTES": str(memory_bytes), "PROXY_LOG_REQUESTS": "false"}
        with (
            competitors.app(folder, "hub", str(folder / "rows")) as hub,
            competitors.proxy(folder, hub, **settings) as (url, pid),
        ):
            print("| new in each request | resident after that, MiB |\n| --- | --- |")
            print(f"| nothing has been asked | {resident(pid) / 2**20:.0f} |")
            for kind, new in NEW.items():
                asyncio.run(ask(url, requests, new))
                print(f"| {kind} | {resident(pid) / 2**20:.0f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
