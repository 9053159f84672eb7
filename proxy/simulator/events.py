"""The hub's event stream: broadcast to whoever is connected, without buffer or replay."""

from __future__ import annotations

import asyncio

from proxy.simulator.wire import Writer, dumps
from proxy.simulator.world import Generation


class Events:
    """Tells each listener of completions, as complete ``text/event-stream`` blocks."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[bytes]] = set()

    def listen(self) -> asyncio.Queue[bytes]:
        """A queue of what happens from now on."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[bytes]) -> None:
        """No longer fill the queue."""
        self._listeners.discard(queue)

    def tell(self, row: Generation, writer: Writer, now: float) -> None:
        """A generation has ended. A cancellation is no event (hub facts: events)."""
        if row.status == "cancelled":
            return
        data: dict[str, object] = {"generation_id": row.id, "status": row.status, "media_type": row.media_type}
        if row.status == "succeeded":
            data |= {"model": row.model, "url": writer.link(row, now)}
        else:
            data["error"] = row.error
        block = f"event: media_generation_completed\ndata: {dumps(data)}\n\n".encode()
        for queue in self._listeners:
            queue.put_nowait(block)
