"""One connection to the hub: HTTP/1.1 (RFC 9112), one exchange after the other.

No exchange outlasts its deadline, however its bytes drip, nor is what it leaves on the connection taken for the answer
to the next request: a connection on which anything comes unasked is ended.
"""

from __future__ import annotations

import asyncio
import math
import select
from collections.abc import Callable
from typing import Final

import httptools
import httpx

from proxy.hub.incoming import Incoming

MAX_DRY: Final = 128 * 1024
"""Bytes that may come without one of a body among them: heads, interim answers, trailers, extensions of chunks."""
MAX_UNTAKEN: Final = 16 * 2**20
"""Bytes of a body that may wait for who takes it; an exchange ends where there are more. (To pause reading is no way
to bound them: uvloop loses what has come by TLS when the other side ends the connection meanwhile.)"""
_BODILESS: Final = {204, 304}
_REQUEST_TIMEOUT: Final = 408
_SWITCHED: Final = 101
_BLANK: Final = b" \t"


class StaleConnection(httpx.RemoteProtocolError):
    """A connection that was kept ended before anything of an answer came: the hub may never have read the request.

    Or a 408 came, which is said of a connection that has been idle for too long (RFC 9110 §15.5.9).
    """


class Overdue(httpx.ReadTimeout):
    """The time for the exchange was over."""


class Connection(asyncio.Protocol):
    """Carries requests without bodies, and their answers.

    Args:
        on_free: called when an exchange has ended, however it did; with whether the connection can carry another.

    Attributes:
        free_since: the loop's time at which its last exchange ended.
    """

    def __init__(self, on_free: Callable[[Connection, bool], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # A hub that is not quite exact is understood, as by h11; none of it makes two answers of one, or one of two.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_version=True,
            lenient_keep_alive=True,  # that an interim answer is the last there is cannot be
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._incoming: Incoming | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = self._silence = math.inf
        self._heard_at = 0.0
        self._kept = self._heard = self._complete = self._reusable = self._surplus = self._to_the_end = False
        self._dry = 0
        self.free_since = 0.0

    @property
    def quiet(self) -> bool:
        """Whether it stands, and nothing has come on it that was not asked for; the loop may not have seen it yet."""
        if self._transport is None or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    async def ask(self, head: bytes, *, until: float, silence: float) -> httpx.Response:
        """Send a request and return the answer's head; its body comes as the response's stream.

        Args:
            head: the request, whole.
            until: the loop's time at which the exchange ends, however far it is.
            silence: seconds without a byte after which it does.

        Raises:
            httpx.TransportError: no head came.
        """
        incoming = self._incoming = Incoming(self.abort)
        self._until, self._silence, self._heard_at = until, silence, self._loop.time()
        self._heard = self._complete = self._surplus = self._to_the_end = False
        self._dry = 0
        if self._transport is None or self._transport.is_closing():
            self._fail(self._broke(None))
        else:
            self._watch()
            if self._incoming is not None:
                self._transport.write(head)
        del head  # it holds a token, and this frame may be part of an error's traceback
        try:
            return await incoming.head()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """End the connection; an answer that has not ended breaks off."""
        self._fail(httpx.ReadError("The connection was closed."))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP, it is one
        """It stands (asyncio's name)."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes have come (asyncio's name)."""
        if self._incoming is None:
            self.abort()  # nothing was asked
            return
        self._heard, self._heard_at = True, self._loop.time()
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._fail(httpx.RemoteProtocolError("What came is no answer of HTTP/1.1."))
                return
            self._surplus = True
        if self._incoming is None:
            return
        if self._complete:
            self._end(reusable=self._reusable and not self._surplus)
        elif self._dry > MAX_DRY:
            self._fail(httpx.RemoteProtocolError(f"More than {MAX_DRY} bytes came that are none of a body."))
        elif self._incoming.untaken > MAX_UNTAKEN:
            self._fail(httpx.ReadError(f"More than {MAX_UNTAKEN} bytes came that nobody has taken."))

    def eof_received(self) -> None:
        """The hub sends no more (asyncio's name)."""
        if self._incoming is not None and self._to_the_end:
            self._end(reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended (asyncio's name)."""
        if self._incoming is not None and self._to_the_end and exc is None:
            self._end(reusable=False)
        else:
            self._fail(self._broke(exc))

    def on_message_begin(self) -> None:
        """An answer begins (httptools' name)."""
        self._surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of a head, or of a trailer, which says nothing that is of use here (httptools' name)."""
        if self._incoming is not None and not self._incoming.status:
            self._incoming.headers.append((name, value.rstrip(_BLANK)))

    def on_headers_complete(self) -> None:
        """A head has ended (httptools' name)."""
        incoming, status = self._incoming, self._parser.get_status_code()
        if incoming is None or self._complete:
            return
        if status < 200 and status != _SWITCHED:
            incoming.headers.clear()  # of an interim answer, which others follow (RFC 9110 §15.2)
            return
        codings = b",".join(value for name, value in incoming.headers if name.lower() == b"transfer-encoding").lower()
        if status == _REQUEST_TIMEOUT and self._kept:
            self._fail(StaleConnection("A 408 came on a connection that had been idle."))
        elif codings not in (b"", b"chunked"):
            self._fail(httpx.RemoteProtocolError("The answer has a transfer coding other than chunked."))
        else:
            has_length = any(name.lower() == b"content-length" for name, _ in incoming.headers)
            self._to_the_end = not (status in _BODILESS or codings or has_length)  # RFC 9112 §6.3
            incoming.begin(status)

    def on_body(self, part: bytes) -> None:
        """A part of a body (httptools' name)."""
        if self._incoming is not None and not self._complete:
            self._dry = 0
            self._incoming.add(part)

    def on_message_complete(self) -> None:
        """An answer has ended (httptools' name)."""
        if self._incoming is not None and self._incoming.status and not self._complete:
            self._complete, self._reusable = True, self._parser.should_keep_alive()

    def _end(self, *, reusable: bool) -> None:
        """The exchange has ended as it should."""
        incoming, self._incoming, self._kept = self._incoming, None, True
        self._stop_watching()
        if not reusable and self._transport is not None:
            self._transport.abort()
        self.free_since = self._loop.time()
        if incoming is not None:
            self._on_free(self, reusable)
            incoming.end()

    def _fail(self, error: httpx.TransportError) -> None:
        """The connection has ended, or has to."""
        incoming, self._incoming = self._incoming, None
        self._stop_watching()
        if self._transport is not None:
            self._transport.abort()
        self._on_free(self, False)
        if incoming is not None:
            incoming.end(error)

    def _broke(self, cause: Exception | None) -> httpx.TransportError:
        kind = StaleConnection if self._kept and not self._heard else httpx.RemoteProtocolError
        error = kind("The connection ended before the answer did.")
        error.__cause__ = cause
        return error

    def _watch(self) -> None:
        """Look again when the exchange may have taken too long."""
        now, silent_at = self._loop.time(), self._heard_at + self._silence
        if now >= self._until:
            self._fail(Overdue("The answer did not come in time."))
        elif now >= silent_at:
            self._fail(httpx.ReadTimeout("Nothing came for too long."))
        elif (again_at := min(self._until, silent_at)) < math.inf:
            self._timer = self._loop.call_at(again_at, self._watch)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
