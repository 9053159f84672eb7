"""Listeners who come back hear what they missed, or that they may have missed something. Over sockets."""

from __future__ import annotations

import pytest

from proxy.events.feed import _read_position
from proxy.settings import Settings
from tests.event_fixture import CALLERS, key_of, proxies
from tests.listening import listening
from tests.support import RedisServer, until


async def test_a_short_absence_is_replayed() -> None:
    async with proxies() as it:
        async with listening(it.url) as heard:
            first = it.complete()
            await until(lambda: heard.completions == [first])
        missed = [it.complete() for _ in range(5)]
        async with listening(it.url, f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 5)
            later = it.complete()
            await until(lambda: len(again.completions) == 6)
            assert again.completions == [*missed, later]
            assert again.gaps == 0


async def test_a_replay_shows_no_more_than_the_stream_did() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it:
        async with listening(it.url, key_of("ox")) as heard:
            pass
        done = [it.complete(namespace) for namespace in ("ox", "moo", "ox")]
        async with listening(it.url, key_of("ox"), f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 2)
            assert again.completions == [done[0], done[2]]


async def test_another_replica_replays_as_well(redis_server: RedisServer) -> None:
    async with proxies(2, redis_server) as it:
        async with listening(it.urls[0]) as heard:
            first = it.complete()
            await until(lambda: heard.completions == [first])
        missed = [it.complete() for _ in range(3)]
        async with listening(it.urls[1], f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 3)
            assert (again.completions, again.gaps) == (missed, 0)


@pytest.mark.parametrize(
    "last", ["nonsense", "1-0", "a" * 5000, "deadbeef-1-0", "%00,,-,-1", "x-99999999999999999999-1"]
)
async def test_a_gap_is_marked(last: str) -> None:
    async with proxies() as it, listening(it.url, f"Last-Event-ID: {last}") as heard:
        done = it.complete()
        await until(lambda: heard.completions == [done])
        assert heard.gaps == 1
        assert heard.blocks[1]["event"] == "gap"
        assert "id" not in heard.blocks[0], "whose stream breaks before the gap is to be told of it again"
        assert "id" in heard.blocks[1]


async def test_too_long_an_absence_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.tail.MAX_EVENTS", 10)
    async with proxies() as it:
        async with listening(it.url) as heard:
            pass
        async with listening(it.url) as other:
            done = [it.complete() for _ in range(20)]
            await until(lambda: other.completions[-1:] == done[-1:])
        async with listening(it.url, f"Last-Event-ID: {heard.last_id}") as again:
            later = it.complete()
            await until(lambda: later in again.completions)
            assert again.gaps == 1
            assert set(again.completions).isdisjoint(done[:10])


def test_a_position_in_many_logs_is_read() -> None:
    """With many credentials it is long; else each return would begin with a gap."""
    places = {f"{number:08x}": f"{10**12 + number}-{number}" for number in range(300)}
    read = _read_position(",".join(f"{tag}-{last}" for tag, last in places.items()))
    assert {tag: str(place) for tag, place in read.items()} == places
