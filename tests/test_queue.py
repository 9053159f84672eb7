"""Waiting for room: in order, one asking for all, more of them once there is some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.admission.queue import Queue
from proxy.redis.allotment import allotted, current_allotment


class Room:
    """Places, given to who asks while any is left; each answer can be held back."""

    def __init__(self, places: int = 0) -> None:
        self.places = places
        self.order: list[str] = []
        self.asked = self.asking = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.back: list[str | None] = []

    def ask(self, name: str) -> Callable[[], Awaitable[str | None]]:
        async def ask() -> str | None:
            self.asked += 1
            self.asking += 1
            self.most = max(self.most, self.asking)
            given = self.places > 0
            self.places -= given
            await self.gate.wait()
            await asyncio.sleep(0)
            self.asking -= 1
            if not given:
                return None
            self.order.append(name)
            return name

        return ask

    def enter(self, queue: Queue[str], name: str, seconds: float = 5.0, place: int = 0) -> asyncio.Task[str | None]:
        return asyncio.create_task(queue.wait(self.ask(name), self.back.append, seconds, place=place))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_asks_for_all_who_wait_and_again_when_there_is_news_of_room() -> None:
    queue, room = Queue[str](8), Room()
    waiting = [room.enter(queue, str(number)) for number in range(20)]
    await settled()
    assert (room.asked, len(queue)) == (1, 20)
    queue.make_room()
    await settled()
    assert room.asked == 2
    room.places = 20
    queue.make_room()
    assert await asyncio.gather(*waiting) == [str(number) for number in range(20)]
    assert room.order == [str(number) for number in range(20)]
    assert len(queue) == 0


async def test_who_came_before_others_who_wait_is_before_them_in_line() -> None:
    """It has waited for its turn, and they have not yet."""
    queue, room = Queue[str](8), Room()
    waiting = [room.enter(queue, str(number), place=number) for number in (1, 3, 2)]
    await settled()
    room.places = 3
    queue.make_room()
    await asyncio.gather(*waiting)
    assert room.order == ["1", "2", "3"]


async def test_where_there_is_room_more_and_more_ask_at_a_time_but_not_too_many() -> None:
    """Each answer of a Redis far away costs its way: one after the other, the last would wait for those of all."""
    queue, room = Queue[str](8), Room(40)
    room.gate.clear()
    waiting = [room.enter(queue, str(number)) for number in range(40)]
    while not all(task.done() for task in waiting):
        await settled()
        room.gate.set()
        await settled()
        room.gate = asyncio.Event()
        await settled()
    assert room.most == 8
    assert room.asked == 40
    assert room.order == [str(number) for number in range(40)]


async def test_room_made_while_somebody_asks_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admission.queue.ROOM_CHECK", 60.0)  # it does not look by itself
    queue, room = Queue[str](8), Room()
    room.gate.clear()
    waiting = room.enter(queue, "one", 60.0)
    await settled()
    assert room.asking == 1
    room.places = 1
    queue.make_room()
    room.gate.set()
    async with asyncio.timeout(5):
        assert await waiting == "one"


async def test_lost_news_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admission.queue.ROOM_CHECK", 0.01)
    queue, room = Queue[str](8), Room()
    waiting = room.enter(queue, "one")
    await settled()
    room.places = 1
    assert await waiting == "one"


async def test_who_has_waited_for_too_long_is_not_asked_for() -> None:
    queue, room = Queue[str](8), Room()
    assert await room.enter(queue, "early", 0.01) is None
    assert await room.enter(queue, "at once", 0.0) is None
    asked = room.asked
    room.places = 2
    later = room.enter(queue, "later")
    queue.make_room()
    assert await later == "later"
    assert room.asked <= asked + 2
    assert (room.order, room.places) == (["later"], 1)


@pytest.mark.parametrize("how", ["too long", "cancelled"])
async def test_what_is_granted_to_who_is_gone_is_given_back(how: str) -> None:
    queue, room = Queue[str](8), Room(1)
    room.gate.clear()
    gone = room.enter(queue, "gone", 0.01 if how == "too long" else 5.0)
    await settled()
    if how == "cancelled":
        gone.cancel()
    await asyncio.wait([gone])
    stays = room.enter(queue, "stays")
    room.gate.set()
    await settled()
    assert room.back == ["gone"]
    room.places = 1
    queue.make_room()
    assert await stays == "stays"


async def test_who_is_cancelled_with_an_answer_gives_it_back() -> None:
    queue, back = Queue[str](8), list[str | None]()

    async def ask() -> str:
        asyncio.get_running_loop().call_soon(gone.cancel)  # before anything else that the answer leads to
        return "gone"

    gone = asyncio.create_task(queue.wait(ask, back.append, 5.0, place=0))
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert back == ["gone"]


async def test_who_is_gone_hears_that_there_was_no_answer_too() -> None:
    """It may have been lost, and be of something that is to be given back."""
    queue, room = Queue[str](8), Room()
    room.gate.clear()
    gone = room.enter(queue, "gone")
    await settled()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    room.gate.set()
    await settled()
    assert room.back == [None]


async def test_a_fault_in_asking_is_told_to_who_waits_and_the_next_is_asked_for() -> None:
    queue, room = Queue[str](8), Room(1)

    async def broken() -> str | None:
        raise ZeroDivisionError

    first = asyncio.create_task(queue.wait(broken, room.back.append, 5.0, place=0))
    second = room.enter(queue, "second")
    with pytest.raises(ZeroDivisionError):
        await first
    assert await second == "second"


async def test_a_fault_in_asking_for_who_is_gone_stops_nobody_else() -> None:
    queue, room = Queue[str](8), Room(1)

    async def broken() -> str | None:
        await room.gate.wait()
        raise ZeroDivisionError

    room.gate.clear()
    gone = asyncio.create_task(queue.wait(broken, room.back.append, 5.0, place=0))
    await settled()
    gone.cancel()
    await asyncio.wait([gone])
    stays = room.enter(queue, "stays")
    room.gate.set()
    async with asyncio.timeout(1.0):
        assert await stays == "stays"


async def test_nobody_is_asked_for_in_the_time_that_redis_may_cost_the_first() -> None:
    """It may have used that up long ago, and each who comes after it would have a quarter of its own."""
    queue, left = Queue[str](8), list[float]()

    async def ask() -> str:
        left.append(current_allotment().left(1.0))
        return "answer"

    with allotted():
        current_allotment().charge(10.0)
        await queue.wait(ask, left.append, 5.0, place=0)  # type: ignore[arg-type]
    assert left == [1.0]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_who_has_no_time_is_not_asked_for(seconds: float) -> None:
    queue, room = Queue[str](8), Room(1)
    assert await room.enter(queue, "late", seconds) is None
    await settled()
    assert room.asked == 0


async def test_who_is_cancelled_with_a_fault_is_cancelled_and_gives_nothing_back() -> None:
    queue, back = Queue[str](8), list[str | None]()

    async def broken() -> str:
        asyncio.get_running_loop().call_soon(gone.cancel)  # before anything else that the fault leads to
        raise ZeroDivisionError

    gone = asyncio.create_task(queue.wait(broken, back.append, 5.0, place=0))
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert not back


async def test_no_more_ask_at_a_time_than_there_may_be_room_for() -> None:
    """Twice as many as had room the last time, and as many as had it where it did not do for all."""
    queue, room = Queue[str](8), Room(6)
    waiting = [room.enter(queue, str(number)) for number in range(20)]
    await settled()
    assert (room.asked, len(room.order)) == (1 + 2 + 4, 6)
    room.asked, room.places = 0, 2
    queue.make_room()
    await settled()
    assert (room.asked, room.most, len(room.order)) == (3, 4, 8)
    room.most, room.places = 0, 2
    queue.make_room()
    await settled()
    assert (room.most, len(room.order)) == (4, 10), "two had room, so twice as many may"
    room.places = 20
    queue.make_room()
    assert len(await asyncio.gather(*waiting)) == 20
