"""Keeps something that expires from doing so while a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final

from proxy.tasks.detached import Detached

_RENEWALS: Final = Detached()


class Renewal:
    """Calls ``renew`` every ``interval`` seconds while its block runs. What takes less costs one timer.

    A class, as closures that know each other would be left to the garbage collector, at each miss.
    """

    _timer: asyncio.TimerHandle

    def __init__(self, interval: float, renew: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._interval = interval
        self._renew = renew

    def __enter__(self) -> None:
        self._wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)

    def _due(self) -> None:
        _RENEWALS.spawn(self._renew())
        self._wait()
