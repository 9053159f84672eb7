"""Encoded bodies of large pages in Redis, where one replica's work is all others': see ``Encoder`` for which."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from proxy.answer.freshness import keep_until
from proxy.answer.page import Page
from proxy.questions.question import Question
from proxy.redis.formats import check_format
from proxy.redis.link import RedisLink
from proxy.redis_keys import variant_key
from proxy.settings import CacheSettings

FORMAT: Final = 1


class _Value(Struct, frozen=True, array_like=True):
    """A variant, and of what it is one."""

    format: int
    key: str
    etag: str
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


class SharedVariants:
    """Reads and writes gzip variants; with zstd, Redis holds the pages themselves.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, link: RedisLink, cache: CacheSettings, *, clock: Callable[[], float]) -> None:
        self._link = link
        self._cache = cache
        self._clock = clock

    async def get(self, question: Question, page: Page) -> bytes | None:
        """The page's gzip variant; None: there is none, none that says what the page says, or no Redis."""
        client: Any = self._link.client
        raw = await self._link.call(
            "variant", lambda: cast("Awaitable[bytes | None]", client.get(variant_key(question.page_key)))
        )
        if raw is None:
            return None
        try:
            return await asyncio.to_thread(_read, raw, page)
        except (TypeError, ValueError, zlib.error) as error:
            self._link.garbage("variant", error)
            return None

    async def put(self, question: Question, page: Page, variant: bytes) -> None:
        """Keep the page's gzip variant for as long as the page can be of use."""
        keep = int((keep_until(page, self._cache) - self._clock()) * 1000)
        if keep > 0:
            client: Any = self._link.client
            key, value = variant_key(question.page_key), _encode(_Value(FORMAT, page.key, page.etag, variant))
            await self._link.call("variant", lambda: cast("Awaitable[Any]", client.set(key, value, px=keep)))


def _read(raw: bytes, page: Page) -> bytes | None:
    """The variant, held against the page: what Redis holds is never taken at its word. None: of the page before.

    Raises:
        ValueError, zlib.error: it is another's, of another format (OtherRelease), or none.
    """
    check_format(raw, FORMAT)
    value = _decode(raw)
    if value.key != page.key:
        raise ValueError("another page's variant")
    if value.etag != page.etag:
        return None
    reader = zlib.decompressobj(wbits=31)
    read = reader.decompress(value.body, len(page.body) + 1)  # no more is unpacked than it takes
    if read != page.body or not reader.eof or reader.unused_data:
        raise ValueError("a variant of another body")
    return value.body
