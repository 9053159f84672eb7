"""Pages, listings' records, leases and purges in Redis.

Records move forward in a script, so that the answers of all replicas take effect one after the other. The
script tells all replicas of it. A lease says which replica asks the hub a question for all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, Literal, cast

from msgspec import Struct

from proxy import purges
from proxy.listing import Learned, Record
from proxy.page import Page
from proxy.purges import Purge
from proxy.question import REDIS_PREFIX, Question, record_key
from proxy.redis_link import RedisLink, Script
from proxy.stored import microseconds, read_page, read_record, write_page, write_stamp

NEWS: Final = f"{REDIS_PREFIX}:news"
"""The channel: ``record <listing> <record>``, ``purged``, ``landed <page> <token> <failure>``, ``room <gate>``."""
PURGES: Final = f"{REDIS_PREFIX}:purges"
"""A hash of purges and their times (Unix seconds)."""
LEASE: Final = 2.0
"""Seconds after which the lease of a replica that does not renew it (killed, frozen, cut off) is another's."""
HANDOVER: Final = 2.0
"""Seconds for which Redis keeps any answer that others may wait for, however short it is fresh."""

_LEARN: Final = Script("learn")
_LEAD: Final = Script("lead")
_RENEW: Final = Script("renew")
_LAND: Final = Script("land")
_PURGE: Final = Script("purge")

Known = tuple[Page | None, Record | None]
"""A page and its listing's record, as they were at one moment."""


class Lead(Struct, frozen=True):
    """Who asks the hub: this replica if ``holder`` is its token, for ``seconds`` if it does not renew the lease."""

    holder: str
    seconds: float
    known: Known = (None, None)


class Shared:
    """Reads and writes Redis; None in place of a result: Redis could not be asked."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def look(self, question: Question) -> Known | None:
        """Return the page kept for the question and its listing's record."""
        keys = [question.page_key, record_key(question.listing)]
        found = await self._link.call(
            "look", lambda: cast("Awaitable[list[bytes | None]]", self._link.client.mget(keys))
        )
        return None if found is None else await self._read(question, *found)

    async def lead(self, question: Question, token: str) -> Lead | None:
        """Take the question's lease unless another replica has it; the holder is also told what is known."""
        keys = [_lease_key(question), question.page_key, record_key(question.listing)]
        found = await self._link.run(_LEAD, "lead", keys, [token, int(LEASE * 1000)])
        if found is None:
            return None
        holder, seconds = found[0].decode(errors="replace"), found[1] / 1000
        return Lead(holder, seconds, await self._read(question, *found[2:]) if holder == token else (None, None))

    async def renew(self, question: Question, token: str) -> None:
        """Keep the lease for another while."""
        await self._link.run(_RENEW, "renew", [_lease_key(question)], [token, int(LEASE * 1000)])

    async def land(self, question: Question, token: str, failure: bytes = b"") -> None:
        """Give up the lease without a page; who waits is told why, if there is something to tell."""
        news = write_landing(question, token, failure)
        await self._link.run(_LAND, "land", [_lease_key(question)], [token, NEWS, news])

    async def learn(
        self, question: Question, page: Page, *, heard_at: float, keep_page: float, keep_record: float, token: str = ""
    ) -> tuple[Record, Learned] | None:
        """Move the listing's record forward by an answer that came at ``heard_at``, and keep its page.

        The page is kept for ``keep_page`` seconds, not at all if that is no time; the record for ``keep_record``.
        With a lease's ``token`` it is kept until all who wait have it, the lease ends, and they are told.
        """
        milliseconds = max(0, int(max(keep_page, HANDOVER if token else 0.0) * 1000))
        return await self._move(
            question.listing,
            Record(page.stamp, 0.0, page.asked_at, heard_at),
            keep_record,
            keys=[question.page_key, _lease_key(question)],
            page=(await write_page(page) if milliseconds else b"", milliseconds),
            landing=(write_landing(question, token) if token else b"", token),
        )

    async def tell(self, listing: str, record: Record, *, keep_record: float) -> tuple[Record, Learned] | None:
        """Move the listing's record forward by what was learned without Redis."""
        return await self._move(listing, record, keep_record, keys=[f"{listing}:none", f"{listing}:none"])

    async def _move(
        self,
        listing: str,
        answer: Record,
        keep_record: float,
        *,
        keys: list[str],
        page: tuple[bytes, int] = (b"", 0),
        landing: tuple[bytes, str] = (b"", ""),
    ) -> tuple[Record, Learned] | None:
        arguments: list[Any] = [
            *(write_stamp(answer.stamp), microseconds(answer.confirmed_at), microseconds(answer.heard_at)),
            *(*page, max(1, int(keep_record * 1000)), NEWS, listing, *landing),
        ]
        result = await self._link.run(_LEARN, "learn", [record_key(listing), *keys], arguments)
        record = None if result is None else self._read_record(result[1])
        if result is None or record is None:
            return None
        return record, cast("Learned", result[0].decode())

    async def purge(self, purge: Purge, at: float, *, keep: float) -> bool:
        """Tell all replicas of a purge; return whether that was possible. Purges are kept for ``keep`` seconds."""
        arguments = [purges.write(purge), repr(at), int(keep * 1000), NEWS]
        return bool(await self._link.run(_PURGE, "purge", [PURGES], arguments))

    async def purges(self) -> dict[Purge, float]:
        """All purges that are kept; none if Redis cannot be asked."""
        found = await self._link.call(
            "purges", lambda: cast("Awaitable[dict[bytes, bytes]]", self._link.client.hgetall(PURGES))
        )
        return purges.read(found or {})

    async def _read(self, question: Question, raw_page: bytes | None = None, raw_record: bytes | None = None) -> Known:
        record = None if raw_record is None else self._read_record(raw_record)
        if raw_page is None or record is None:
            return None, record
        try:
            return await read_page(raw_page, question.key), record
        except ValueError as error:
            self._garbage("page", error)
            return None, record

    def _read_record(self, raw: bytes) -> Record | None:
        try:
            return read_record(raw)
        except ValueError as error:
            self._garbage("record", error)
            return None

    def _garbage(self, what: Literal["page", "record"], error: ValueError) -> None:
        self._link.count(what, type(error.__cause__ or error).__name__)


def _lease_key(question: Question) -> str:
    return f"{question.page_key}:lease"


def write_landing(question: Question, token: str, failure: bytes = b"") -> bytes:
    """The message that says how the flight of a lease ended."""
    return b"landed %b %b %b" % (question.page_key.encode(), token.encode(), failure)
