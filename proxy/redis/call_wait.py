"""How long a call to Redis is waited for, and whether Redis has become slow.

Time in which this process itself was held up does not count, as an answer may long have come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from proxy.redis.allotment import current_allotment
from proxy.tasks.detached import wait_until_done

SLOW_SECONDS: Final = 0.5
"""Seconds after which Redis counts as down, though it answers, if no call took less than half of its timeout meanwhile:
several such calls would cost a request more than it may. A machine that is busy for a moment has quick ones between."""
MAX_HALVES: Final = 10
"""Halves of its time that a call is waited for at the most, however busy this process is."""
LAST_ROUNDS: Final = 4
"""Rounds of the event loop in which an answer that has come is read and taken to who waits. They cost next to nothing,
unless this process has so much to do that what was no time for Redis was none for its answers either."""


class CallWait:
    """Waits for calls.

    Args:
        timeout: seconds that a call may cost.
    """

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        self._timeout = timeout
        self._clock = clock
        self._slow_since: float | None = None

    @property
    def slow(self) -> bool:
        """Whether all calls have been slow for so long that Redis counts as down."""
        return self._slow_since is not None and self._clock() - self._slow_since > SLOW_SECONDS

    async def ended(self, task: asyncio.Task[Any]) -> bool:
        """Wait for a call as long as it may take; return whether it has ended.

        The wait is in two halves, and one that its timer ended late is waited again.
        """
        allotment = current_allotment()
        half, halves = allotment.left(self._timeout) / 2, 0
        started = self._clock()
        for _ in range(MAX_HALVES):
            began = self._clock()
            if halves == 2 or await wait_until_done(task, half):
                break
            halves += self._clock() - began < 1.25 * half
        for _ in range(0 if task.done() else LAST_ROUNDS):
            await asyncio.sleep(0)
        if not task.done():
            return False
        took = self._clock() - started
        if halves == 0 or took < self._timeout / 2:
            self._slow_since = None
        else:
            allotment.charge(took)
            self._slow_since = started if self._slow_since is None else self._slow_since
        return True
