"""How the simulator writes its answers: correct JSON, but not as any encoder of the proxy writes it.

Spaces stand where Python's compact form has none, slashes are escaped, astral characters are written as
surrogate escapes and others raw, members keep an order of their own: whoever decodes and re-encodes a
body is found out.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Final

from proxy.simulator.parameters import Verbatim
from proxy.simulator.world import Generation

RESULTS: Final = "https://results.example"
"""Where links lead, unless the simulator is to serve what they lead to."""
RESULTS_PATH: Final = "/results"
_SIGNING_KEY: Final = b"simulated signing key"
_ESCAPED: Final = re.compile('["\\\\/\x00-\x1f\x7f\u2028\u2029\U00010000-\U0010ffff]')
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t"}


def dumps(value: object) -> str:
    """Write a value as JSON."""
    match value:
        case Verbatim():
            return str(value)
        case str():
            return f'"{_ESCAPED.sub(_escape, value)}"'
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int():
            return str(value)
        case Mapping():
            return "{" + ", ".join(f"{dumps(name)}: {dumps(member)}" for name, member in value.items()) + "}"
        case Sequence():
            return "[" + ", ".join(map(dumps, value)) + "]"
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))


_TITLES: Final = {
    400: ("bad_request", "Bad request"),
    401: ("unauthenticated", "Authentication is required"),
    403: ("access_denied", "You may not see this"),
    404: ("resource_not_found", "The requested resource could not be found"),
    405: ("method_not_allowed", "Only GET is simulated"),
    422: ("unprocessable_entity", "The request could not be processed"),
    429: ("rate_limited", "Rate limit exceeded"),
}


def error(status: int) -> bytes:
    """The hub's error envelope."""
    kind, title = _TITLES.get(status, ("internal_server_error", "Something went wrong"))
    return dumps({"error": {"type": kind, "title": title}, "status": "error", "status_message": kind}).encode()


class Writer:
    """Writes rows and envelopes. Rows are kept as text until they change, but for their links.

    Args:
        link_lifetime: seconds for which a presigned URL is good.

    Attributes:
        results: what links begin with.
    """

    def __init__(self, link_lifetime: float) -> None:
        self.link_lifetime = link_lifetime
        self.results = RESULTS
        self._texts: dict[tuple[str, bool], tuple[int, str, str]] = {}
        self._signatures = count(1)

    def page(self, rows: Sequence[Generation], page: int, page_size: int, now: float) -> bytes:
        """A GenerationsListResponse: the page cut out of all ``rows`` of the filter set, newest first."""
        shown = rows[(page - 1) * page_size : page * page_size]
        charged = [row.cost for row in rows if row.cost is not None]
        text = (
            f'{{"count": {len(shown)}, "generations": [{self._rows(shown, now, full=True)}], '
            f'"page_number": {page}, "page_size": {page_size}, '
            f'"total_cost": {dumps(str(sum(charged, Decimal(0)))) if charged else "null"}, '
            f'"total_entries": {len(rows)}, "total_pages": {max(1, math.ceil(len(rows) / page_size))}}}\n'
        )
        return text.encode()

    def show(self, row: Generation, now: float) -> bytes:
        """A GenerationsShowResponse."""
        return (
            '{"status": "success", "status_message": "resource_found", '
            f'"generation": {self._row(row, now, full=True)}}}\n'
        ).encode()

    def queue(self, rows: Sequence[Generation], now: float) -> bytes:
        """A QueueListResponse."""
        return f'{{"count": {len(rows)}, "generations": [{self._rows(rows, now, full=False)}]}}\n'.encode()

    def queued(self, row: Generation, now: float) -> bytes:
        """A QueueGenerationResponse."""
        return self._row(row, now, full=False).encode()

    def link(self, row: Generation, now: float) -> str:
        """A presigned URL, signed for this answer alone."""
        date = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        suffix = "png" if row.media_type == "image" else "mp4"
        return (
            f"{self.results}/{row.namespace}/{row.id}.{suffix}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential=SIMULATED%2F{date[:8]}%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date={date}"
            f"&X-Amz-Expires={int(self.link_lifetime)}&X-Amz-SignedHeaders=host"
            f"&X-Amz-Signature={_sign(row.id, date, f'{next(self._signatures):08x}')}"
        )

    def signed(self, generation_id: str, given: Mapping[str, str], now: float) -> bool:
        """Whether the query of a link is one that was signed, and still good."""
        date, signature = given.get("X-Amz-Date", ""), given.get("X-Amz-Signature", "")
        try:
            began = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return False
        right = _sign(generation_id, date, signature[-8:])
        return hmac.compare_digest(right.encode(), signature.encode()) and now < began + self.link_lifetime

    def _rows(self, rows: Iterable[Generation], now: float, *, full: bool) -> str:
        return ", ".join(self._row(row, now, full=full) for row in rows)

    def _row(self, row: Generation, now: float, *, full: bool) -> str:
        kept = self._texts.get((row.id, full))
        if kept is None or kept[0] != row.version:
            kept = self._texts[row.id, full] = (row.version, *_around_link(row, full=full))
        link = dumps(self.link(row, now)) if row.status == "succeeded" else "null"
        return f"{kept[1]}{link}{kept[2]}"


def _sign(generation_id: str, date: str, number: str) -> str:
    """A signature that is another for each answer, and can be looked at all the same: its end is the number."""
    text = f"{generation_id}{date}{number}".encode()
    return hmac.new(_SIGNING_KEY, text, hashlib.sha256).hexdigest()[:-8] + number


def _around_link(row: Generation, *, full: bool) -> tuple[str, str]:
    """The row's text before and after the value of ``result_url``."""
    before: dict[str, object] = {"generation_id": row.id, "status": row.status}
    before |= {name: value for name, value in row.parameters.items() if name not in before}
    after: dict[str, object] = {
        "model_name": row.model,
        "media_type": row.media_type,
        "enqueued_at": int(row.enqueued_at),
        "started_at": None if row.started_at is None else int(row.started_at),
        "completed_at": None if row.completed_at is None else int(row.completed_at),
        "error_message": row.error,
        "target_directory": row.folder,
        "target_namespace": row.namespace,
        "target_repo": row.repo,
    }
    if full:
        after |= {
            "cost": None if row.cost is None else str(row.cost),
            "user_id": "0e8a1f64-0000-4000-8000-" + row.username.encode().hex().rjust(12, "0"),
            "user_image": None,
            "username": row.username,
        }
    return dumps(before)[:-1] + ', "result_url": ', ", " + dumps(after)[1:]
