"""A page: one answer of the hub to one question, as it is kept; of whatever kind the question is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, assert_never

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proxy.answer import links
from proxy.answer.encodings import Coding
from proxy.answer.lenient_json import decode_leniently, text_of
from proxy.answer.record import Stamp
from proxy.contract import TERMINAL_STATUSES
from proxy.errors import HubAnswerCutOff, HubAnswerNotAPage, HubAnswerNotJSON
from proxy.questions.question import Question


class Page(Struct, frozen=True, gc=False):
    """A 200 or 404 of the hub, byte for byte, or a page composed of its rows, with what judging it needs.

    Attributes:
        key: the full key of the question, checked wherever a page is read back.
        body: the hub's bytes.
        etag: strong entity tag of ``body``, with its quotes (RFC 9110 §8.8.3).
        asked_at: Unix seconds at which the hub was asked: what the body says was true then or later
            (the conservative reading of RFC 9111 §4.2.3).
        stamp: totals of the listing in this answer; where it has none, what tells its moment from others.
        settled: every row is terminal.
        dead_at: Unix seconds from which a link in it is dead, or None.
        single: one generation.
        status: 200, or 404 where the hub knows of nothing; see ``found``.
        rows_at: Unix seconds at which the hub was asked for that of its rows which was seen the longest ago; of a
            live page, of those in flight. None: with all of it, at ``asked_at``.
        composed: put together from rows of several answers.
        moment: the token of the moment that it is of, if that can be returned to.
        lead, sent_at: as ``links.dead_at`` takes them, of an answer that has just come: its rows have links, too.
        variants: the body as it has been encoded so far; no part of what the page says. Once the page is in memory,
            only ``Memory.enrich`` adds to them.
    """

    key: str
    body: bytes
    etag: str
    asked_at: float
    stamp: Stamp
    settled: bool
    dead_at: float | None
    single: bool = False
    status: int = 200
    rows_at: float | None = None
    composed: bool = False
    moment: str = ""
    lead: float = 0.0
    sent_at: float | None = None
    variants: dict[Coding, bytes] = {}

    @property
    def found(self) -> bool:
        """Whether the hub knows of what was asked for."""
        return self.status == 200

    @property
    def seen_at(self) -> float:
        """Unix seconds at which the hub was asked for the oldest of what is shown."""
        return self.asked_at if self.rows_at is None else self.rows_at


NULL_BODY: Final = b"null"
"""The body of a 404 whose own is unfit to pass on."""


class _Status(Struct):
    status: str | None = None


class _Row(Struct):
    generation_id: str
    status: str | None = None


class _Head(Struct):
    """What is read of a page; the contract's members without which it is none."""

    count: int
    generations: list[_Status]
    page_number: int
    page_size: int
    total_pages: int
    total_entries: int
    total_cost: msgspec.Raw


class _Queue(Struct):
    count: int
    generations: list[_Row]


class _Shown(Struct):
    generation: _Row


class _Owned(Struct):
    target_namespace: msgspec.Raw = msgspec.Raw(b"null")


class _ShownOwned(Struct):
    generation: _Owned


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_queue = msgspec.json.Decoder(_Queue).decode
_decode_shown = msgspec.json.Decoder(_Shown).decode
_decode_row = msgspec.json.Decoder(_Row).decode
_decode_shown_owned = msgspec.json.Decoder(_ShownOwned).decode
_decode_owned = msgspec.json.Decoder(_Owned).decode


def parse_page(
    question: Question, body: bytes, asked_at: float, lead: float = 0.0, sent_at: float | None = None
) -> Page:
    """Judge the body of a hub's 200 to be an answer to the question. It is read, never rewritten.

    ``lead``, ``sent_at``: as of ``links.dead_at``.

    Unlisted members and statuses pass (hub facts: rows); a row without a terminal status is in flight.

    Raises:
        HubAnswerNotJSON, HubAnswerCutOff, HubAnswerNotAPage: saying what was found.
    """
    try:
        if not body.isascii():
            body.decode("utf-8")  # msgspec does not look into the strings that it skips
        rows, stamp = _rows(question, body)
    except UnicodeDecodeError:
        raise HubAnswerNotJSON("The hub's answer is not valid UTF-8.", hub_status=200) from None
    except msgspec.ValidationError as error:
        raise HubAnswerNotAPage(f"The hub's answer breaks its contract: {error}.", hub_status=200) from None
    except msgspec.DecodeError as error:
        if "truncated" in str(error) and body.strip():
            raise HubAnswerCutOff("The hub's answer ends in the middle of its JSON.", hub_status=200) from None
        raise HubAnswerNotJSON("The hub's answer is not JSON.", hub_status=200) from None
    return Page(
        key=question.key,
        body=body,
        etag=etag_of(body),
        asked_at=asked_at,
        stamp=stamp,
        settled=question.settles and all(row.status in TERMINAL_STATUSES for row in rows),
        dead_at=links.dead_at(body, asked_at, lead, sent_at),
        single=question.single,
        lead=lead,
        sent_at=sent_at,
    )


def with_moment(page: Page, moment: str) -> Page:
    """The page as it is kept, with the token of its moment. Its variants are its own: memory counts what it keeps."""
    return replace(page, moment=moment, lead=0.0, sent_at=None, variants=dict(page.variants))


def not_found(question: Question, body: bytes | None, asked_at: float) -> Page:
    """The hub's 404 to the question, with its body if that may be passed on; it is never settled."""
    body = NULL_BODY if body is None else body
    stamp = Stamp(0, "404")
    return Page(question.key, body, etag_of(body), asked_at, stamp, settled=False, dead_at=None, status=404)


def namespace_of(question: Question, page: Page) -> str | None:
    """The namespace that a single generation's row names; None where it names none, and what is no text names none.

    That may be, as what was asked for is merged into rows as it came (hub facts: rows).
    """
    shown = question.kind == "generation"
    row = (
        decode_leniently(_decode_shown_owned, page.body).generation
        if shown
        else decode_leniently(_decode_owned, page.body)
    )
    named = bytes(row.target_namespace)
    return msgspec.json.decode(named, type=str) if named.startswith(b'"') else None


def _rows(question: Question, body: bytes) -> tuple[Sequence[_Status | _Row], Stamp]:
    """The rows of an answer, and the moment that it is of.

    Only pages come with totals. A queue is told apart by its rows and their statuses; it shows no cost. A generation
    may still be charged after it has ended (hub facts: rows), so that it is told apart by all that it shows but its
    links, which are signed afresh for each answer.
    """
    rows: Sequence[_Row]
    match question.kind:
        case "page":
            head = decode_leniently(_decode_head, body)
            return head.generations, Stamp(head.total_entries, text_of(head.total_cost, "$.total_cost"))
        case "queue":
            rows = decode_leniently(_decode_queue, body).generations
        case "generation":
            rows = [decode_leniently(_decode_shown, body).generation]
        case "queued":
            rows = [decode_leniently(_decode_row, body)]
        case _:
            assert_never(question.kind)
    if question.single and rows[0].generation_id.lower() != question.place:
        raise msgspec.ValidationError("it is of another generation")
    if question.single:
        moment = links.without_signatures(body)
    else:
        moment = "\n".join(f"{row.generation_id} {row.status}" for row in rows).encode("utf-8", "surrogatepass")
    return rows, Stamp(len(rows), hashlib.sha256(moment).hexdigest()[:32])


def etag_of(body: bytes) -> str:
    """The entity tag of a body: the same for the same bytes, fetched or composed, in every replica."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
