"""When the presigned links in an answer die.

A hub answer carries URLs that are signed for each answer anew and expire (hub facts: rows); request
parameters may hold further ones. An answer handed out after that is broken, so the earliest expiry caps
every use of a page. The body is searched as bytes, not decoded: the cost is that of two searches, and of
little more for each link that is not as those before it. Who writes a prompt chooses what it holds, so no byte of a
body is looked at more than a few times, whatever that is.

Links go by the clock of the hub that signs them, which its answers tell: the machine's own may be wrong, and what
is judged by it is kept for all replicas, also when it has been put right.

Known forms: S3 and Google V4 (``X-Amz-Date`` next to ``X-Amz-Expires``; ``X-Goog-…``), the older
``Expires=<Unix seconds>`` of S3, Google and CloudFront, and CloudFront's custom ``Policy``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from operator import lt
from typing import Final

MARGIN: Final = 60.0
"""Seconds before a link's end at which it counts as dead, so that a caller can still follow it."""
MARGIN_SHARE: Final = 0.2
"""The margin is at most this share of the link's lifetime; of what is left of that, where it came within its margin."""
UNSURE: Final = 2.0
"""Seconds by which a ``Date`` may be behind the hub's clock: it has whole ones, and some servers look once a second."""
IMPLAUSIBLE: Final = 86_400.0
"""Seconds by which a ``Date`` that is to count differs from the machine's clock at the most."""

MANY: Final = 256
"""Strings that are looked at one by one; where there are more that differ, all that comes after is read as one text."""

_SAYS_EXPIRES: Final = re.compile(rb"Expires")
_SAYS_POLICY: Final = re.compile(rb"Policy")
_EXPIRES: Final = re.compile(rb"Expires=(?<!X-Amz-Expires=)(?<!X-Goog-Expires=)([0-9]{1,12})(?![0-9])")
_DATE: Final = rb"X-(?:Amz|Goog)-Date=([0-9]{8}T[0-9]{6}Z)"
_LIFETIME: Final = rb"X-(?:Amz|Goog)-Expires=([0-9]{1,12})(?![0-9])"
_BETWEEN: Final = rb'[^"\s\\X]*+(?:(?:\\(?![fnrt])|X(?!%s))[^"\s\\X]*+)*+' % (
    rb"-(?:Amz|Goog)-(?:Date=[0-9]{8}T[0-9]{6}Z|Expires=[0-9]{1,12}(?![0-9]))"
)
"""What stands between a date and a lifetime of one link: none of either, so that no byte is looked at again and again.

No link holds white space, of which some can be in JSON as escapes only."""
_DATE_FIRST: Final = re.compile(_DATE + _BETWEEN + _LIFETIME)
_LIFETIME_FIRST: Final = re.compile(_LIFETIME + _BETWEEN + _DATE)
_BEFORE: Final = 41
_AFTER: Final = 22
"""Bytes before and after the begin of a word that mostly have a date and a lifetime side by side."""
_SIDE_BY_SIDE: Final = re.compile(
    _DATE + rb'(?:(?!\\[fnrt])[^"\s])*Expires=[0-9]+[^0-9"].{0,%d}\Z' % (_AFTER - len("Expires=1&")), re.DOTALL
)
"""These, where it is the lifetime that is looked at: it needs no second look then."""
_POLICY: Final = re.compile(rb"Policy=([A-Za-z0-9\-_~+/=]{48,})")
"""A shorter one has no room for what is looked for in it."""
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
    strings = b'"'.join(_strings_with(body, _SAYS_EXPIRES, _SAYS_POLICY))
    text = strings.replace(rb"\u003d", b"=").replace(rb"\u003D", b"=")
    ends = [
        expiry - _margin(lifetime, expiry - signed) + lead
        for expiry, lifetime in _expiries(text, signed, signed if sent_at is None else sent_at)
    ]
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
        end = strings = 0
        for found in word.finditer(body):  # which takes two thirds of the time of bytes.find
            position = found.start()
            if position < end:
                continue
            around = body[max(0, position - _BEFORE) : position + _AFTER]
            if around in read:
                continue
            if _SIDE_BY_SIDE.search(around):
                read.add(around)
            start, end = body.rfind(b'"', 0, position) + 1, body.find(b'"', position)
            strings += 1
            if end == -1 or strings > MANY:
                yield body[start:]
                break
            yield body[start:end]


def _expiries(text: bytes, asked_at: float, sent_at: float) -> Iterator[tuple[float, float]]:
    """Yield (expiry, lifetime) of the links in the text; of what says no lifetime, for the first after ``sent_at``."""
    moments = chain(map(float, _EXPIRES.findall(text)), _policy_ends(text))
    first = min(filter(partial(lt, sent_at), moments), default=None)
    if first is not None:
        yield first, first - asked_at
    lifetimes_first = ((date, digits) for digits, date in _LIFETIME_FIRST.findall(text))
    for date, digits in chain(_DATE_FIRST.findall(text), lifetimes_first):
        signed_at, lifetime = _unix_time(date), float(digits)
        if signed_at is not None and signed_at + lifetime > sent_at:
            yield signed_at + lifetime, lifetime


def _policy_ends(text: bytes) -> Iterator[float]:
    """Yield until when each of CloudFront's policies in the text is good."""
    for policy in set(_POLICY.findall(text)):
        if limit := _LESS_THAN.search(_from_base64(policy)):
            yield float(limit[1])


def _unix_time(date: bytes) -> float | None:
    try:
        return datetime.fromisoformat(date.decode()).timestamp()
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
