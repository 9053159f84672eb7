"""An answer of the hub as it comes in: its head, then its body as a stream (httpx' interface)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

HIGH_WATER: Final = 256 * 1024
"""Bytes of a body that nobody has taken yet, from which on no more are read."""


class Incoming(httpx.AsyncByteStream):
    """One answer. Whoever asked waits for its head, and then takes its body, part by part.

    Args:
        resume: called when parts were taken of a body that was ``full``.
        abandon: called when whoever asked wants no more of an answer that has not ended.

    Attributes:
        status: as the status line has it; 0 until then.
        headers: names and values, as they came.
        whole: whether all of it has come.
    """

    def __init__(self, resume: Callable[[], object], abandon: Callable[[], object]) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.whole = False
        self._resume = resume
        self._abandon = abandon
        self._parts: list[bytes] = []
        self._bytes = 0
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no more of it is to be read for now."""
        return self._bytes > HIGH_WATER

    async def head(self) -> httpx.Response:
        """Wait for the head; the body is the response's stream.

        Raises:
            httpx.TransportError: it did not come.
        """
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._woken()
        return httpx.Response(self.status, headers=self.headers, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts as they come.

        Raises:
            httpx.TransportError: it broke off.
        """
        while True:
            if self._parts:
                parts, was_full = self._parts, self.full
                self._parts, self._bytes = [], 0
                if was_full:
                    self._resume()
                yield parts[0] if len(parts) == 1 else b"".join(parts)
            elif self._error is not None:
                raise self._error
            elif self.whole:
                return
            else:
                await self._woken()

    async def aclose(self) -> None:
        """No more of it is wanted."""
        if not self.whole and self._error is None:
            self._abandon()

    def begin(self, status: int) -> None:
        """The head has come."""
        self.status = status
        self._wake()

    def add(self, part: bytes) -> None:
        """A part of the body has come."""
        self._parts.append(part)
        self._bytes += len(part)
        self._wake()

    def end(self) -> None:
        """All of it has come."""
        self.whole = True
        self._wake()

    def fail(self, error: httpx.TransportError) -> None:
        """The rest will not come."""
        self._error = error
        self._wake()

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
