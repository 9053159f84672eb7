"""Many callers at the same moment, over raw sockets: httpx with a thousand connections would measure itself."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 60.0


@dataclass(frozen=True)
class Answered:
    """What a caller got: status 0 if it hung up; ``at`` by the monotonic clock, when the answer was whole."""

    status: int
    headers: dict[str, str]
    body: bytes
    at: float


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, *headers: str) -> Answered:
    """Ask on an open connection, and read the answer to its end."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *headers))
    writer.write(f"{head}\r\n".encode())
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    given = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(given.get("content-length", "0")))
    return Answered(int(lines[0].split()[1]), given, body, time.monotonic())


async def herd(urls: list[str], *, hang_up: float = 0.0, seed: int = 1) -> tuple[float, list[Answered]]:
    """Have one caller for each URL ask at once; return when they began and what they got.

    All are connected before the first asks. A share of ``hang_up``, the first included, leaves within 0.1 s.
    """
    async with asyncio.timeout(PATIENCE):
        connections = []
        for url in urls:
            parts = urlsplit(url)
            connections.append(await asyncio.open_connection(parts.hostname, parts.port))
        rng = random.Random(seed)

        async def caller(number: int, url: str) -> Answered:
            reader, writer = connections[number]
            leaves = hang_up and (number == 0 or rng.random() < hang_up)
            try:
                async with asyncio.timeout(rng.uniform(0.0, 0.1) if leaves else None):
                    return await ask(reader, writer, url)
            except TimeoutError:
                return Answered(0, {}, b"", time.monotonic())
            finally:
                writer.close()

        began = time.monotonic()
        answers = await asyncio.gather(*(caller(number, url) for number, url in enumerate(urls)))
    for _, writer in connections:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return began, list(answers)
