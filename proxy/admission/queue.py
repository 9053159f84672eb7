"""Those who wait for room at the hub, in the order in which they came.

While there is no room, only the first of them asks. After each round in which all who asked got a turn, twice as many
ask at the same time: one after the other, each would wait for the round trips to Redis of all before it.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final, Generic, TypeVar

from proxy.redis.allotment import unallotted
from proxy.tasks.detached import Detached, wait_until_done

T = TypeVar("T")

ROOM_CHECK: Final = 0.25
"""Seconds after which the first looks for room itself, in case the news of it was lost."""


class Waiter(Generic[T]):
    """One who waits.

    Attributes:
        answer: a turn or a refusal, when there is one.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[T | None]], unwanted: Callable[[T | None], object], place: int
    ) -> None:
        self.ask = ask
        self.unwanted = unwanted
        self.place = place
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Queue(Generic[T]):
    """Has those ask who are first.

    Args:
        most: how many may ask at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiters: list[Waiter[T]] = []
        self._room = asyncio.Event()
        self._detached = Detached()
        self._asking = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def make_room(self) -> None:
        """Somebody has left."""
        self._room.set()

    async def wait(
        self,
        ask: Callable[[], Awaitable[T | None]],
        unwanted: Callable[[T | None], object],
        seconds: float,
        *,
        place: int,
    ) -> T | None:
        """Return what ``ask`` does in its turn, as soon as that is something; None after so many ``seconds``.

        ``unwanted`` is told what it returned when nobody waited any more, also that it was nothing.
        """
        if seconds <= 0:
            return None
        waiter = Waiter(ask, unwanted, place)
        insort(self._waiters, waiter, key=attrgetter("place"))
        if not self._asking:
            self._asking = True
            self._detached.spawn(self._ask())
        try:
            return waiter.answer.result() if await wait_until_done(waiter.answer, seconds) else None
        except asyncio.CancelledError:
            if waiter.answer.done() and waiter.answer.exception() is None:  # it came, but was not to be looked at
                unwanted(waiter.answer.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            waiter.answer.cancel()  # if it has not come

    async def _ask(self) -> None:
        """Have the first ask until nobody waits."""
        unallotted()
        width = 1
        while self._waiters:
            self._room.clear()
            first = self._waiters[:width]
            answered = sum(await asyncio.gather(*map(self._ask_for, first)))
            if answered == len(first):
                width = min(2 * width, self._most)
                continue
            width = max(1, answered)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROOM_CHECK):
                    await self._room.wait()
        self._asking = False  # before anything else can happen

    async def _ask_for(self, waiter: Waiter[T]) -> bool:
        """Ask; return whether the waiter need wait no longer."""
        try:
            answer = await waiter.ask()
        except Exception as error:  # noqa: BLE001  of ours: whoever waits is to have it
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
        else:
            if waiter.answer.done():
                waiter.unwanted(answer)
            elif answer is None:
                return False
            else:
                waiter.answer.set_result(answer)
        with contextlib.suppress(ValueError):
            self._waiters.remove(waiter)
        return True
