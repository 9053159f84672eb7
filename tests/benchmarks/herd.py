"""A thousand cold callers at once over three replicas: ``python -m tests.benchmarks.herd``.

How long after the first answer do the others come? Beside the proxy, in the same run and in turns, three processes of
a bare ASGI application that hold as many callers for as long and then send as many bytes: what server, sockets and
the callers' own process cost, whoever answers. Medians over ROUNDS rounds; a question is asked once only.

All on loopback; CALLERS connections at once.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime

from proxy.commands.sockets import LOOPBACK
from tests.fleet import fleet
from tests.herd import Answered, herd
from tests.processes import environment, eventually, get
from tests.support import ROOT, free_port

CALLERS = int(os.environ.get("HERD_CALLERS", "1000"))
ROUNDS = int(os.environ.get("HERD_ROUNDS", "7"))
REPLICAS = 3
LATENCY = 0.3
"""Seconds that the hub takes, in which all callers come."""
PAGES = (("settled, 5 rows", "status=succeeded&page_size=5"), ("settled, 50 rows", "status=succeeded&page_size=50"))


def lateness(answers: list[Answered]) -> list[float]:
    """Milliseconds from the first whole answer to each of the others."""
    assert {answer.status for answer in answers} == {200}
    first = min(answer.at for answer in answers)
    return sorted((answer.at - first) * 1000 for answer in answers)


def row(name: str, rounds: list[list[float]], requests: str) -> str:
    median = statistics.median(statistics.median(late) for late in rounds)
    p99 = statistics.median(late[int(len(late) * 0.99)] for late in rounds)
    return f"| {name} | {requests} | {median:.0f} | {p99:.0f} |"


def main() -> None:
    print(f"{CALLERS} callers, {REPLICAS} replicas, {ROUNDS} rounds, {datetime.now(tz=UTC):%Y-%m-%d}\n")
    print("| asked | hub requests a round | median follower, ms | p99 follower, ms |\n| --- | --- | --- | --- |")
    with ExitStack() as stack:
        it = stack.enter_context(fleet(REPLICAS, PROXY_HUB_RATE="1000", PROXY_HUB_BURST="1000"))
        it.hub.faults({"latency": LATENCY})
        for name, query in PAGES:
            size = len(get(it.urls(query, 1)[0])[2])
            with ExitStack() as bare:
                ports = [free_port() for _ in range(REPLICAS)]
                for port in ports:
                    command = [sys.executable, "-m", "tests.benchmarks.bare", str(port), str(size), str(LATENCY)]
                    process = bare.enter_context(subprocess.Popen(command, cwd=ROOT, env=environment()))
                    bare.callback(process.kill)
                    eventually(lambda port=port: get(f"http://{LOOPBACK}:{port}/")[0] == 200)  # type: ignore[misc]
                ours, theirs = [], []
                it.hub.clear()
                for number in range(ROUNDS):
                    urls = it.urls(f"{query}&page={number + 2}", CALLERS)
                    ours.append(lateness(asyncio.run(herd(urls))[1]))
                    urls = [f"http://{LOOPBACK}:{ports[index % REPLICAS]}/" for index in range(CALLERS)]
                    theirs.append(lateness(asyncio.run(herd(urls))[1]))
                print(row(f"generations-proxy, {name} ({size} bytes)", ours, f"{it.hub.count / ROUNDS:.2f}"))
                print(row(f"bare ASGI, {size} bytes", theirs, "-"))


if __name__ == "__main__":
    main()
