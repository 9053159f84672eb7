"""Pages, listings' records and leases in Redis.

Records move forward in a script, so that the answers of all replicas take effect one after the other. The
script tells all replicas of it. A lease says which replica asks the hub a question for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from proxy.answer.page import Page
from proxy.answer.record import MAX_AHEAD, Learned, Record
from proxy.questions.question import Question
from proxy.redis.claims import Claim
from proxy.redis.landings import landing
from proxy.redis.link import RedisLink
from proxy.redis.replies import LookupReply, read_kept, read_lease, read_lookup, read_store
from proxy.redis.scripts import Script
from proxy.redis.stored import microseconds, read_page, read_record, write_mark, write_page, write_record, write_stamp
from proxy.redis.stored_rows import ListingUpdate
from proxy.redis_keys import lease_keys, record_key, rows_keys

LEASE_SECONDS: Final = 2.0
"""Seconds after which the lease of a replica that does not renew it (killed, frozen, cut off) is another's."""
HANDOVER_SECONDS: Final = 2.0
"""Seconds for which Redis keeps any answer that others may wait for, however short it is fresh."""

_PAGE_LOOK: Final = Script("page_look", "rows", "numbers", "gate_load", "gate")
_PAGE_STORE: Final = Script("page_store", "rows")
_LEASE_TAKE: Final = Script("lease_take", "rows")
_PAGES_KEPT: Final = Script("pages_kept")


class Found(Struct, frozen=True):
    """A page, its listing's record and its rows, as they were at one moment.

    ``head`` and ``rows``: what the asker lacks of the rows, to be read by ``stored_rows``; a head of None: nothing,
    an empty one: none are kept. ``leased``: the lease that the asker claimed is its own. ``turn``: what was said of the
    turn that it wanted with it, as ``WantedTurn.read`` reads it.
    """

    page: Page | None = None
    record: Record | None = None
    head: bytes | None = None
    rows: tuple[bytes, ...] = ()
    leased: bool = False
    turn: Any | None = None


class Lease(Struct, frozen=True):
    """Who asks the hub: this replica if ``holder`` is its token, for ``seconds`` if it does not renew the lease."""

    holder: str
    seconds: float
    known: Found = Found()


