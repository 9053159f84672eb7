"""When the presigned links in an answer die.

A hub answer carries URLs that are signed for each answer anew and expire (HUB facts: rows,
``result_url``; request parameters may hold further ones). An answer handed out after that is broken,
so the earliest expiry caps every use of a page. The body is searched as bytes, not decoded: the cost
is that of a few ``find`` calls for each link.

Known forms: S3 and Google V4 (``X-Amz-Date`` with ``X-Amz-Expires``; ``X-Goog-…``), the older
``Expires=<Unix seconds>`` of S3, Google and CloudFront, and CloudFront's custom ``Policy``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

MARGIN: Final = 60.0
"""Seconds before a link's end at which it counts as dead, so that a caller can still follow it."""
MARGIN_SHARE: Final = 0.2
"""The margin is at most this share of the link's lifetime."""

_DIGITS: Final = re.compile(rb"[0-9]{1,12}(?![0-9])")
_DATE: Final = re.compile(rb"X-(?:Amz|Goog)-Date=([0-9]{8}T[0-9]{6}Z)")
_POLICY: Final = re.compile(rb"[A-Za-z0-9\-_~+/=]+")
_LESS_THAN: Final = re.compile(rb'"DateLessThan"\s*:\s*\{\s*"AWS:EpochTime"\s*:\s*([0-9]{1,12})\s*\}')


def dead_at(body: bytes, asked_at: float) -> float | None:
    """Return the Unix time from which the answer must not be used, or None if no link in it expires.

    A link that was dead when the hub sent it does not count: rows keep the request's own parameters,
    such as an input image signed last week, and no cache can make that worse.
    """
    body = body.replace(rb"\u003d", b"=").replace(rb"\u003D", b"=")
    ends = {
        expiry - min(MARGIN, MARGIN_SHARE * lifetime)
        for expiry, lifetime in {*_expiring(body, asked_at), *_policies(body, asked_at)}
        if expiry > asked_at
    }
    return min(ends, default=None)


def _expiring(body: bytes, asked_at: float) -> Iterator[tuple[float, float]]:
    """Yield (expiry, lifetime) of each ``Expires=`` and ``X-…-Expires=``."""
    position = body.find(b"Expires=")
    while position != -1:
        after = position + len(b"Expires=")
        if digits := _DIGITS.match(body, after):
            number = float(digits[0])
            if body[max(0, position - 7) : position].endswith((b"X-Amz-", b"X-Goog-")):
                if (signed_at := _signed_at(body, position)) is not None:
                    yield signed_at + number, number
            else:
                yield number, number - asked_at
        position = body.find(b"Expires=", after)


def _signed_at(body: bytes, position: int) -> float | None:
    """The Unix time in the ``X-…-Date`` of the string that encloses ``position``."""
    start, end = body.rfind(b'"', 0, position), body.find(b'"', position)
    date = _DATE.search(body, start + 1, end if end != -1 else len(body))
    if date is None:
        return None
    try:
        return datetime.strptime(date[1].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _policies(body: bytes, asked_at: float) -> Iterator[tuple[float, float]]:
    """Yield (expiry, lifetime) of each CloudFront custom policy (base64 with ``-_~`` for ``+=/``)."""
    position = body.find(b"Policy=")
    while position != -1:
        after = position + len(b"Policy=")
        if text := _POLICY.match(body, after):
            try:
                policy = base64.b64decode(text[0].translate(bytes.maketrans(b"-_~", b"+=/")), validate=True)
            except (binascii.Error, ValueError):
                policy = b""
            if limit := _LESS_THAN.search(policy):
                yield float(limit[1]), float(limit[1]) - asked_at
        position = body.find(b"Policy=", after)
