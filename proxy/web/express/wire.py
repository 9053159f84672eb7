"""The express lane's answers as bytes: what HTTP, ASGI and three layers of this package would make of them.

The protocol hands over a request's head as it came. If these very bytes were answered before, the answer is one
``bytes`` of headers and the page's own body, made without a task, a scope or a message. All else that a request is
worth is there: an id, an event, its caller's limit. A test holds every answer against that of the slow path.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar

from proxy.answer.encodings import CODINGS, Coding
from proxy.web.answers import CACHE_CONTROL, VARY, detail_of, hit_status
from proxy.web.cors import readable_by
from proxy.web.express.known_request import Answer
from proxy.web.express.lane import Express
from proxy.web.telemetry.event import RequestEvent, Sink

WIRE: Final = "wire"
"""Where the application leaves its wire, in its state, for the server's protocol."""
SECONDS: Final = 4096
"""Ages, and times to be fresh, whose lines are remembered."""


class Wire:
    """Answers heads with bytes, if there is an answer at hand.

    Args:
        ids: of requests.
        sinks: what is told of each request.
        origins: whether pages of other origins may read answers, which then vary on Origin.
    """

    def __init__(self, express: Express, ids: Iterator[str], sinks: Sequence[Sink], *, origins: bool) -> None:
        self._express = express
        self._ids = ids
        self._sinks = sinks
        self._pending: list[RequestEvent] = []
        self._server_headers: Sequence[tuple[bytes, bytes]] = ()
        self._server_lines = ""
        kinds: list[tuple[int, Coding | None]] = [(304, None), (200, None), *((200, coding) for coding in CODINGS)]
        self._fixed = {kind: _fixed(*kind, origins=origins) for kind in kinds}

    def answer(self, head: bytes, server_headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, ...] | None:
        """The head of an answer to a request of this head, and its body if it has one; None: it takes the slow path."""
        began = time.perf_counter()
        answer = self._express.recall(head)
        if answer is None:
            return None
        info, outcome, status = answer.request.info, answer.outcome, answer.variant.status
        request_id = next(self._ids)
        written = self._head(answer, request_id, server_headers)
        body = b"" if info.method == "HEAD" else answer.body
        seconds = time.perf_counter() - began
        event = RequestEvent(request_id, info, status, outcome.name, seconds, len(body), outcome.age)
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._report)
        self._pending.append(event)
        # No empty part: asyncio's own loop, of Python 3.12 and 3.13, would try to write it for ever.
        return (written, body) if body else (written,)

    def _report(self) -> None:
        """Tell the sinks of all that was answered in this turn of the event loop: many cost less than each alone."""
        events, self._pending = self._pending, []
        for sink in self._sinks:
            sink(events)

    def _head(self, answer: Answer, request_id: str, server_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        outcome, variant = answer.outcome, answer.variant
        if server_headers is not self._server_headers:  # the server makes them anew once a second
            self._server_headers, self._server_lines = server_headers, _lines(server_headers)
        if variant.lines is None:
            variant.lines = self._fixed[variant.status, variant.coding], _own(answer)
        fixed, own = variant.lines
        hit_lines = _hit_lines(int(outcome.age), math.floor(outcome.ttl), detail_of(outcome))
        limits = _lines(answer.limits) if answer.limits else ""
        written = f"{fixed}{own}{hit_lines}{self._server_lines}{limits}x-request-id: {request_id}\r\n\r\n"
        return written.encode("latin-1")


def wire_of(app: Any) -> Wire | None:
    """The wire of a server's application, if it is one of ``create_app``'s and nothing is wrapped around it."""
    return app.state.get(WIRE) if isinstance(app, Litestar) else None


@lru_cache(SECONDS)
def _hit_lines(age: int, ttl: int, detail: str) -> str:
    """The lines about a hit that stay the same for a second, whatever page it is."""
    return f"age: {age}\r\ncache-status: {hit_status(ttl, detail)}\r\n"


def _own(answer: Answer) -> str:
    """The lines of an answer's head that stay the same as long as the page does."""
    variant, moment, origin = answer.variant, answer.outcome.page.moment, answer.request.context.origin
    lines = f"etag: {variant.etag}\r\n"
    if moment:
        lines += f"listing-moment: {moment}\r\n"
    if variant.status == 200:
        lines += f"content-length: {len(answer.body)}\r\n"
    return lines + _lines(readable_by(origin)) if origin else lines


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return b"".join([b"%b: %b\r\n" % header for header in headers]).decode("latin-1")


def _fixed(status: int, coding: Coding | None, *, origins: bool) -> str:
    """The lines of a head that are the same in each answer."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"cache-control: {CACHE_CONTROL}"]
    lines.append(f"vary: {VARY}, Origin" if origins else f"vary: {VARY}")
    if status == 200:
        lines.append("content-type: application/json")
    if coding is not None:
        lines.append(f"content-encoding: {coding}")
    return "".join(f"{line}\r\n" for line in lines)