class Shared:
    """Reads and writes Redis; None in place of a result: Redis could not be asked.

    Args:
        clock: Unix seconds; what is of long after that is not read.
    """

    def __init__(self, link: RedisLink, *, clock: Callable[[], float] = lambda: math.inf) -> None:
        self._link = link
        self._clock = clock

    @property
    def backing_off(self) -> bool:
        """Whether it is known that Redis cannot be asked just now."""
        return self._link.backing_off

    async def look_up(
        self,
        question: Question,
        version: str = "",
        *,
        page: Page | None = None,
        record: Record | None = None,
        claim: Claim | None = None,
    ) -> Found | None:
        """Return the page kept for the question, its listing's record, and the rows since ``version``.

        With a ``claim``, its lease is taken, and the turn that it wants, unless another replica has the lease, or
        something of use is kept that the asker does not know: it knows ``page``, ``record`` and the rows.
        """
        asked, token = (question, "") if claim is None else (claim.question, claim.token)
        lease = lease_keys(asked.page_key, token)
        keys = [question.page_key, record_key(question.listing), *rows_keys(question.listing), *lease]
        known = (b"" if page is None else write_mark(page), "" if record is None else write_record(record))
        arguments: list[Any] = [version, *known]
        arguments += (
            [""] if claim is None else [claim.token, int(LEASE_SECONDS * 1000), *map(microseconds, claim.useless)]
        )
        turn = None if claim is None else claim.turn
        if turn is not None:
            keys += turn.keys
            arguments += turn.arguments

        def read(raw: Any) -> tuple[LookupReply, Any]:
            reply = read_lookup(raw)
            return reply, None if turn is None or reply.turn is None else turn.read(reply.turn)

        found = await self._link.run(_PAGE_LOOK, "page_look", keys, arguments, read)
        return None if found is None else await self._read(question, *found, known=page)

    async def kept(self, questions: Sequence[Question]) -> list[str]:
        """The keys of those of which there is something in Redis: the page, or rows of the listing.

        In a cluster, where one script sees one listing only, that is not found out.
        """
        if not self._link.whole:
            return []
        keys = [key for one in questions for key in (one.page_key, rows_keys(one.listing)[0])]
        found = await self._link.run(_PAGES_KEPT, "pages_kept", keys, [], read_kept)
        return [one.key for one, known in zip(questions, found or [], strict=False) if known]

    async def take_lease(self, question: Question, token: str, version: str = "") -> Lease | None:
        """Take the question's lease unless another replica has it; its holder is told what is known, as by look_up."""
        listing = question.listing
        keys = [*lease_keys(question.page_key, token), question.page_key, record_key(listing), *rows_keys(listing)]
        found = await self._link.run(
            _LEASE_TAKE, "lease_take", keys, [token, int(LEASE_SECONDS * 1000), version], read_lease
        )
        if found is None:
            return None
        holder, milliseconds, known = found
        return Lease(holder, milliseconds / 1000, await self._read(question, known) if holder == token else Found())

    async def store(
        self,
        question: Question,
        page: Page,
        *,
        received_at: float,
        keep_page: float,
        keep_record: float,
        token: str = "",
        contradicts: bool = False,
        since: float = 0.0,
        rows: ListingUpdate | None = None,
    ) -> tuple[Record, Learned] | Found | None:
        """Move the listing's record forward by an answer that came at ``received_at``, and keep its page.

        The page is kept for ``keep_page`` seconds, not at all if that is no time; the record for ``keep_record``.
        With a lease's ``token`` it is kept until all who wait have it, the lease ends, and they are told.

        ``rows`` are those of the listing, if its record's since becomes ``since`` and nobody else has written any
        meanwhile. Else nothing is done, and what others know is returned, to be learned from. Where Redis has lost
        the record, ``since`` is taken over.
        """
        milliseconds = max(0, int(max(keep_page, HANDOVER_SECONDS if token else 0.0) * 1000))
        return await self._move(
            question.listing,
            Record(page.stamp, since, page.asked_at, received_at),
            keep_record,
            keys=[question.page_key, lease_keys(question.page_key, token)[0]],
            contradicts=contradicts,
            page=(await write_page(page) if milliseconds else b"", milliseconds),
            landed=(landing(question.page_key, token) if token else b"", token),
            rows=() if rows is None else rows.arguments,
        )

    async def report(self, listing: str, record: Record, *, moved: bool, keep_record: float) -> Record | None:
        """Move the listing's record forward by what was learned without Redis; return the one that is true now.

        ``moved``: the listing did, even if its totals are what Redis knows.
        """
        keys = [f"{listing}:none", f"{listing}:none"]
        result = await self._move(listing, record, keep_record, keys=keys, contradicts=moved)
        return result[0] if isinstance(result, tuple) else None

    async def _move(
        self,
        listing: str,
        answer: Record,
        keep_record: float,
        *,
        keys: list[str],
        contradicts: bool,
        page: tuple[bytes, int] = (b"", 0),
        landed: tuple[bytes, str] = (b"", ""),
        rows: Sequence[Any] = (),
    ) -> tuple[Record, Learned] | Found | None:
        asked_at, received_at, since = map(microseconds, (answer.confirmed_at, answer.received_at, answer.since))
        arguments: list[Any] = [write_stamp(answer.stamp), asked_at, received_at, int(contradicts), since, *page]
        arguments += [max(1, int(keep_record * 1000)), self._link.names.news, listing, *landed, *rows]
        keys = [record_key(listing), *keys, *rows_keys(listing)]
        result = await self._link.run(_PAGE_STORE, "page_store", keys, arguments, read_store)
        if result is None:
            return None
        record = None if result.record is None else self._read_record(result.record)
        if result.learned is None:
            return Found(None, record, *_lacking(result.head, result.rows))
        return None if record is None else (record, result.learned)

    async def _read(
        self,
        question: Question,
        reply: LookupReply,
        turn: Any | None = None,
        *,
        known: Page | None = None,
    ) -> Found:
        record = None if reply.record is None else self._read_record(reply.record)
        page, raw_page, latest = None, reply.page, self._clock() + MAX_AHEAD
        if record is not None and max(record.received_at, record.confirmed_at) > latest:
            await self._discard("record", record_key(question.listing), question.page_key, *rows_keys(question.listing))
            return Found(leased=bool(reply.leased), turn=turn)
        if raw_page is not None and record is not None:
            try:
                page = known if isinstance(raw_page, int) else await read_page(raw_page, question.key, known)
            except ValueError as error:
                self.garbage("page", error)
        if page is not None and page.asked_at > latest:
            await self._discard("page", question.page_key)
            page = None
        return Found(page, record, *_lacking(reply.head, reply.rows), leased=bool(reply.leased), turn=turn)

    async def _discard(self, what: Literal["page", "record"], *keys: str) -> None:
        """Delete what is of a time that nobody can have: all newer answers would be behind it, for as long as any come.

        As a Redis may forget anything, that does no harm where it was somebody's after all.
        """
        self.garbage(what, ValueError("of the future"))
        await self._link.call("page_look", lambda: self._link.client.delete(*keys))

    def _read_record(self, raw: bytes) -> Record | None:
        try:
            return read_record(raw)
        except ValueError as error:
            self.garbage("record", error)
            return None

    def garbage(self, what: Literal["page", "record", "rows"], error: ValueError) -> None:
        """Count a value that cannot be read, unless it is another release's."""
        self._link.garbage(what, error)


def _lacking(head: bytes | int, rows: list[bytes]) -> tuple[bytes | None, tuple[bytes, ...]]:
    """What an asker lacks of a listing's rows, as the scripts say it: 1, where that is nothing."""
    return head if isinstance(head, bytes) else None, tuple(rows)
