"""Work on large bodies, in a thread: on the event loop, it would hold up all callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OFF_LOOP_BYTES: Final = 128 * 1024
"""Bytes of a body up to which coding it, or reading it, takes less than 0.5 ms."""


async def off_loop_if_large(size: int, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Return what ``work`` makes of a body of ``size`` bytes, done in a thread if it is large."""
    return await asyncio.to_thread(work, *arguments) if size > OFF_LOOP_BYTES else work(*arguments)
