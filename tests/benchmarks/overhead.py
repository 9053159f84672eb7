"""What a hit and a miss cost beside asking the hub directly: ``python -m tests.benchmarks.overhead``.

On loopback: the simulator, a proxy that keeps pages, and two that keep none (TTLs of 0), one of them with Redis.
One caller asks all in turn, so that the machine's moods fall on each alike; medians are compared.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from subprocess import DEVNULL
from typing import Any

import httpx

from proxy.sockets import LOOPBACK
from tests.support import KEY, LIST, RedisServer, free_port
from tests.test_cli import eventually, get, running, serving

ROUNDS = 500


def main() -> None:
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(running("simulate", "--port", str(port), "--api-key", KEY, "--speed", "0", output=DEVNULL))
        hub = f"http://{LOOPBACK}:{port}"
        eventually(lambda: get(f"{hub}/_simulator/requests")[0] == 200)
        redis = RedisServer()
        redis.start()
        stack.callback(redis.close)
        budget = {"PROXY_HUB_RATE": "100000", "PROXY_HUB_BURST": "100000"}
        zero: dict[str, Any] = {**budget, "PROXY_CACHE_SETTLED_TTL": "0"}
        keeping, _ = stack.enter_context(serving(hub, output=DEVNULL, PROXY_CACHE_SETTLED_TTL="3600"))
        passing, _ = stack.enter_context(serving(hub, output=DEVNULL, **zero))
        sharing, _ = stack.enter_context(serving(hub, output=DEVNULL, REDIS_URL=redis.url, **zero))
        caller = stack.enter_context(httpx.Client(headers={"authorization": f"Bearer {KEY}"}, trust_env=False))
        urls = {
            "the hub itself": hub,
            "a miss through the proxy": passing,
            "a miss, agreed over Redis": sharing,
            "a hit in the proxy": keeping,
        }
        times: dict[str, list[float]] = {name: [] for name in urls}
        size = 0
        for _ in range(ROUNDS):
            for name, url in urls.items():
                began = time.perf_counter()
                size = len(caller.get(url + LIST).content)
                times[name].append(time.perf_counter() - began)
    hub_median = statistics.median(times["the hub itself"])
    print(f"{ROUNDS} rounds, one caller, a page of {size} bytes (50 rows)\n")
    print("| asked | median ms | beyond the hub itself, ms | of the hub's time |")
    print("| --- | --- | --- | --- |")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"| {name} | {median * 1e3:.2f} | {(median - hub_median) * 1e3:+.2f} | {median / hub_median:.2f} |")


if __name__ == "__main__":
    main()
