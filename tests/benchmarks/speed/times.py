"""The time that a single request takes: misses beside the hub itself and nginx, and pages that only Redis has."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.speed import competitors
from tests.benchmarks.speed.hits import AUTHORIZATION, TARGET
from tests.benchmarks.speed.load import Caller, Rate, ask_pages, median, percentile, wrk
from tests.support import KEY, LIST, UNHURRIED, started_redis

PAGES = 200
"""Four times as many as fit memory, and many more than are asked for at once."""
WARM = 20
"""Questions until connections are made, and code is warm."""


NOTHING_KEPT = {"PROXY_CACHE_SETTLED_TTL": "0", "PROXY_CACHE_LIVE_TTL": "0", "PROXY_CACHE_MIN_REFRESH": "0"}
FILTERS = ("status=succeeded", "media_type=image", "media_type=video", "namespace=ox")
"""Listings that are walked, page by page."""
WALKED = 40
"""Pages of each."""


def misses(folder: Path, rounds: int) -> Iterator[list[object]]:
    """One caller, each system in turn: a page again and again, of which nothing is kept; then pages never asked for."""
    again = [TARGET] * (rounds + WARM)
    first = [f"{LIST}?{one}&page_size=36&page={page}" for one in FILTERS for page in range(1, WALKED + 1)]
    yield from _misses(folder, "again, nothing is kept", again, history=200, **NOTHING_KEPT)
    yield from _misses(folder, "for the first time", first[: rounds + WARM], history=5000)


def _misses(folder: Path, what: str, targets: list[str], *, history: int, **given: str) -> Iterator[list[object]]:
    with ExitStack() as stack:
        enter = stack.enter_context
        hub = enter(competitors.simulator(folder, history))
        redis = enter(started_redis())
        callers = {
            "the hub itself": Caller(hub, {"Authorization": f"Bearer {KEY}"}),
            "nginx, not caching": Caller(enter(competitors.nginx(folder, hub, caching=False)), {}),
            "generations-proxy": Caller(enter(competitors.proxy(folder, hub, **given))[0], AUTHORIZATION),
            "generations-proxy with Redis": Caller(
                enter(competitors.proxy(folder, hub, REDIS_URL=redis.url, **given))[0], AUTHORIZATION
            ),
        }
        taken: dict[str, list[float]] = {name: [] for name in callers}
        turns = deque(callers.items())
        for number, target in enumerate(targets):
            turns.rotate()  # the hub is quicker with what it has just been asked
            for name, caller in turns:
                seconds, head, body = caller.get(target)
                assert b" 200 " in head, (head, body[:200])
                assert b"; hit" not in head, head
                if number >= WARM:
                    taken[name].append(seconds * 1000)
        direct = statistics.median(taken["the hub itself"])
        for name, values in taken.items():
            middle = statistics.median(values)
            yield [what, name, round(middle, 3), round(middle - direct, 3), round(percentile(values, 0.99), 3)]
        for caller in callers.values():
            caller.close()


def from_redis(folder: Path, seconds: float, rounds: int) -> Iterator[list[object]]:
    """More pages in turn than fit this process's memory, so that Redis is asked each time; beside it a GET in ASGI."""
    with ExitStack() as stack:
        enter = stack.enter_context
        source = Caller(enter(competitors.simulator(folder, 200)), {"Authorization": f"Bearer {KEY}"})
        page = folder / "page"
        page.write_bytes(source.get(TARGET)[2])
        hub = enter(competitors.app(folder, "hub", str(page)))
        redis = enter(started_redis())
        small = {"PROXY_CACHE_COMPOSE": "false", "PROXY_CACHE_MEMORY_BYTES": str(2**21)}
        patient = {"PROXY_REDIS_TIMEOUT": str(UNHURRIED)}  # each answer is to come from there, on a busy machine too
        ours, _ = enter(competitors.proxy(folder, hub, REDIS_URL=redis.url, **small, **patient))
        caller = Caller(ours, AUTHORIZATION)
        answers = [caller.get(f"{TARGET}&page={number}") for _ in range(2) for number in range(1, PAGES + 1)]
        assert all(b"detail=redis" in head for _, head, _ in answers[PAGES:]), answers[-1][1]
        body = answers[-1][2]
        redis.command("SET", "body", body)  # type: ignore[arg-type]  # bytes do as well
        bare = enter(competitors.app(folder, "redis", redis.url, "body"))
        rates: dict[str, list[Rate]] = {}
        for _ in range(rounds):
            for name, url in (("generations-proxy", ours), ("bare ASGI, GET", bare)):
                rate = wrk(url, seconds, AUTHORIZATION, ask_pages(folder, f"{TARGET}&page=", PAGES))
                rates.setdefault(name, []).append(rate)
        first = median(rates["generations-proxy"]).rate
        for name, values in rates.items():
            middle = median(values)
            yield [name, len(body), round(middle.rate), middle.p99, round(first / middle.rate, 2)]
        caller.close()
