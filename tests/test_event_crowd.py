"""Hundreds of listeners and a thousand pollers before replicas in processes of their own; a replica dies among them."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from proxy.simulator.streaming import label
from tests.fleet import Fleet, fleet, load
from tests.listening import Heard, listening
from tests.processes import eventually, get
from tests.support import KEY, LIST, until

pytestmark = pytest.mark.slow

LISTENERS, POLLERS, EVENTS = 500, 1000, 60


@pytest.fixture
def crowd() -> Iterator[Fleet]:
    with fleet(3) as it:
        eventually(lambda: streams(it)["open"] == {label(KEY): 1})
        yield it


def streams(it: Fleet) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(f"{it.hub.url}/_simulator/streams")[2])
    return found


def do(it: Fleet, **deed: str) -> str:
    request = urllib.request.Request(f"{it.hub.url}/_simulator/world", data=json.dumps(deed).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["id"])


def complete(it: Fleet) -> str:
    return do(it, do="end", id=do(it, do="enqueue", namespace="ox"))


def subscriber(it: Fleet) -> int:
    """Which replica listens to the hub."""
    for number, replica in enumerate(it.replicas):
        if b'events_subscribed{credential="default"} 1.0' in get(f"{replica.url}/metrics")[2]:
            return number
    return -1


async def told(heard: list[Heard], count: int) -> None:
    await until(lambda: all(len(one.completions) >= count for one in heard), 30)


async def test_one_connection_serves_a_crowd(crowd: Fleet) -> None:
    """500 listeners and 1,000 pollers: each listener gets each event once, in order; the hub has one connection."""
    async with AsyncExitStack() as stack:
        heard = [
            await stack.enter_async_context(listening(crowd.replicas[number % 3].url)) for number in range(LISTENERS)
        ]
        urls = [f"{crowd.replicas[number % 3].url}{LIST}?namespace=ox&page_size=5" for number in range(POLLERS)]
        polls = await stack.enter_async_context(load(urls, every=2.0))
        await asyncio.sleep(2)
        done = []
        for _ in range(EVENTS):
            done.append(await asyncio.to_thread(complete, crowd))
            await asyncio.sleep(0.02)
        await told(heard, EVENTS)
        assert all(one.completions == done for one in heard)
        assert await asyncio.to_thread(streams, crowd) == {"open": {label(KEY): 1}, "opened": 1}
    assert set(polls.statuses) == {200}
    assert polls.statuses.total() >= POLLERS


async def test_a_takeover_loses_nothing_that_is_replayed(crowd: Fleet) -> None:
    """The replica that listens to the hub is killed; those who listen to others miss nothing but what nobody heard."""
    first = subscriber(crowd)
    others = [number for number in range(3) if number != first]
    async with AsyncExitStack() as stack:
        heard = [
            await stack.enter_async_context(listening(crowd.replicas[others[number % 2]].url)) for number in range(100)
        ]
        orphan = await stack.enter_async_context(listening(crowd.replicas[first].url))
        before = [await asyncio.to_thread(complete, crowd) for _ in range(10)]
        await told([*heard, orphan], 10)
        await asyncio.to_thread(crowd.replicas[first].end, signal.SIGKILL)
        await until(lambda: orphan.ended)
        await asyncio.to_thread(eventually, lambda: streams(crowd)["open"] == {label(KEY): 1})
        await until(lambda: all(one.gaps for one in heard))
        after = [await asyncio.to_thread(complete, crowd) for _ in range(10)]
        await told(heard, 20)
        assert all(one.completions == before + after for one in heard)
        again = await stack.enter_async_context(
            listening(crowd.replicas[others[0]].url, f"Last-Event-ID: {orphan.last_id}")
        )
        await told([again], 10)
        assert again.completions == after, "it goes on elsewhere, where it was"


async def test_what_two_subscribers_have_told_of_comes_once(crowd: Fleet) -> None:
    """One is frozen, another takes its place, and it comes back: two connections for a while."""
    first = subscriber(crowd)
    others = [number for number in range(3) if number != first]
    async with AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(listening(crowd.replicas[number].url)) for number in others]
        crowd.replicas[first].signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(eventually, lambda: streams(crowd)["opened"] == 2)
            await until(lambda: all(one.gaps for one in heard))
            during = [await asyncio.to_thread(complete, crowd) for _ in range(10)]
        finally:
            crowd.replicas[first].signal(signal.SIGCONT)
        await asyncio.to_thread(eventually, lambda: streams(crowd)["open"] == {label(KEY): 1})
        during.append(await asyncio.to_thread(complete, crowd))
        await told(heard, 11)
        await asyncio.sleep(0.5)
        assert all(one.completions == during for one in heard)
