"""How fast, and beside what? ``python -m tests.benchmarks.speed [--smoke] [--rounds N] [--json FILE] [SECTION…]``.

Everything runs on loopback on this machine, the load generator (``wrk``, 32 connections) on the same cores: compare
ratios, and only those of one run. Who is compared takes turns, round by round; medians over the rounds. Needs wrk,
nginx and varnishd, and the extra ``bench`` (FastAPI, fastapi-cache2); Redis as the tests do. ``--smoke`` shows that it
runs; its figures are worth nothing. For followers in a herd, see ``tests.benchmarks.herd``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.speed import beside, hits, many, times

HEADINGS = {
    "hits": ["page", "system", "bytes", "requests/s", "p99 ms", "proxy's rate / its"],
    "misses": ["asked", "of", "median ms", "beyond the hub itself, ms", "p99 ms"],
    "faults": ["what is wrong", "requests/s", "p99 ms", "of the rate while nothing is"],
    "beside": ["what goes on beside", "hits", "median ms", "p99 ms", "slowest ms"],
    "redis": ["asked", "bytes", "requests/s", "p99 ms", "proxy's rate / its"],
    "pages": ["pages cached", "bytes of each", "requests/s", "of one page's", "memory MB", "memory bytes a page"],
    "workers": ["asked", "workers", "requests/s", "of one worker's"],
}


def measure(folder: Path, chosen: Iterable[str], rounds: int, *, smoke: bool) -> dict[str, list[list[object]]]:
    seconds, rounds = (1.0, 1) if smoke else (2.0, rounds)
    sections: dict[str, Callable[[], Iterable[list[object]]]] = {
        "hits": lambda: all_hits(folder, seconds, rounds, smoke=smoke),
        "misses": lambda: times.misses(folder, 30 if smoke else 1500),
        "faults": lambda: hits.under_faults(folder, seconds, rounds),
        "beside": lambda: beside.hits(folder, 0.2 if smoke else 4 * seconds, kept=300 if smoke else 20_000),
        "redis": lambda: times.from_redis(folder, seconds, rounds),
        "pages": lambda: many.pages(folder, [1, 50, 200] if smoke else [1, 1000, 100_000], seconds, rounds),
        "workers": lambda: many.workers(folder, seconds, rounds),
    }
    found = {}
    for name in chosen:
        found[name] = list(sections[name]())
        print(table(name, found[name]), flush=True)
    return found


def all_hits(folder: Path, seconds: float, rounds: int, *, smoke: bool) -> list[list[object]]:
    with hits.cases(folder, small=smoke) as cases:
        for _ in range(rounds):
            for case in cases:
                case.round(seconds)
        return [row for case in cases for row in case.rows()]


def table(name: str, rows: list[list[object]]) -> str:
    lines = [HEADINGS[name], ["---"] * len(HEADINGS[name]), *([f"{cell}" for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> str:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return (
        f"{os.cpu_count()} cores ({model[0].partition(': ')[2] if model else '?'}), Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure speed side by side.")
    parser.add_argument("--smoke", action="store_true", help="only show that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="of 2 s each, of which the median counts (default: 5)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(HEADINGS)}")
    options = parser.parse_args()
    at = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
    print(f"{at}, {machine()}, {1 if options.smoke else options.rounds} round(s)\n")
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        found = measure(folder, options.sections or HEADINGS, options.rounds, smoke=options.smoke)
    if options.json:
        figures = {name: [dict(zip(HEADINGS[name], row, strict=True)) for row in rows] for name, rows in found.items()}
        options.json.write_text(json.dumps({"at": at, "machine": machine(), **figures}, indent=1))


if __name__ == "__main__":
    main()
