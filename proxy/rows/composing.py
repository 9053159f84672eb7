"""A page put together from the rows of its listing: each row byte for byte as the hub sent it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from proxy.answer.links import without_signatures
from proxy.answer.page import Page, etag_of
from proxy.answer.record import Stamp
from proxy.questions.question import Question
from proxy.rows.envelope import Unfit
from proxy.rows.listing import Chain, Listing
from proxy.rows.reading import Row, read_texts

TOKENS: Final = 4096
"""Tokens of moments that are remembered: all pages of a moment share one."""


def outline(question: Question, listing: Listing, *, purged_at: float, confirmed_at: float) -> Page | None:
    """The page as of the listing's latest moment, as far as judging it needs; None unless all its rows are known.

    A page without rows is never composed: what the hub says past a listing's end is not known. Rows that the hub was
    asked for before ``purged_at`` count as unknown. So do rows in flight that the latest answer, asked for at
    ``confirmed_at``, did not show: they may have ended by then.
    """
    rows = _cut(listing.rows, question, listing.stamp.total_entries)
    if not rows or any(row.asked_at < (purged_at if row.settled else max(purged_at, confirmed_at)) for row in rows):
        return None
    return _page(question, listing, listing.chain, rows, listing.stamp)


def compose(question: Question, listing: Listing) -> Page | None:
    """The page as of the listing's latest moment; None unless all its rows are known."""
    rows = _cut(listing.rows, question, listing.stamp.total_entries)
    if not rows:
        return None
    return _with_body(_page(question, listing, listing.chain, rows, listing.stamp), question, listing, rows)


def compose_at(question: Question, listing: Listing, token: str, *, asked_since: float) -> Page | None:
    """The page as of the moment of the token, its rows in their latest known state; None unless all are known.

    Rows that the hub was asked for before ``asked_since`` count as unknown.
    """
    found = _find(listing, token)
    if found is None:
        return None
    chain, stamp = found
    known = _cut(chain.at(stamp.total_entries), question, stamp.total_entries)
    if known is None:
        return None
    latest = {} if chain is listing.chain else {row.id: row for row in listing.rows}
    rows = [latest.get(row.id, row) for row in known]
    if any(row.asked_at < asked_since for row in rows):
        return None
    return _with_body(_page(question, listing, chain, rows, stamp), question, listing, rows)


def overtakes(listing: Listing, question: Question, asked_at: float) -> bool:
    """Whether any row that an answer of ``asked_at`` to the question shows has been looked at since."""
    start = (question.page - 1) * question.page_size
    return any(row.asked_at > asked_at for row in listing.rows[start : start + question.page_size])


def shows_latest(listing: Listing, question: Question, page: Page, asked_at: float) -> bool:
    """Whether the page, an answer to the question, has each row that was looked at since ``asked_at`` as it is now.

    Links are signed afresh for each answer: by how they are signed, no rows differ.
    """
    start = (question.page - 1) * question.page_size
    latest = listing.rows[start : start + question.page_size]
    try:
        shown = read_texts(page.body)
    except Unfit:
        return False
    return len(latest) <= len(shown) and all(
        row.asked_at <= asked_at or without_signatures(row.text) == without_signatures(text)
        for row, text in zip(latest, shown, strict=False)
    )


def lasts(listing: Listing, token: str) -> bool:
    """Whether the moment of the token can be returned to."""
    return _find(listing, token) is not None


def _find(listing: Listing, token: str) -> tuple[Chain, Stamp] | None:
    for chain in (listing.chain, *listing.ended):
        if token.startswith(f"{chain.name}-"):
            for moment in reversed(chain.moments):
                if token == write_token(chain.name, moment.stamp):
                    return chain, moment.stamp
    return None


@lru_cache(TOKENS)
def write_token(chain: str, stamp: Stamp) -> str:
    """How callers name a moment of a listing (``Listing-Moment``)."""
    totals = f"{stamp.total_entries} {stamp.total_cost}".encode("utf-8", "surrogatepass")
    return f"{chain}-{hashlib.blake2b(totals, digest_size=6).hexdigest()}"


def _cut(rows: Sequence[Row], question: Question, entries: int) -> Sequence[Row] | None:
    start = (question.page - 1) * question.page_size
    end = min(start + question.page_size, entries)
    return rows[start:end] if end <= len(rows) else None


def _page(question: Question, listing: Listing, chain: Chain, rows: Sequence[Row], stamp: Stamp) -> Page:
    """What judging a composed page needs.

    A live page is as old as the oldest look at a row in flight, a settled one as the oldest look at any.
    """
    live = [row for row in rows if not row.settled]
    return Page(
        key=question.key,
        body=b"",
        etag="",
        asked_at=listing.asked_at,
        stamp=stamp,
        settled=not live,
        dead_at=min((row.dead_at for row in rows if row.dead_at is not None), default=None),
        rows_at=min((row.asked_at for row in live or rows), default=listing.asked_at),
        composed=True,
        moment=write_token(chain.name, stamp),
    )


def _with_body(page: Page, question: Question, listing: Listing, rows: Sequence[Row]) -> Page:
    """The page with its body."""
    body = listing.envelope.put([row.text for row in rows], question.page, question.page_size, page.stamp)
    return replace(page, body=body, etag=etag_of(body))
