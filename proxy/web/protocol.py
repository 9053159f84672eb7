"""The server's HTTP protocol, with bounds on the head of a request: uvicorn's with httptools has none of its own.

Without them one connection could send header lines for ever, all of which are kept until the head ends, or begin a
head and never end it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from litestar.types import Scope
from msgspec import UNSET
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.web.answers import VARY
from proxy.web.express.lane import HEAD
from proxy.web.express.request_cache import MAX_KEY_BYTES
from proxy.web.express.wire import Wire, wire_of
from proxy.web.problems import ErrorBody, envelope, error_headers

_log: Final = logging.getLogger("proxy.web")
MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's head that are read while it has not ended; the edge allows less of one that has."""
REFUSED: Final = "refused"
"""The key of the application's state under which is whom to tell of what is refused here."""
MAX_URL: Final = 65_535
"""Bytes of a request's target that the parser's offsets reach; the edge allows less."""
HEAD_TIMEOUT: Final = 15.0
"""Seconds from the first byte of a request to the end of its head."""
EXTENSION: Final = "generations_proxy"


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large or takes too long, and answers what is no HTTP in the hub's envelope."""

    _head: int | None = 0
    """Bytes of the head that is being read; None while none is."""
    _timer: asyncio.TimerHandle | None = None
    _wire: Wire | None = None
    """What may answer a request by its bytes."""
    _at_start = True
    """Whether what comes next is the first byte of a request."""
    _begun = 0
    """Requests that began in the bytes that are being read."""
    _answered_at = -math.inf
    """The loop's time of the last answer past the parser."""

    _running: RequestResponseCycle | None = None
    """The request that is being answered, or was last; ``cycle`` is the one that was read last."""
    _ignores_input = False
    """What comes is passed over: nothing of it would be answered."""

    on_shutdown: Callable[[], object] | None = None
    """Called when the server stops, if the answer that is being sent has no end of its own."""

    def shutdown(self) -> None:
        """The server stops (uvicorn's name)."""
        super().shutdown()
        if self.on_shutdown is not None:
            self.on_shutdown()

    def abort(self) -> None:
        """Break the connection off, with what the caller has not read."""
        self.transport.abort()

    def delimit_by_end(self, left: int = sys.maxsize) -> None:
        """The answer that is being sent is not chunked, which HTTP/1.0 knows nothing of (RFC 9112 §6.1).

        It ends with the connection, and before that uvicorn has to be told of its end: nothing is ``left``.
        """
        if self._running is not None:
            self._running.chunked_encoding = False
            self._running.expected_content_length = left

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """There is a connection (asyncio's name)."""
        self._wire = wire_of(self.app)
        super().connection_made(transport)
        # One by which nothing comes is kept for as long as one by which nothing comes any more.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Bytes have come (asyncio's name)."""
        if self._running is not None and self.on_shutdown is not None and self.pipeline:
            self._ignores_input, self._running.keep_alive = True, False  # one request may wait for the end of a stream
        if self._ignores_input:
            return
        if self._wire is None or not self._at_start or len(data) > MAX_KEY_BYTES:
            self._parse(data)
        elif not self._answer_at_once(self._wire, data):
            self._begun = 0
            self._parse(data)
            self._note_head(data)

    def _answer_at_once(self, wire: Wire, data: bytes) -> bool:
        """Answer without parsing, if these bytes are known as a whole request and no other is under way."""
        if self._is_answering or self.flow.write_paused or self._head:
            return False
        try:
            answer = wire.answer(data, self.server_state.default_headers)
        except Exception:  # noqa: BLE001  the slow path has an answer for faults
            _log.exception("the express lane failed")
            return False
        if answer is None:
            return False
        self.transport.writelines(answer)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()
        return True

    def _note_head(self, data: bytes) -> None:
        """Leave the request its bytes, if they were it and nothing else; its task has not begun yet.

        What ends the connection is not noted, nor what wants more of it than an answer.
        """
        if self._begun and self.parser.should_upgrade():
            self._wire = None  # there is no telling how the parser takes what comes next
            return
        ordinary = self._at_start and self._begun == 1 and self.cycle is not None and not self.cycle.body
        if ordinary and self.cycle.keep_alive and not self.expect_100_continue:
            self.scope["state"][HEAD] = data

    def timeout_keep_alive_handler(self) -> None:
        """No request has come for a while, but perhaps some that were answered past the parser (uvicorn's name)."""
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _parse(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            self._await_end_of_head()
        super().data_received(data)
        if self._head is not None and self._head > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The header is too large")
        if self._head is not None and not self._at_start:  # one that began in the middle of these bytes
            self._await_end_of_head()

    def _await_end_of_head(self) -> None:
        if not self.transport.is_closing():
            self._timer = self._timer or self.loop.call_later(HEAD_TIMEOUT, self._too_late)

    def on_message_begin(self) -> None:
        """A head begins (httptools' name)."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"connection": self}}
        self._head = self._head or 0
        self._at_start = False
        self._begun += 1

    def on_message_complete(self) -> None:
        """A request has ended (httptools' name)."""
        super().on_message_complete()
        self._at_start = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of a head (httptools' name), which leaves white space at its end (RFC 9110 §5.5)."""
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """A head has ended (httptools' name)."""
        self._head = None
        self._forget_timer()
        if b"#" in self.url:  # which would be cut off, with what follows
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", "A request target has no fragment; # is written %23")
        elif len(self.url) > MAX_URL:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long", "The URI is too long")
        elif any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", "The only transfer coding that is known is chunked")
        else:
            super().on_headers_complete()
            if self.on_shutdown is not None:  # uvicorn reads no more; that the caller has gone would not be seen
                self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone (asyncio's name)."""
        self._forget_timer()
        if self._running is not None and self._running is not self.cycle:  # uvicorn tells the one that was read last
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        # All lead back here. Left alone, 25 objects of each connection would wait for the garbage collector.
        self.cycle = self.scope = self._running = None  # type: ignore[assignment]  # as uvicorn does with the parser

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP (uvicorn's name)."""
        self._forget_timer()
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg.rstrip("."))

    def _too_late(self) -> None:
        self._timer = None
        if self._is_answering:  # the parser is not given the rest of this head until that has ended
            self._await_end_of_head()
            return
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request's head did not end in time")

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: HTTPStatus, kind: str, title: str) -> None:
        if self.transport.is_closing():
            return
        tell = getattr(self.app, "state", {}).get(REFUSED)
        request_id = tell(status.value, kind) if tell else UNSET
        if self._is_answering:  # whose end comes first, and is the connection's
            self.cycle.keep_alive = False
            if self.on_shutdown is None:
                self.flow.pause_reading()
            self._ignores_input = True
            return
        body = envelope(ErrorBody(type=kind, title=title), request_id)
        said = error_headers(kind) | {"vary": f"{VARY}, Origin"}  # nobody has looked whose page it is
        headers = [
            *self.server_state.default_headers,
            *((name.encode(), value.encode()) for name, value in said.items()),
            (b"content-length", str(len(body)).encode()),
            *([(b"x-request-id", request_id.encode())] if request_id else []),
            (b"connection", b"close"),
        ]
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(b": ".join(pair) for pair in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def connection_of(scope: Scope) -> BoundedProtocol | None:
    """The connection that a request came by; None under another server."""
    found = ((scope.get("extensions") or {}).get(EXTENSION) or {}).get("connection")
    return found if isinstance(found, BoundedProtocol) else None
