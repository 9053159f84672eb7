"""Pages and listings' records in Redis, shared by all replicas.

A page's value carries its full key and a format version and is checked on reading (redis-py once gave one
caller another's data); what fails the check is a counted fault and a miss. A record is text,
``since confirmed_at heard_at version stamp``, and moves forward in a script, so that the answers of all replicas
take effect one after the other. The script tells all replicas of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
import zstandard
from msgspec import Struct

from proxy import purges
from proxy.listing import Learned, Record, Stamp
from proxy.page import Page
from proxy.purges import Purge
from proxy.question import REDIS_PREFIX, Question, record_key
from proxy.redis_link import RedisLink

FORMAT: Final = 2
NEWS: Final = f"{REDIS_PREFIX}:news"
"""The channel on which a changed record is told, as ``listing record``."""
PURGED: Final = b"purged"
"""The message on the same channel when something was purged."""
PURGES: Final = f"{REDIS_PREFIX}:purges"
"""A hash of purges and their times (Unix seconds)."""
OFF_LOOP: Final = 128 * 1024
"""Bytes from which (de)compression is worth a thread: below it takes less than about 0.5 ms."""
_MAX_BODY: Final = 2**30

# The rules of listing.learn. Times are whole microseconds, as text: Lua's numbers hold them exactly but would
# print them rounded. KEYS: record, page. ARGV: stamp, asked at, heard at, page's value, page's PX in ms (0: do
# not keep), record's PX in ms, channel, listing.
_LEARN: Final = """
local stamp, asked, heard = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local function text(number) return string.format('%.0f', number) end
local record = redis.pcall('GET', KEYS[1])
local since, confirmed, known_heard, version, known
if type(record) == 'string' then
  since, confirmed, known_heard, version, known = string.match(record, '^(%d+) (%d+) (%d+) (%d+) (.*)$')
end
local outcome
if not known then
  outcome, since, confirmed, version = 'moved', 0, asked, 1
else
  since, confirmed, known_heard = tonumber(since), tonumber(confirmed), tonumber(known_heard)
  heard, version = math.max(heard, known_heard), tonumber(version) + 1
  if stamp == known and asked >= since then
    outcome, confirmed = 'confirmed', math.max(asked, confirmed)
  elseif asked >= known_heard then
    outcome, since, confirmed = 'moved', known_heard, asked
  else
    return {'behind', record}
  end
end
record = table.concat({text(since), text(confirmed), text(heard), text(version), stamp}, ' ')
redis.call('SET', KEYS[1], record, 'PX', ARGV[6])
if ARGV[5] ~= '0' then
  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
