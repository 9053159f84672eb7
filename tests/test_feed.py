"""The feed: how many may listen, each and together, and what who falls behind is told."""

from __future__ import annotations

import json
import uuid

import pytest

from proxy.callers.caller import ANONYMOUS, Caller
from proxy.errors import TooManyListeners
from proxy.events.feed import Feed
from proxy.events.listener import Source, TooSlow
from proxy.events.log import EventLog
from proxy.known import completion
from tests.event_logs import NoOwners
from tests.support import Clock


async def test_one_caller_cannot_take_all_the_room() -> None:
    greedy, other, third = (Caller(name, frozenset({"ox"})) for name in ("greedy", "other", "third"))
    feed = Feed({}, 30)
    taken = [await feed.join(greedy, [], None) for _ in range(27)]
    with pytest.raises(TooManyListeners, match="This caller listens 27 times"):
        await feed.join(greedy, [], None)
    for caller in (other, third, other):
        await feed.join(caller, [], None)
    with pytest.raises(TooManyListeners, match="30 listen already"):
        await feed.join(third, [], None)
    for listener in taken[:4]:
        feed.leave(listener)
    await feed.join(greedy, [], None)
    with pytest.raises(TooManyListeners, match="This caller listens 24 times"):
        await feed.join(greedy, [], None)


async def test_where_nobody_is_known_all_the_room_is_for_anybody() -> None:
    feed = Feed({}, 30)
    for _ in range(30):
        await feed.join(ANONYMOUS, [], None)
    with pytest.raises(TooManyListeners, match="30 listen already"):
        await feed.join(ANONYMOUS, [], None)


@pytest.mark.parametrize("waits", [True, False])
async def test_who_waits_for_look_ups_is_told_of_a_gap(monkeypatch: pytest.MonkeyPatch, *, waits: bool) -> None:
    """It reads what it may; only who does not is cut off."""
    monkeypatch.setattr("proxy.events.tail.MAX_EVENTS", 3)
    log, clock = EventLog(Clock()), iter(range(100))
    log.open(None)
    feed = Feed({"": Source(log, NoOwners())}, 30)  # type: ignore[arg-type]
    listener = await feed.join(Caller("ox", frozenset({"ox"})), [""], None)

    async def hear(*, settled: bool) -> str:
        one = str(uuid.UUID(int=next(clock)))
        await log.append(completion.read(json.dumps({"generation_id": one, "status": "succeeded"})))
        entry = log.tail.entry(log.tail.end - 1)
        assert entry is not None
        entry.settled, entry.namespace = settled, "ox"
        return one

    await hear(settled=not waits)
    if waits:
        assert listener.take(100) == []
    done = [await hear(settled=True) for _ in range(4)]
    if not waits:
        with pytest.raises(TooSlow):
            listener.take(100)
        return
    told = listener.take(10_000)
    assert [one.type for one in told] == ["gap", *["media_generation_completed"] * 3]
    assert [json.loads(one.data)["generation_id"] for one in told[1:]] == done[1:]
    assert listener.take(100) == []
    for _ in range(4):
        await hear(settled=True)
    with pytest.raises(TooSlow):  # it waits for nothing now
        listener.take(100)
