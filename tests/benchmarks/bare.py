"""An ASGI application that does nothing but what nobody can save: it holds all who ask, and answers with fixed bytes.

Run by ``python -m tests.benchmarks.bare PORT BYTES SECONDS``, on the proxy's server: uvicorn, uvloop, httptools.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn

from proxy.commands.sockets import LOOPBACK, listen


class Holding:
    """Answers all who have come within ``seconds`` of the first at once, then begins anew."""

    def __init__(self, size: int, seconds: float) -> None:
        self._body = b"x" * size
        self._seconds = seconds
        self._flight: asyncio.Task[None] | None = None

    async def __call__(self, scope: dict[str, Any], _: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(asyncio.sleep(self._seconds))
        await asyncio.wait({self._flight})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


if __name__ == "__main__":
    port, size, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    config = uvicorn.Config(
        Holding(size, seconds), loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False
    )
    with listen(LOOPBACK, port) as sock:
        uvicorn.Server(config).run(sockets=[sock])
