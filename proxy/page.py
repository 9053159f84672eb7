"""A page: one answer of the hub to one question, as it is kept."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from proxy import links
from proxy.contract import TERMINAL
from proxy.errors import HubAnswerCutOff, HubAnswerNotAPage, HubAnswerNotJSON
from proxy.listing import Stamp


class Page(Struct, frozen=True):
    """A 200 of the hub, byte for byte, with what judging it needs.

    Attributes:
        key: the full key of the question, checked wherever a page is read back.
        body: the hub's bytes.
        etag: strong entity tag of ``body``, with its quotes (RFC 9110 §8.8.3).
        asked_at: Unix seconds at which the hub was asked: what the body says was true then or later
            (the conservative reading of RFC 9111 §4.2.3).
        stamp: totals of the listing in this answer.
        settled: every row is terminal.
        dead_at: Unix seconds from which a link in it is dead, or None.
    """

    key: str
    body: bytes
    etag: str
    asked_at: float
    stamp: Stamp
    settled: bool
    dead_at: float | None


class _Row(Struct):
    status: str | None = None


class _Head(Struct):
    """What is read of an answer; the contract's members without which it is no page."""

    count: int
    generations: list[_Row]
    page_number: int
    page_size: int
    total_pages: int
    total_entries: int
    total_cost: str | None


_decode_head = msgspec.json.Decoder(_Head).decode


def read(key: str, body: bytes, asked_at: float) -> Page:
    """Judge the body of a hub's 200 to be a page. It is read, never rewritten.

    Unlisted members and statuses pass (hub facts: rows); a row without a terminal status is in flight.

    Raises:
        HubAnswerNotJSON, HubAnswerCutOff, HubAnswerNotAPage: saying what was found.
    """
    try:
        body.decode("utf-8")  # msgspec does not look into the strings that it skips
        head = _decode_head(body)
    except UnicodeDecodeError:
        raise HubAnswerNotJSON("The hub's answer is not valid UTF-8.", hub_status=200) from None
    except msgspec.ValidationError as error:
        raise HubAnswerNotAPage(f"The hub's answer breaks its contract: {error}.", hub_status=200) from None
    except RecursionError:
        raise HubAnswerNotAPage("The hub's answer is nested too deeply.", hub_status=200) from None
    except msgspec.DecodeError as error:
        if "truncated" in str(error) and body.strip():
            raise HubAnswerCutOff("The hub's answer ends in the middle of its JSON.", hub_status=200) from None
        raise HubAnswerNotJSON("The hub's answer is not JSON.", hub_status=200) from None
    return Page(
        key=key,
        body=body,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        asked_at=asked_at,
        stamp=Stamp(head.total_entries, head.total_cost),
        settled=all(row.status in TERMINAL for row in head.generations),
        dead_at=links.dead_at(body, asked_at),
    )
