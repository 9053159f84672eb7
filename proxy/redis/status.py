"""What each process tells of itself, in Redis, so that any of them can show all: a hash that nobody needs to tidy."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, cast

from proxy.redis.link import RedisLink

REPORT_TIMEOUT: Final = 20.0
"""Seconds after which a process that tells nothing any more is left out."""


class SharedStatus:
    """Writes and reads what processes tell."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._key = link.names.status

    async def publish(self, process: str, at: float, report: bytes) -> None:
        """Tell of this process."""
        client: Any = self._link.client

        async def write() -> None:
            await client.hset(self._key, process, b"%.3f %b" % (at, report))
            await client.pexpire(self._key, int(3 * REPORT_TIMEOUT * 1000))

        await self._link.call("status", write)

    async def read(self, now: float) -> dict[str, bytes] | None:
        """What all processes tell that are there, by id; None: Redis could not be asked."""
        client: Any = self._link.client
        found = await self._link.call(
            "status", lambda: cast("Awaitable[dict[bytes, bytes]]", client.hgetall(self._key))
        )
        read = self._link.read("status", found, lambda them: _read(them, now))
        if read is None:
            return None
        reports, gone = read
        if gone:
            await self._link.call("status", lambda: cast("Awaitable[int]", client.hdel(self._key, *gone)))
        return reports

    async def withdraw(self, process: str) -> None:
        """Tell no more of this process: it ends."""
        client: Any = self._link.client
        await self._link.call("status", lambda: cast("Awaitable[int]", client.hdel(self._key, process)))


def _read(found: dict[bytes, bytes], now: float) -> tuple[dict[str, bytes], list[bytes]]:
    """What those tell that are there, and who is gone."""
    reports: dict[str, bytes] = {}
    gone: list[bytes] = []
    for process, value in found.items():
        at, _, rest = value.partition(b" ")
        try:
            there = abs(now - float(at)) < REPORT_TIMEOUT
        except ValueError:
            there = False
        if there:
            reports[process.decode(errors="replace")] = rest
        else:
            gone.append(process)
    return reports, gone
