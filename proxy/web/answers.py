"""From an outcome to an HTTP answer: conditional requests, and headers that say what was done."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final, assert_never

from proxy.errors import HubError, HubFoundNothing, ProxyError
from proxy.outcome import Hit, Miss, Outcome, StaleHit

CACHE: Final = "generations-proxy"
"""The name under which Cache-Status speaks of this cache (RFC 9211 §2)."""
VARY: Final = "Accept-Encoding, Authorization, Listing-Moment, X-API-Key"
"""What an answer may depend on, now or after an upgrade; said from the first so that no browser mixes them up."""
_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def page_headers(outcome: Outcome) -> dict[str, str]:
    """The headers of a 200 or 304 with a page."""
    headers = {
        "cache-control": "private, no-cache",  # browsers revalidate, nothing in between keeps it
        "etag": outcome.page.etag,
        "age": str(int(outcome.age)),
        "vary": VARY,
        "cache-status": cache_status(outcome),
    }
    return headers | {"listing-moment": outcome.page.moment} if outcome.page.moment else headers


def matches(etag: str, if_none_match: Iterable[str]) -> bool:
    """Weak comparison of ``etag`` with the listed tags (RFC 9110 §13.1.2); ``*`` matches whatever there is."""
    return any(value.strip() == "*" or etag in _ENTITY_TAG.findall(value) for value in if_none_match)


def cache_status(outcome: Outcome) -> str:
    """What the cache did with a request that got a page (RFC 9211)."""
    ttl = f"ttl={math.floor(outcome.ttl)}"
    match outcome:
        case Hit(source=source):
            return f"{CACHE}; hit; {ttl}; detail={source}"
        case StaleHit(reason=reason):
            return f"{CACHE}; hit; {ttl}; detail=stale-{reason}"
        case Miss(forward=forward, stored=stored, collapsed=collapsed):
            flags = ("; stored" if stored else "") + ("; collapsed" if collapsed else "")
            detail = "; detail=composed" if outcome.page.composed else ""
            return f"{CACHE}; fwd={forward}; fwd-status={outcome.page.status}{flags}; {ttl}{detail}"
        case _:
            assert_never(outcome)


def error_cache_status(error: ProxyError) -> str:
    """What the cache did with a request that got an error (RFC 9211; ``detail`` is the error's type)."""
    if isinstance(error, HubError):
        status = f"; fwd-status={error.hub_status}" if error.hub_status else ""
        return f"{CACHE}; fwd=miss{status}; detail={error.type}"
    if isinstance(error, HubFoundNothing) and error.cache_status is not None:
        return error.cache_status
    return f"{CACHE}; detail={error.type}"
