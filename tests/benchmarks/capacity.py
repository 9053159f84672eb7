"""Hub requests to expect from N callers, beside the formula for them; and what a page and a row cost Redis.

    .venv/bin/python -m tests.benchmarks.capacity

Callers poll six questions every 2 s: a page with a generation in flight, and five pages of a settled listing.
"""

from __future__ import annotations

import asyncio
import itertools
import time

import httpx
import redis.asyncio

from proxy.answer.freshness import POPULAR_AFTER, POPULAR_REFRESH_SHARE, REFRESH_AHEAD_SHARE
from proxy.app import create_app
from proxy.secret import Secret
from proxy.settings import CacheSettings, EventSettings, HubSettings, RedisSettings, Settings
from proxy.simulator import Simulator
from tests.support import KEY, LIST, RedisServer, still_world

EVERY = 2.0
SECONDS = 12.0
HUB = 0.04
PAGES = 5
"""Of the settled listing."""


def expected(callers: int, cache: CacheSettings) -> float:
    """Hub requests a second: what is asked, but for each live page and each settled listing only one in a lifetime."""
    asked = callers / EVERY
    page = asked / (1 + PAGES)
    live = (1 - REFRESH_AHEAD_SHARE) * cache.live_ttl
    settled = min(
        (1 - REFRESH_AHEAD_SHARE) * cache.settled_ttl,
        max(POPULAR_REFRESH_SHARE * cache.settled_ttl, POPULAR_AFTER / page),
    )
    return min(page, 1 / (live + HUB)) + min(PAGES * page, 1 / (settled + HUB))


async def measured(callers: int) -> float:
    """The same, as it is."""
    hub = Simulator(still_world(time.time, history=300), api_key=KEY)
    hub.world.start(hub.world.enqueue("ox"))
    settings = Settings(
        hub=HubSettings(url="http://hub.test", api_key=Secret(KEY)),
        events=EventSettings(mode="off"),  # httpx.ASGITransport hands out nothing before an answer ends
    )
    app = create_app(settings, transport=_Slow(hub), sinks=[])
    each = ["namespace=ox", *(f"namespace=ox&status=succeeded&page={page}" for page in range(1, PAGES + 1))]
    questions = itertools.cycle(each)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's types are narrower
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://proxy.test") as caller:

        async def poll(number: int) -> None:
            await asyncio.sleep(EVERY * number / callers)
            while True:
                began = time.monotonic()
                await caller.get(f"{LIST}?{next(questions)}")
                await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))

        for question in each:
            await caller.get(f"{LIST}?{question}")
        polling = [asyncio.create_task(poll(number)) for number in range(callers)]
        await asyncio.sleep(EVERY + 1)
        before = hub.journal.count
        await asyncio.sleep(SECONDS)
        count = hub.journal.count - before
        for task in polling:
            task.cancel()
        await asyncio.gather(*polling, return_exceptions=True)
    return count / SECONDS


class _Slow(httpx.ASGITransport):
    """The hub takes its time."""

    def __init__(self, hub: Simulator) -> None:
        super().__init__(hub)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(HUB)
        return await super().handle_async_request(request)


async def in_redis(*, compose: bool) -> tuple[int, float, int]:
    """Rows of a listing of which 50 pages were asked for, bytes of a body, and bytes of all keys in Redis."""
    server = RedisServer()
    server.start()
    client = redis.asyncio.Redis(port=server.port)
    hub = Simulator(still_world(time.time, history=3000), api_key=KEY)
    settings = Settings(
        hub=HubSettings(url="http://hub.test", api_key=Secret(KEY), rate=1e5, burst=100_000),
        redis=RedisSettings(url=Secret(server.url)),
        cache=CacheSettings(compose=compose),
        events=EventSettings(mode="off"),
    )
    app = create_app(settings, transport=httpx.ASGITransport(hub), sinks=[])
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's types are narrower
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://proxy.test") as caller:
        sizes = [len((await caller.get(f"{LIST}?page={n}&status=succeeded")).content) for n in range(1, 51)]
        await asyncio.sleep(1)
        used = sum([await client.memory_usage(key, samples=0) or 0 async for key in client.scan_iter()])
    await client.aclose()
    server.close()
    return 50 * 50, sum(sizes) / 50, used


async def main() -> None:
    print("| callers | asked a second | hub requests a second, expected | measured |")
    print("| --- | --- | --- | --- |")
    for callers in (2, 20, 200, 600):
        bound = expected(callers, CacheSettings())
        print(f"| {callers} | {callers / EVERY:g} | {bound:.2f} | {await measured(callers):.2f} |")
    _, size, pages = await in_redis(compose=False)
    rows, _, both = await in_redis(compose=True)
    row = (both - pages) / rows
    print(f"\nRedis: {pages / 50:.0f} bytes for a page of {size:.0f}, and {row:.0f} for each row that is known")


if __name__ == "__main__":
    asyncio.run(main())
