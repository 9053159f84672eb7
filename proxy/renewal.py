"""Keeps something that expires from doing so while a block runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from proxy.detached import Detached

_RENEWALS: Final = Detached()


@contextlib.contextmanager
def renewing(interval: float, renew: Callable[[], Coroutine[Any, Any, object]]) -> Iterator[None]:
    """Call ``renew`` every ``interval`` seconds while the block runs. What takes less costs one timer."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def due() -> None:
        _RENEWALS.spawn(renew())
        wait()

    def wait() -> None:
        nonlocal timer
        timer = loop.call_later(interval, due)

    wait()
    try:
        yield
    finally:
        timer.cancel()
