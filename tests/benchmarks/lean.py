"""A caller that costs little: one kept-alive connection, GET, Content-Length. httpx takes ten times as long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit


class Lean:
    """Asks one server, one request at a time.

    Raises:
        OSError, EOFError, ValueError: from ``get``; the next one makes a new connection.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        given = {"host": parts.netloc, **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in lower case) and body."""
        streams, self._streams = self._streams, None
        reader, writer = streams or await asyncio.open_connection(*self._address, limit=2**20)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        writer.write(f"GET {target} HTTP/1.1\r\n{self._headers}{more}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(got.get("content-length", "0")))
        if got.get("connection", "").lower() != "close":
            self._streams = (reader, writer)
        else:
            writer.close()
        return int(head[0].split(" ")[1]), got, body

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
