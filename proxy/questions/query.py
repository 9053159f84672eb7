"""A caller's query string, read strictly into a question (RFC 3986 §3.4; promise: strict in).

One question has one :class:`ListQuery`, one key and one hub query, whatever order, escapes or
spelled-out defaults the caller used. Anything else is refused here and costs the hub nothing.
The hub's query is rebuilt from the parsed value: no byte of a caller's URL is copied into it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from proxy.contract import MEDIA_TYPES, STATUSES
from proxy.errors import InvalidParameter

MAX_RAW: Final = 16_384
"""Bytes of a raw query string; the longest valid one (every character escaped) is shorter."""
MAX_FILTER: Final = 256
"""Characters of a filter's value."""
MAX_PAGE: Final = 2**53 - 1
"""Largest page number: exact in JSON, and page times page_size stays within 64 bits."""
MAX_PAGE_SIZE: Final = 1000
"""Rows a page may be asked to hold (hub contract)."""

ENUMS: Final = {"media_type": MEDIA_TYPES, "status": STATUSES}
"""Filters with a closed set of values."""
FILTERS: Final = ("namespace", "model", "media_type", "status", "repo", "folder")
"""Parameters that select a listing, in the order of the canonical query."""
MAXIMA: Final = {"page": MAX_PAGE, "page_size": MAX_PAGE_SIZE}
"""Parameters that select a page of a listing; whole numbers from 1."""
PARAMETERS: Final = (*FILTERS, *MAXIMA)

# Ten digits more than any valid number: longer ones are refused before int() sees them.
_CANONICAL_INTEGER: Final = re.compile(r"[1-9][0-9]{0,25}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class ListQuery(Struct, frozen=True, gc=False):
    """A question for one page of one listing. Absent filters are ``None``; defaults are the hub's."""

    namespace: str | None = None
    model: str | None = None
    media_type: str | None = None
    status: str | None = None
    repo: str | None = None
    folder: str | None = None
    page: int = 1
    page_size: int = 50

    @property
    def listing(self) -> str:
        """The canonical filters: equal exactly for questions about the same listing."""
        given = ((name, getattr(self, name)) for name in FILTERS)
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in given if value is not None)

    @property
    def canonical(self) -> str:
        """The canonical query string: the key of the question, and what the hub is asked.

        Percent-encoding is injective and defaults are spelled out, so two questions have the same
        canonical form exactly if they are equal.
        """
        listing = self.listing
        return f"{listing}{'&' if listing else ''}page={self.page}&page_size={self.page_size}"


def parse(raw: bytes, known: Collection[str] = PARAMETERS) -> ListQuery:
    """Read a raw query string (without ``?``) with ``known`` parameters into a question.

    Raises:
        InvalidParameter: naming the first parameter at fault, its fault and what is allowed.
    """
    if len(raw) > MAX_RAW:
        raise InvalidParameter("", f"The query string has {len(raw)} bytes; at most {MAX_RAW} are allowed.")
    values: dict[str, str | int] = {}
    for pair in raw.split(b"&") if raw else ():
        name, value = _read_pair(pair, known)
        if name in values:
            raise InvalidParameter(name, f"'{name}' is given more than once; give it at most once.")
        values[name] = _read_number(name, value) if name in MAXIMA else _read_filter(name, value)
    return ListQuery(**values)  # type: ignore[arg-type]  # names are PARAMETERS, values typed by name


def parse_id(text: str) -> str:
    """Read a generation's id; upper case is the same id (RFC 9562 §4).

    Raises:
        InvalidParameter: it is no UUID.
    """
    if not _UUID.fullmatch(text):
        fault = f"'generation_id' is {_shown(text)!r}; allowed is a UUID, as in 0e8a1f64-0000-4000-8000-000000000000."
        raise InvalidParameter("generation_id", fault)
    return text.lower()


def _read_pair(pair: bytes, known: Collection[str]) -> tuple[str, str]:
    raw_name, _, raw_value = pair.partition(b"=")
    try:
        name = _decode(raw_name)
    except ValueError as fault:
        shown = _shown(raw_name.decode("utf-8", "replace"))
        raise InvalidParameter(shown, f"A parameter's name {fault}; {_allowed_names(known)}") from None
    if name not in known:
        raise InvalidParameter(_shown(name), _unknown(name, known))
    if not raw_value:
        raise InvalidParameter(name, f"'{name}' has no value; {_allowed(name)}, or leave it out.")
    try:
        return name, _decode(raw_value)
    except ValueError as fault:
        raise InvalidParameter(name, f"The value of '{name}' {fault}; {_allowed(name)}.") from None


def _decode(raw: bytes) -> str:
    """Undo form encoding (``+`` is a space, as the hub's framework reads it); ValueError says the fault."""
    if broken := _BROKEN_ESCAPE.search(raw):
        shown = raw[broken.start() : broken.start() + 3].decode("ascii", "replace")
        raise ValueError(f"has a broken escape {shown!r} (a percent sign itself is written %25)")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not valid UTF-8") from None


def _read_number(name: str, text: str) -> int:
    if not _CANONICAL_INTEGER.fullmatch(text) or int(text) > MAXIMA[name]:
        raise InvalidParameter(name, f"'{name}' is {_shown(text)!r}; {_allowed(name)}.")
    return int(text)


def _read_filter(name: str, text: str) -> str:
    if name in ENUMS and text not in ENUMS[name]:
        raise InvalidParameter(name, f"'{name}' is {_shown(text)!r}; {_allowed(name)}.")
    if len(text) > MAX_FILTER:
        raise InvalidParameter(name, f"'{name}' has {len(text)} characters; {_allowed(name)}.")
    if control := next((c for c in text if unicodedata.category(c) == "Cc"), None):
        raise InvalidParameter(name, f"'{name}' contains the control character U+{ord(control):04X}; {_allowed(name)}.")
    return text


def _allowed(name: str) -> str:
    if name in ENUMS:
        return f"allowed are {', '.join(ENUMS[name])}"
    if name in MAXIMA:
        return f"allowed is a whole number from 1 to {MAXIMA[name]}, in plain digits without leading zeros"
    return f"allowed are 1 to {MAX_FILTER} characters without control characters"


def _allowed_names(known: Collection[str]) -> str:
    return f"known are {', '.join(known)}." if known else "none is known here."


def _unknown(name: str, known: Collection[str]) -> str:
    if not name:
        return f"A parameter without a name (a stray '&' or '='); {_allowed_names(known)}"
    close = get_close_matches(name[:MAX_FILTER].lower(), list(known), n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"'{_shown(name)}' is not a parameter{hint}; {_allowed_names(known)}"


def _shown(text: str) -> str:
    """A caller's text as it may be quoted back: short, and without control characters."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:48])
    return printable if len(text) <= 48 else printable + "…"
