"""An answer of the hub as it comes in: its head, then its body as a stream (httpx' interface)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx


class Incoming(httpx.AsyncByteStream):
    """One answer. Whoever asked waits for its head, and then takes its body, part by part.

    Args:
        abandon: called when whoever asked wants no more of an answer that has not ended.

    Attributes:
        status: as the status line has it; 0 until then.
        headers: names and values, as they came.
        untaken: bytes of the body that have come, and that nobody has taken yet.
    """

    def __init__(self, abandon: Callable[[], object]) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.untaken = 0
        self._abandon = abandon
        self._parts: list[bytes] = []
        self._ended = False
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> httpx.Response:
        """Wait for the head; the body is the response's stream.

        Raises:
            httpx.TransportError: it did not come.
        """
        while not self.status:
            if self._error is not None:
                raise self._take_error()
            await self._woken()
        return httpx.Response(self.status, headers=self.headers, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts as they come.

        Raises:
            httpx.TransportError: it broke off.
        """
        while True:
            if self._parts:
                parts, self._parts, self.untaken = self._parts, [], 0
                yield parts[0] if len(parts) == 1 else b"".join(parts)
            elif self._error is not None:
                raise self._take_error()
            elif self._ended:
                return
            else:
                await self._woken()

    async def aclose(self) -> None:
        """No more of it is wanted."""
        if not self._ended:
            self._abandon()

    def begin(self, status: int) -> None:
        """The head has come."""
        self.status = status
        self._wake()

    def add(self, part: bytes) -> None:
        """A part of the body has come."""
        self._parts.append(part)
        self.untaken += len(part)
        self._wake()

    def end(self, error: httpx.TransportError | None = None) -> None:
        """All of it has come, or there is an ``error`` for which the rest will not."""
        self._ended, self._error = True, error
        self._wake()

    def _take_error(self) -> httpx.TransportError:
        """The error, which is not kept: its traceback holds this, and the garbage collector alone would find them."""
        error, self._error = self._error, None
        return error or httpx.ReadError("The answer broke off.")

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
