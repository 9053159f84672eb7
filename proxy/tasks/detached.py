"""Tasks that no caller owns: they go on when whoever started them has hung up."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from proxy.errors import ProxyError

T = TypeVar("T")
_log: Final = logging.getLogger("proxy.tasks")


class Drainable(Protocol):
    """What has work under way."""

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for it; return how much goes on."""
        ...


class Detached:
    """Holds tasks until they end (the event loop itself keeps only weak references).

    Args:
        awaited: whoever starts one is given what it raises. Else that is logged, as nobody would know of it.
    """

    def __init__(self, *, awaited: bool = False) -> None:
        self._awaited = awaited
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` in a task of its own."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the tasks to end; return how many have not."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()  # seen: with every waiter gone, nobody else looks at it
        if error is not None and not self._awaited and not isinstance(error, ProxyError):
            _say(error)


async def drain_all(timeout: float, *parts: Drainable) -> int:
    """Wait at most ``timeout`` seconds in all for the work of these, one after the other; return how much goes on.

    What ends of one may begin something of a later one.
    """
    now = asyncio.get_running_loop().time
    until = now() + timeout
    return sum([await one.drain(max(0.0, until - now())) for one in parts])


def _say(error: BaseException) -> None:
    """Log a fault without its text: a library's may quote what it was given, a token or a password for example."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a fault of the proxy in a task that nobody waits for: %s\n%s", type(error).__name__, where)


async def wait_until_done(work: asyncio.Future[Any], timeout: float | None = None) -> bool:
    """Wait at most ``timeout`` seconds for work, which that leaves alone; return whether it has ended.

    As asyncio.wait does it for many, in less than two thirds of its time. Work that has ended already is waited for as
    well: whatever else was to be done at its end has been then.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = None if timeout is None else loop.call_later(timeout, wake)
    work.add_done_callback(wake)
    try:
        await woken
    finally:
        work.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()
    return work.done()
