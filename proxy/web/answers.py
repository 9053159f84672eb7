"""From an outcome to an HTTP answer: conditional requests, and headers that say what was done."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import Final, assert_never

from proxy import NAME
from proxy.answer.encodings import CODINGS, Coding, variant_etag
from proxy.answer.outcome import Hit, Miss, Outcome, StaleHit
from proxy.errors import HubError, HubFoundNothing, HubRejectedQuestion, ProxyError

CACHE_CONTROL: Final = "private, no-cache"
"""Browsers keep and revalidate, nothing in between keeps."""
VARY: Final = "Accept-Encoding, Authorization, Listing-Moment, X-API-Key"
"""What an answer may depend on, now or after an upgrade; said from the first so that no browser mixes them up."""
_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_ENTITY_TAGS: Final = re.compile(r'[ \t,]*(?:(?:W/)?"[^"]*"[ \t]*(?:,[ \t,]*|$))*')


def page_headers(outcome: Outcome, etag: str) -> dict[str, str]:
    """The headers of a 200 or 304 with a page, of which ``etag`` is the variant that it is sent as."""
    headers = {
        "cache-control": CACHE_CONTROL,
        "etag": etag,
        "age": str(int(outcome.age)),
        "vary": VARY,
        "cache-status": cache_status(outcome),
    }
    return headers | {"listing-moment": outcome.page.moment} if outcome.page.moment else headers


def body_headers(body: bytes, coding: Coding | None) -> dict[str, str]:
    """The headers that belong to a page's body in a coding, to be sent with HEAD too (RFC 9110 §9.3.2)."""
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return headers if coding is None else headers | {"content-encoding": coding}


def etags_in(if_none_match: Iterable[str]) -> frozenset[str]:
    """The entity tags in these values of If-None-Match, weak ones like strong ones (RFC 9110 §13.1.2); ``*`` if it is.

    Empty: there is no condition, or none that can hold.
    """
    values = list(if_none_match)
    lists = [value for value in values if _ENTITY_TAGS.fullmatch(value)]
    found = {found for value in lists for found in _ENTITY_TAG.findall(value)}
    return frozenset(found | {"*"} if any(value.strip() == "*" for value in values) else found)


def matching_etag(etag: str, coding: Coding | None, tags: Collection[str]) -> str | None:
    """The tag of a variant that the caller has already; None: it has none of this page.

    Any variant will do, as each of them is the whole page: then the 304 is about the one that the caller has, which
    it would otherwise not find by the answer (RFC 9111 §4.3.4).
    """
    if not tags:
        return None
    sent = variant_etag(etag, coding)
    if sent in tags or "*" in tags:
        return sent
    return next((known for known in (variant_etag(etag, one) for one in (None, *CODINGS)) if known in tags), None)


def cache_status(outcome: Outcome) -> str:
    """What the cache did with a request that got a page (RFC 9211)."""
    ttl = math.floor(outcome.ttl)
    match outcome:
        case Hit() | StaleHit():
            return hit_status(ttl, detail_of(outcome))
        case Miss(forward=forward, stored=stored, collapsed=collapsed):
            flags = ("; stored" if stored else "") + ("; collapsed" if collapsed else "")
            detail = "; detail=composed" if outcome.page.composed else ""
            return f"{NAME}; fwd={forward}; fwd-status={outcome.page.status}{flags}; ttl={ttl}{detail}"
        case _:
            assert_never(outcome)


def hit_status(ttl: int, detail: str) -> str:
    """The same of a hit that stays fresh for so many seconds, or has been stale for as many."""
    return f"{NAME}; hit; ttl={ttl}; detail={detail}"


def detail_of(hit: Hit | StaleHit) -> str:
    """Where a hit came from, or why it was served though stale."""
    return hit.source if isinstance(hit, Hit) else f"stale-{hit.reason}"


def error_cache_status(error: ProxyError) -> str:
    """What the cache did with a request that got an error (RFC 9211; ``detail`` is the error's type)."""
    if isinstance(error, HubError) and error.asked:
        status = f"; fwd-status={error.hub_status}" if error.hub_status else ""
        return f"{NAME}; fwd=miss{status}; detail={error.type}"
    if isinstance(error, HubRejectedQuestion):
        return f"{NAME}; fwd=miss; fwd-status={error.hub_status}; detail={error.type}"
    if isinstance(error, HubFoundNothing) and error.cache_status is not None:
        return error.cache_status
    return f"{NAME}; detail={error.type}"
