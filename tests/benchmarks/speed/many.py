"""Many pages: whether a hit costs the same among 100,000, and what each costs in memory; and many workers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.speed import competitors
from tests.benchmarks.speed.hits import AUTHORIZATION, TARGET
from tests.benchmarks.speed.load import Caller, ask_pages, wrk
from tests.support import LIST, started_redis

CALLERS = 8


def pages(folder: Path, counts: list[int], seconds: float, rounds: int) -> Iterator[list[object]]:
    """A proxy for each count, with as many pages of one row, all asked for in turn."""
    with ExitStack() as stack:
        enter = stack.enter_context
        source = enter(competitors.simulator(folder, 20))
        ours, _ = enter(competitors.proxy(folder, source))
        caller = Caller(ours, AUTHORIZATION)
        body = folder / "row"
        body.write_bytes(caller.get(f"{LIST}?namespace=ox&status=succeeded&page_size=1")[2])
        caller.close()
        hub = enter(competitors.app(folder, "hub", str(body)))
        urls, memory = {}, {}
        for count in counts:
            url, pid = enter(competitors.proxy(folder, hub))
            before = resident(pid)
            asyncio.run(fill(url, count))
            urls[count], memory[count] = url, resident(pid) - before
        rates: dict[int, list[float]] = {count: [] for count in counts}
        for count, url in urls.items():
            wrk(
                url,
                max(1.0, count / 5_000),
                AUTHORIZATION,
                ask_pages(folder, f"{LIST}?namespace=ox&page_size=1&page=", count),
            )  # each once
        for _ in range(rounds):
            for count, url in urls.items():
                rates[count].append(
                    wrk(
                        url, seconds, AUTHORIZATION, ask_pages(folder, f"{LIST}?namespace=ox&page_size=1&page=", count)
                    ).rate
                )
        one = statistics.median(rates[counts[0]])
        for count in counts:
            rate = statistics.median(rates[count])
            each = round(memory[count] / count) if count > 100 else "-"
            size = body.stat().st_size
            yield [count, size, round(rate), round(rate / one, 3), round(memory[count] / 2**20, 1), each]


async def fill(url: str, count: int) -> None:
    """Ask for each page once."""
    host, port = url.removeprefix("http://").split(":")
    left = iter(range(1, count + 1))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for page in left:
            target = f"{LIST}?namespace=ox&page_size=1&page={page}"
            lines = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", *(f"{k}: {v}" for k, v in AUTHORIZATION.items())]
            writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CALLERS)))


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def workers(folder: Path, seconds: float, rounds: int) -> Iterator[list[object]]:
    """One worker and two, in step over Redis; the load generator shares the same cores.

    With a header that is new in each request, a worker has more to do, and so the generator takes less of a core.
    """
    traced = folder / "traced.lua"
    traced.write_text(_TRACED.replace("{target}", TARGET))
    with ExitStack() as stack:
        enter = stack.enter_context
        hub = enter(competitors.simulator(folder, 200))
        urls = {}
        for number in (1, 2):
            redis = enter(started_redis())
            urls[number], _ = enter(competitors.proxy(folder, hub, REDIS_URL=redis.url, PROXY_WORKERS=str(number)))
            wrk(urls[number] + TARGET, 1, AUTHORIZATION)
        for name, how in (("the same bytes again", None), ("a header new each time", traced)):
            rates: dict[int, list[float]] = {number: [] for number in urls}
            for _ in range(rounds):
                for number, url in urls.items():
                    rates[number].append(wrk(url + TARGET, seconds, AUTHORIZATION, how).rate)
            one = statistics.median(rates[1])
            for number, values in rates.items():
                rate = statistics.median(values)
                yield [name, number, round(rate), round(rate / one, 2)]


_TRACED = """
local number = 0
request = function()
  number = number + 1
  wrk.headers["Traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-" .. string.format("%016x", number) .. "-01"
  return wrk.format("GET", "{target}")
end
"""
