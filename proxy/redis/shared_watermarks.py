"""Watermarks of one kind in Redis, for all replicas."""

from __future__ import annotations

from typing import Final

from proxy.questions import watermarks
from proxy.questions.watermarks import Extent
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis_keys import Kind

_WATERMARK_ADD: Final = Script("watermark_add")
_WATERMARK_READ: Final = Script("watermark_read")


class SharedWatermarks:
    """Those of one kind, which is also what news of them begins with."""

    def __init__(self, link: RedisLink, kind: Kind) -> None:
        self._link = link
        self.kind = kind
        self._key = link.names.watermarks(kind)

    async def add(self, extent: Extent, at: float, *, keep: float) -> bool:
        """Tell all replicas; return whether that was possible. Kept for ``keep`` seconds."""
        arguments = [watermarks.write(extent), repr(at), int(keep * 1000), self._link.names.news, self.kind]
        return bool(await self._link.run(_WATERMARK_ADD, self.kind, [self._key], arguments))

    async def times(self) -> dict[Extent, float] | None:
        """All that are kept, and their times (Unix seconds); None: Redis cannot be asked."""

        def read(found: list[bytes]) -> dict[Extent, float]:
            return watermarks.read(dict(zip(found[::2], found[1::2], strict=True)))

        return await self._link.run(_WATERMARK_READ, self.kind, [self._key], [], read)