end
redis.call('PUBLISH', ARGV[7], ARGV[8] .. ' ' .. record)
return {outcome, record}
"""


class _Value(Struct, frozen=True, array_like=True):
    format: int
    key: str
    body: bytes
    etag: str
    asked_at: float
    stamp: Stamp
    settled: bool
    dead_at: float | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


class Shared:
    """Reads and writes pages and records in Redis; None in place of a result: Redis could not be asked."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._learn = link.client.register_script(_LEARN)

    async def look(self, question: Question) -> tuple[Page | None, Record | None] | None:
        """Return the page kept for the question and its listing's record, as they are at one moment."""
        keys = [question.page_key, record_key(question.listing)]
        found = await self._link.call(
            "look", lambda: cast("Awaitable[list[bytes | None]]", self._link.client.mget(keys))
        )
        if found is None:
            return None
        raw_page, raw_record = found
        record = None if raw_record is None else self._read_record(raw_record)
        page = None if raw_page is None or record is None else await self._read_page(raw_page, question.key)
        return page, record

    async def learn(
        self, question: Question, page: Page, *, heard_at: float, keep_page: float, keep_record: float
    ) -> tuple[Record, Learned] | None:
        """Move the listing's record forward by an answer that came at ``heard_at``, and keep its page.

        The page is kept for ``keep_page`` seconds, not at all if that is no time; the record for ``keep_record``.
        """
        milliseconds = max(0, int(keep_page * 1000))
        value = await self._write_page(page) if milliseconds else b""
        answer = Record(page.stamp, 0.0, page.asked_at, heard_at)
        return await self._move(question.listing, answer, keep_record, question.page_key, value, milliseconds)

    async def tell(self, listing: str, record: Record, *, keep_record: float) -> tuple[Record, Learned] | None:
        """Move the listing's record forward by what was learned without Redis."""
        return await self._move(listing, record, keep_record, f"{listing}:none", b"", 0)

    async def _move(
        self, listing: str, answer: Record, keep_record: float, page_key: str, value: bytes, milliseconds: int
    ) -> tuple[Record, Learned] | None:
        keys = [record_key(listing), page_key]
        arguments: list[Any] = [
            *(write_stamp(answer.stamp), _microseconds(answer.confirmed_at), _microseconds(answer.heard_at)),
            *(value, milliseconds, max(1, int(keep_record * 1000)), NEWS, listing),
        ]
        result = await self._link.call(
            "learn", lambda: cast("Awaitable[list[bytes]]", self._learn(keys=keys, args=arguments))
        )
        record = None if result is None else self._read_record(result[1])
        if result is None or record is None:
            return None
        return record, cast("Learned", result[0].decode())

    async def purge(self, purge: Purge, at: float, *, keep: float) -> bool:
        """Tell all replicas of a purge; return whether that was possible. Purges are kept for ``keep`` seconds."""

        async def transaction() -> bool:
            async with self._link.client.pipeline(transaction=True) as pipeline:
                pipeline.hset(PURGES, purges.write(purge), repr(at))
                pipeline.pexpire(PURGES, int(keep * 1000))
                pipeline.publish(NEWS, PURGED)
                await pipeline.execute()
            return True

        return bool(await self._link.call("purge", transaction))

    async def purges(self) -> dict[Purge, float]:
        """All purges that are kept; none if Redis cannot be asked."""
        found = await self._link.call(
            "purges", lambda: cast("Awaitable[dict[bytes, bytes]]", self._link.client.hgetall(PURGES))
        )
        return purges.read(found or {})

    def _read_record(self, raw: bytes) -> Record | None:
        try:
            return read_record(raw)
        except ValueError as error:
            self._link.count("record", error)
            return None

    async def _read_page(self, raw: bytes, key: str) -> Page | None:
        try:
            value = _checked(_decode(raw), key)
            body = await _off_loop_if_large(_decompress, value.body, zstandard.frame_content_size(value.body))
        except (msgspec.MsgspecError, zstandard.ZstdError, ValueError, MemoryError) as error:
            self._link.count("page", error)
            return None
        return Page(key, body, value.etag, value.asked_at, value.stamp, value.settled, value.dead_at)

    async def _write_page(self, page: Page) -> bytes:
        body = await _off_loop_if_large(_compress, page.body, len(page.body))
        return _encode(_Value(FORMAT, page.key, body, page.etag, page.asked_at, page.stamp, page.settled, page.dead_at))


def write_stamp(stamp: Stamp) -> str:
    """A stamp as text, equal exactly for equal stamps."""
    return f"{stamp.total_entries} {'n' if stamp.total_cost is None else 's' + stamp.total_cost}"


def read_record(raw: bytes) -> Record:
    """Read a record's text.

    Raises:
        ValueError: it is none.
    """
    since, confirmed_at, heard_at, version, text = raw.decode().split(" ", 4)
    entries, _, cost = text.partition(" ")
    stamp = Stamp(int(entries), None if cost == "n" else cost.removeprefix("s"))
    return Record(stamp, int(since) / 1e6, int(confirmed_at) / 1e6, int(heard_at) / 1e6, int(version))


def read_news(raw: bytes) -> tuple[str, Record]:
    """Read a message of the channel: which listing, and its record.

    Raises:
        ValueError: it is none.
    """
    listing, _, record = raw.partition(b" ")
    return listing.decode(), read_record(record)


def _microseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e6))


def _checked(value: _Value, key: str) -> _Value:
    if value.format != FORMAT or value.key != key:
        raise ValueError("another format, or another page's value")
    return value


def _compress(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(body)


def _decompress(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(body)


async def _off_loop_if_large(work: Callable[[bytes], bytes], body: bytes, size: int) -> bytes:
    if size < 0 or size > _MAX_BODY:
        raise ValueError("no size, or one beyond any page's, in the frame")
    return await asyncio.to_thread(work, body) if size > OFF_LOOP else work(body)
