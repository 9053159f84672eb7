"""When the presigned links in an answer die.

A hub answer carries URLs that are signed for each answer anew and expire (hub facts: rows); request
parameters may hold further ones. An answer handed out after that is broken, so the earliest expiry caps
every use of a page. The body is searched as bytes, not decoded: the cost is that of two searches, and of
little more for each link.

Links go by the clock of the hub that signs them, which its answers tell: the machine's own may be wrong, and what
is judged by it is kept for all replicas, also when it has been put right.

Known forms: S3 and Google V4 (``X-Amz-Date`` with ``X-Amz-Expires``; ``X-Goog-…``), the older
``Expires=<Unix seconds>`` of S3, Google and CloudFront, and CloudFront's custom ``Policy``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

MARGIN: Final = 60.0
"""Seconds before a link's end at which it counts as dead, so that a caller can still follow it."""
MARGIN_SHARE: Final = 0.2
"""The margin is at most this share of the link's lifetime; of what is left of that, where it came within its margin."""
UNSURE: Final = 2.0
"""Seconds by which a ``Date`` may be behind the hub's clock: it has whole ones, and some servers look once a second."""
IMPLAUSIBLE: Final = 86_400.0
"""Seconds by which a ``Date`` that is to count differs from the machine's clock at the most."""

_SAYS_EXPIRES: Final = re.compile(rb"Expires")
_SAYS_POLICY: Final = re.compile(rb"Policy")
_EXPIRES: Final = re.compile(rb"Expires=([0-9]{1,12})(?![0-9])")
_V4: Final = (b"X-Amz-", b"X-Goog-")
_DATE: Final = re.compile(rb"X-(?:Amz|Goog)-Date=([0-9]{8}T[0-9]{6}Z)")
_BETWEEN_LINKS: Final = re.compile(rb"\s|\\[fnrt]")
"""White space, of which some can be in JSON as escapes only; no link holds any."""
_SIDE_BY_SIDE: Final = re.compile(rb'-Date=[0-9]{8}T[0-9]{6}Z(?:(?!\\[fnrt])[^"\s])*Expires=[0-9]+[^0-9"]')
_POLICY: Final = re.compile(rb"Policy=([A-Za-z0-9\-_~+/=]+)")
_SIGNED: Final = re.compile(rb'\?[^"\s?]*?(?:Expires|Policy)[^"\s?]*')
"""The query of a link that expires; up to a second question mark, so that each byte is looked at once."""
_LESS_THAN: Final = re.compile(rb'"DateLessThan"\s*:\s*\{\s*"AWS:EpochTime"\s*:\s*([0-9]{1,12})\s*\}')


def sent(asked_at: float, lead: float, dated: float | None, age: float, took: float = 0.0) -> tuple[float, float]:
    """Return the ``lead`` and ``sent_at`` of ``dead_at`` for an answer.

    The machine's clock counts as far as the answer's ``Date`` leaves room for it. With an ``Age`` the answer may come
    from a cache in between, or, as the hub forbids that, from something that says so without being one: then the links
    are as old as that allows.

    Args:
        asked_at: Unix seconds that do not step back.
        lead: by how many seconds they are ahead of the machine's clock.
        dated: the answer's ``Date``, in Unix seconds.
        age: its ``Age``, in seconds.
        took: seconds after which it had come; it may have been dated at any time in these.
    """
    now = asked_at - lead
    if dated is None or abs(dated - now) > IMPLAUSIBLE:
        return lead, now
    came_at = now + took
    return lead + came_at - min(max(came_at, dated), dated + age + took + UNSURE), dated


def dead_at(body: bytes, asked_at: float, lead: float = 0.0, sent_at: float | None = None) -> float | None:
    """Return the time from which the answer must not be used, or None if no link in it expires.

    ``lead``: by how many seconds that time, and ``asked_at``, are ahead of the clock that links go by; ``sent_at``:
    when the hub sent the answer, by that clock, if that was not when it was asked.

    A link that was dead when the hub sent it does not count: rows keep the request's own parameters,
    such as an input image signed last week, and no cache can make that worse. Where one came within
    its margin, the answer is of use all the same: else one such row would, for a minute, switch the cache off for
    every page that shows it.
    """
    signed = asked_at - lead
    ends = {
        expiry - _margin(lifetime, expiry - signed) + lead
        for string in _strings_with(body, _SAYS_EXPIRES, _SAYS_POLICY)
        for expiry, lifetime in _expiries(string, signed)
        if expiry > (signed if sent_at is None else sent_at)
    }
    return min(ends, default=None)


def without_signatures(body: bytes) -> bytes:
    """What of an answer stays the same as its links are signed afresh; only to be compared."""
    return _SIGNED.sub(b"", body)


def _margin(lifetime: float, left: float) -> float:
    """Seconds before a link's end at which it counts as dead, with ``left`` of them to come."""
    margin = min(MARGIN, MARGIN_SHARE * lifetime)
    return margin if margin < left else max(0.0, MARGIN_SHARE * left)


def _strings_with(body: bytes, *words: re.Pattern[bytes]) -> Iterator[bytes]:
    """Yield the JSON strings that hold one of the words, but not each that repeats what matters.

    The links of an answer are signed within a second or two, so that date and lifetime stand side by side
    in the same few bytes in nearly all of them: bytes that were read before need not be read again.
    """
    read: set[bytes] = set()
    for word in words:
        end = 0
        for found in word.finditer(body):  # which takes two thirds of the time of bytes.find
            position = found.start()
            if position < end:
                continue
            around = body[max(0, position - 36) : position + 22]
            if around in read:
                continue
            if _SIDE_BY_SIDE.search(around):
                read.add(around)
            start, end = body.rfind(b'"', 0, position) + 1, body.find(b'"', position)
            end = len(body) if end == -1 else end
            yield body[start:end].replace(rb"\u003d", b"=").replace(rb"\u003D", b"=")


def _expiries(string: bytes, asked_at: float) -> Iterator[tuple[float, float]]:
    """Yield (expiry, lifetime) of each way in which the string says when it expires."""
    for link in _BETWEEN_LINKS.split(string):
        # Looked for once for all lifetimes: who writes a prompt chooses how many there are, and how long it is.
        date = _DATE.search(link)
        signed_at = date and _unix_time(date[1])
        for found in _EXPIRES.finditer(link):
            digits = found[1]
            if not link.endswith(_V4, 0, found.start()):
                yield float(digits), float(digits) - asked_at
            elif signed_at is not None:
                yield signed_at + float(digits), float(digits)
        for policy in _POLICY.findall(link):
            if limit := _LESS_THAN.search(_from_base64(policy)):
                yield float(limit[1]), float(limit[1]) - asked_at


@lru_cache(maxsize=1024)
def _unix_time(date: bytes) -> float | None:
    try:
        return datetime.strptime(date.decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _from_base64(text: bytes) -> bytes:
    """Undo CloudFront's base64, which has ``-_~`` for ``+=/``; nothing if it is none.

    Its padding says nothing that its length does not; it may be missing, or too much, which not every Python takes.
    """
    text = text.translate(bytes.maketrans(b"-_~", b"+=/")).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return b""
