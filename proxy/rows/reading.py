"""The rows of a list answer, each as the hub sent it, with what is known of it. Pure."""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
from msgspec import Struct

from proxy.answer import links
from proxy.answer.lenient_json import decode_leniently
from proxy.answer.page import Page
from proxy.answer.record import Stamp
from proxy.contract import TERMINAL_STATUSES
from proxy.questions.question import Question
from proxy.rows.envelope import Envelope, Unfit, take_apart, total_pages
from proxy.text_cache import text_cache

DIGEST_BYTES: Final = 12
"""Bytes of a row's digest."""
MAX_INTEGER_DIGITS: Final = 30
MAX_DECIMALS: Final = 60
"""The places before and after the point of amounts that are added up; more make no sense as money."""
NEAR_EXPIRY: Final = 1200.0
"""Seconds: where a link of an answer dies sooner, each row is searched for its own links."""


class Row(Struct, frozen=True, array_like=True, gc=False):
    """A row as an answer showed it.

    Attributes:
        id: ``generation_id``, as the hub writes it.
        text: the row's bytes.
        settled: its status is terminal.
        cost: what ``cost`` adds to the listing's total; null adds nothing.
        dead_at: Unix seconds from which a link in it is dead, or None.
        asked_at: Unix seconds at which the hub was asked.
        digest: of ``text``; two rows with equal digests are the same bytes.
    """

    id: str
    text: bytes
    settled: bool
    cost: Decimal
    dead_at: float | None
    asked_at: float
    digest: bytes


class Window(Struct, frozen=True):
    """What one answer shows of its listing: the rows from ``start`` on, and the totals of all.

    ``ends``: the listing has no row after these.
    """

    start: int
    rows: tuple[Row, ...]
    stamp: Stamp
    asked_at: float
    envelope: Envelope
    ends: bool


class _Answer(Struct):
    count: int
    page_number: int
    page_size: int
    total_pages: int
    generations: list[msgspec.Raw]


class _Rows(Struct):
    generations: list[msgspec.Raw]


class _Head(Struct):
    generation_id: str
    status: str | None = None
    cost: str | None = None


NOTHING: Final = Decimal(0)
"""What is charged where no amount is given."""
AMOUNTS: Final = 1024
"""Amounts that are remembered: rows of one model mostly cost the same."""

_decode = msgspec.json.Decoder(_Answer).decode
_decode_rows = msgspec.json.Decoder(_Rows).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def read_window(question: Question, page: Page) -> Window:
    """Read a page of a listing as rows.

    Raises:
        Unfit: nothing can be composed of it: a row without an id, one that is there twice, an amount that is no
            decimal, numbers that contradict each other, an envelope that is not understood.
    """
    number, size = question.page, question.page_size
    try:
        answer = _decode(page.body)
        texts = [bytes(raw) for raw in answer.generations]
    except (msgspec.MsgspecError, RecursionError):
        raise Unfit("row") from None
    start, entries = (number - 1) * size, page.stamp.total_entries
    if (answer.page_number, answer.page_size, answer.count) != (number, size, len(texts)):
        raise Unfit("numbers")
    if answer.total_pages != total_pages(page.stamp, size) or len(texts) != min(size, max(0, entries - start)):
        raise Unfit("numbers")
    amount(page.stamp.total_cost)
    own_links = page.dead_at is not None and page.dead_at - page.asked_at < NEAR_EXPIRY
    asked_at, dead_at = page.asked_at, page.dead_at
    reckoned = asked_at, page.lead, page.sent_at
    deaths = [links.dead_at(text, *reckoned) if own_links else dead_at for text in texts]
    rows = tuple([read_row(text, asked_at, at) for text, at in zip(texts, deaths, strict=True)])
    if len({row.id for row in rows}) != len(rows):
        raise Unfit("twice")
    envelope = take_apart(page.body, texts, number, size, page.stamp)
    return Window(start, rows, page.stamp, page.asked_at, envelope, ends=start + len(rows) >= entries)


def read_texts(body: bytes) -> list[bytes]:
    """The rows of an answer, as they stand in it.

    Raises:
        Unfit: it cannot be read as a page of rows is.
    """
    try:
        return [bytes(raw) for raw in _decode_rows(body).generations]
    except (msgspec.MsgspecError, RecursionError):
        raise Unfit("row") from None


def read_row(text: bytes, asked_at: float, dead_at: float | None, name: bytes = b"") -> Row:
    """Read a row; ``name``: its digest, if that is known.

    Raises:
        Unfit: it has no id, or its cost is no decimal.
    """
    try:
        try:
            head = _decode_head(text)
        except msgspec.ValidationError:
            head = decode_leniently(_decode_head, text)
    except (msgspec.MsgspecError, RecursionError):
        raise Unfit("row") from None
    cost = amount(head.cost)
    return Row(
        head.generation_id, text, head.status in TERMINAL_STATUSES, cost, dead_at, asked_at, name or digest(text)
    )


def digest(text: bytes) -> bytes:
    """The digest of a row's bytes."""
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def amount(text: str | None) -> Decimal:
    """An amount of money, exactly; nothing was charged where there is none.

    Raises:
        Unfit: it is no finite decimal.
    """
    return NOTHING if text is None else _decimal(text)


@text_cache(AMOUNTS)
def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Unfit("amount") from None
    if not value.is_finite() or value.adjusted() > MAX_INTEGER_DIGITS or int(value.as_tuple().exponent) < -MAX_DECIMALS:
        raise Unfit("amount")
    return value
