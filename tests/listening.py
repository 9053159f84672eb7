"""Listeners to event streams over raw sockets: hundreds of them cost less than clients of a library would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

EVENTS = "/api/events"


@dataclass
class Heard:
    """What a listener has got so far.

    Attributes:
        blocks: each as its fields; comments under the empty name.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    blocks: list[dict[str, str]] = field(default_factory=list)
    ended: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def completions(self) -> list[str]:
        """The ids of the generations, in order."""
        import json  # noqa: PLC0415

        done = [one for one in self.blocks if one.get("event") == "media_generation_completed"]
        return [json.loads(one["data"])["generation_id"] for one in done]

    @property
    def gaps(self) -> int:
        return sum(one.get("event") == "gap" for one in self.blocks)

    @property
    def last_id(self) -> str:
        return next((one["id"] for one in reversed(self.blocks) if "id" in one), "")


async def _read(reader: asyncio.StreamReader, heard: Heard) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    heard.headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    heard.status = int(head[0].split()[1])
    if "content-length" in heard.headers:
        heard.blocks.append({"body": (await reader.readexactly(int(heard.headers["content-length"]))).decode()})
        return
    rest = ""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        rest += (await reader.readexactly(size + 2))[:-2].decode()
        *blocks, rest = rest.split("\n\n")
        heard.blocks += [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]


@asynccontextmanager
async def listening(base: str, *headers: str, path: str = EVENTS, wait: bool = True) -> AsyncIterator[Heard]:
    """Listen for the length of the block; once inside, the stream has begun."""
    parts = urlsplit(base)
    heard = Heard()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", *headers))
    writer.write(f"{head}\r\n".encode())

    async def read() -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _read(reader, heard)
        heard.ended = True

    heard.task = asyncio.create_task(read())
    try:
        async with asyncio.timeout(30):
            while wait and not heard.blocks and not heard.ended:
                await asyncio.sleep(0.005)
        yield heard
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await heard.task
