"""What answers say of the hub's clock: HTTP dates, and when an answer was made."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from proxy.text_cache import text_cache

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@text_cache(64)
def date(line: str) -> float | None:
    """An HTTP date (RFC 9110 §5.6.7) in Unix seconds; None if it is none."""
    try:
        moment = parsedate_to_datetime(line)
        # That of asctime names no zone, as all are of UTC; Python would take it for the machine's.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def dated(headers: httpx.Headers) -> tuple[float | None, float]:
    """The ``Date`` of an answer in Unix seconds, None if it has none that can be read, and its ``Age`` in seconds.

    Of an answer whose age cannot be read, the date is of no use: it may be of any time.
    """
    age = headers.get("age", "0").strip()
    return (date(headers.get("date", "")), float(age)) if _SECONDS.fullmatch(age) else (None, 0.0)
