"""ASGI as the simulator uses it, and how an answer is sent or broken off."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from proxy.simulator.faults import Fault

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Refusal(Exception):
    """The request ends with this status and the hub's error envelope."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def send_answer(send: Send, status: int, body: bytes, fault: Fault) -> None:
    """Send an answer with the hub's headers, as the fault lets it."""
    body = body if fault.content is None else fault.content.encode()
    headers = {
        "content-type": fault.content_type,
        "content-length": str(len(body)),
        "cache-control": "max-age=0, private, must-revalidate",
        "x-request-id": uuid.uuid4().hex,
        "set-cookie": "_oxen_hub_key=simulated-session; path=/; HttpOnly",
    }
    if fault.retry_after is not None:
        headers["retry-after"] = fault.retry_after
    if fault.location is not None:
        headers["location"] = fault.location
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    if fault.cut_off is not None:
        # Less than was announced: the server closes the connection.
        await send({"type": "http.response.body", "body": body[: fault.cut_off], "more_body": True})
        return
    if fault.drip:
        size = max(1, math.ceil(len(body) / 16))
        for start in range(0, len(body), size):
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
            await asyncio.sleep(fault.drip)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def received(receive: Receive) -> bytes:
    """The request's whole body."""
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def disconnected(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
