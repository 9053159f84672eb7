"""What a hit takes while something else goes on: a probe asks every 2 ms, and the rest is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.speed import competitors
from tests.benchmarks.speed.hits import AUTHORIZATION, TARGET
from tests.benchmarks.speed.load import Caller, percentile
from tests.benchmarks.speed.many import fill
from tests.support import LIST, started_redis

EVERY = 0.002
"""Seconds between the probe's questions, and between those that go on beside."""
BEGINNING = 1.0
"""Seconds that what goes on is given before the probe begins."""


def nothing(_: str) -> None:
    time.sleep(3600)


def misses(url: str) -> None:
    """Pages that nobody has asked for."""
    caller = Caller(url, AUTHORIZATION)
    for number in itertools.count():
        caller.get(f"{LIST}?namespace=ox&model=m{number}&page_size=36")
        time.sleep(EVERY)


def large(url: str) -> None:
    """Pages of 1,000 rows that nobody has asked for, zipped."""
    caller = Caller(url, AUTHORIZATION | {"Accept-Encoding": "gzip"})
    for number in itertools.count():
        caller.get(f"{LIST}?page_size={1000 - number % 200}&page={1 + number // 200}")
        time.sleep(10 * EVERY)


def connections(url: str) -> None:
    """A connection for each question."""
    for _ in itertools.count():
        caller = Caller(url, AUTHORIZATION)
        caller.get(TARGET)
        caller.close()
        time.sleep(EVERY)


def hanging_up(url: str) -> None:
    """Callers who ask what nobody has asked for, and are gone before there is an answer."""
    for number in itertools.count():
        Caller(url, AUTHORIZATION).hang_up(f"{LIST}?namespace=ox&model=m{number}&page_size=36")
        time.sleep(EVERY)


BESIDE: list[tuple[str, Callable[[str], None], int]] = [
    ("nothing", nothing, 0),
    ("a miss every 2 ms", misses, 0),
    ("a miss of 1 MB every 20 ms", large, 0),
    ("a connection every 2 ms", connections, 0),
    ("a caller who hangs up every 2 ms", hanging_up, 0),
]
"""What goes on, and how many pages are in memory before."""


def hits(folder: Path, seconds: float, *, kept: int) -> Iterator[list[object]]:
    """The time of a hit beside each; last beside misses, with ``kept`` pages in memory."""
    with ExitStack() as stack:
        hub = stack.enter_context(competitors.simulator(folder, 8000))
        for name, what, pages in [*BESIDE, (f"a miss every 2 ms, {kept:,} pages kept", misses, kept)]:
            with started_redis() as redis, competitors.proxy(folder, hub, REDIS_URL=redis.url) as (url, _):
                if pages:
                    asyncio.run(fill(url, pages))
                with _going_on(what, url):
                    taken = _probe(url, seconds)
                middle, late, last = (percentile(taken, part) for part in (0.5, 0.99, 1.0))
                yield [name, len(taken), *(round(1000 * one, 2) for one in (middle, late, last))]


@contextmanager
def _going_on(what: Callable[[str], None], url: str) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=what, args=(url,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _probe(url: str, seconds: float) -> list[float]:
    """The time of each of the probe's hits."""
    with contextlib.closing(Caller(url, AUTHORIZATION)) as caller:
        caller.get(TARGET)
        time.sleep(min(BEGINNING, seconds))
        taken, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            one, head, _ = caller.get(TARGET)
            assert b"; hit" in head, head
            taken.append(one)
            time.sleep(EVERY)
        return taken
