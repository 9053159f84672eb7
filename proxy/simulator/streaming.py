"""The hub's event streams as they are sent, and as they fail."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any

from proxy.simulator.events import Events
from proxy.simulator.faults import Fault
from proxy.simulator.sending import Receive, Send, disconnected

KEEP_ALIVE = 15.0
MOMENT = 0.05
_GARBAGE = b"\xff\xfe\0 no: field\ndata\nevent: \xf0\x9f\n\nretry: soon\n: \r\r\n\ndata: [\n\nid: \0\n"


class Streams:
    """All open streams.

    Attributes:
        opened: how many there have been.
        open: how many there are, by what ``label`` makes of their token.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._cut = asyncio.Event()
        self.opened = 0
        self.open: Counter[str] = Counter()

    def cut(self) -> None:
        """End all that are open."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def serve(self, token: str, fault: Fault, receive: Receive, send: Send) -> None:
        """Serve a stream until it is left or cut."""
        cut: asyncio.Future[Any] = asyncio.ensure_future(self._cut.wait())
        gone: asyncio.Future[Any] = asyncio.ensure_future(disconnected(receive))
        queue = self._events.listen()
        self.opened += 1
        self.open[label(token)] += 1
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b": connected\n\n", "more_body": True})
            await self._tell(queue, fault, {cut, gone}, send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.open[label(token)] -= 1
            self._events.leave(queue)
            cut.cancel()
            gone.cancel()

    async def _tell(
        self,
        queue: asyncio.Queue[bytes],
        fault: Fault,
        ends: set[asyncio.Future[Any]],
        send: Send,
    ) -> None:
        while not any(end.done() for end in ends):
            block = asyncio.ensure_future(queue.get())
            wait = KEEP_ALIVE if fault.stream in (None, "silent") else MOMENT
            await asyncio.wait({block, *ends}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            body = block.result() if block.done() else b": keep-alive\n\n"
            block.cancel()
            match fault.stream:
                case "cut":
                    return
                case "silent":
                    body = b""
                case "garbage":
                    body = _GARBAGE + (body if body.startswith(b"event") else b"")
                case "endless":
                    body = b"x" * 8192
            if body and not any(end.done() for end in ends):
                await send({"type": "http.response.body", "body": body, "more_body": True})


def label(token: str) -> str:
    """A token as the count of streams names it."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]
