"""What rows cost the event loop, and memory: ``python -m tests.benchmarks.rows``.

A listing of 1,000 known rows: an answer with its first 50 rows moves it (read, learn, write for Redis), a page is
composed of it. Each step is timed apart, as a median; beside it, what one pass over the same bytes costs.
"""

from __future__ import annotations

import hashlib
import statistics
import time
import tracemalloc
from collections.abc import Callable

from proxy.answer.page import parse_page
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis.stored_rows import read_listing as read_rows
from proxy.redis.stored_rows import write_listing
from proxy.rows.composing import compose, outline
from proxy.rows.listing import Listing, advance_listing
from proxy.rows.reading import Window, read_window
from proxy.simulator import Simulator, World
from tests.support import KEY, Clock

ROWS, SHOWN, ROUNDS = 1000, 50, 200


def asked(page: int, page_size: int) -> Question:
    return page_question("c", ListQuery(namespace="ox", page=page, page_size=page_size))


def answer(hub: Simulator, page_size: int) -> bytes:
    return hub._answer("/api/ai/generations", f"namespace=ox&page=1&page_size={page_size}")


def median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def main() -> None:
    clock = Clock()
    hub = Simulator(World(clock=clock, speed=0, history=ROWS), api_key=KEY, clock=clock)
    whole, top = asked(1, ROWS), asked(1, SHOWN)
    body = answer(hub, ROWS)
    window = read_window(whole, parse_page(whole, body, clock()))
    listing = advance_listing(None, window, clock(), since=0.0, name="a", depth=ROWS)[0]
    hub.world.end(hub.world.enqueue("ox"))
    clock.advance(1)
    page = parse_page(top, answer(hub, SHOWN), clock())
    shown = read_window(top, page)

    def learned(of: Window) -> Listing:
        return advance_listing(listing, of, clock(), since=0.0, name="b", depth=ROWS)[0]

    after = learned(shown)
    assert after.chain.name == "a"
    written = write_listing("k", after, listing, "1.ab", "cd")
    rows = list(written.rows.values())
    steps: dict[str, Callable[[], object]] = {
        f"read an answer of {SHOWN} rows as rows": lambda: read_window(top, page),
        f"learn it: {ROWS} rows known, one has come": lambda: learned(shown),
        f"learn an answer of {ROWS} rows": lambda: learned(window),
        "write what has changed for Redis": lambda: write_listing("k", after, listing, "1.ab", "cd"),
        "read that in another replica": lambda: read_rows("k", written.head, rows, listing),
        f"judge a page of {SHOWN} rows": lambda: outline(asked(3, SHOWN), after, purged_at=0.0, confirmed_at=0.0),
        f"compose a page of {SHOWN} rows": lambda: compose(asked(3, SHOWN), after),
        f"compose a page of {ROWS} rows": lambda: compose(asked(1, ROWS), after),
        f"hash {len(body)} bytes, to compare": lambda: hashlib.sha256(body).digest(),
    }
    print(f"{ROUNDS} rounds; a page of {SHOWN} rows has {len(page.body)} bytes, one of {ROWS} rows {len(body)}\n")
    print("| on the event loop | median ms |\n| --- | --- |")
    for name, work in steps.items():
        print(f"| {name} | {median(work):.3f} |")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = read_window(whole, parse_page(whole, body, clock()))
    text = sum(len(row.text) for row in kept.rows)
    used = tracemalloc.get_traced_memory()[0] - before
    print(f"\nA row costs memory its text ({text // ROWS} bytes on average here) and {(used - text) // ROWS} bytes.")


if __name__ == "__main__":
    main()
