"""The hub, asked over HTTP: a 200's body comes back as bytes, everything else as a named error.

The precautions, each learned from a fault:

- A request is never cancelled, as that can poison the pool of a transport that the application is given, httpx' own
  for example. It runs detached, and ends with its connection when the deadline passes (``network``).
- The transport is used directly, without httpx's client around it: so no cookies are kept, no redirect is followed
  (the token would travel), and a request costs a third less. No environment variable changes the way.
- The body is read raw and counted, decoded bytes included: a gzip bomb ends at the limit (``body``).
- An error says whether the request may be repeated: if no connection could be made, or a kept-alive one broke
  before any answer, as the hub closed it while it was idle and never read the request (only ``network`` knows that, not
  a transport that the application is given); and after a 401, if the token file holds a new token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import httpx
from msgspec import Struct

from proxy import NAME, errors, tracing
from proxy.hub.body import echoes, read_body, read_error
from proxy.hub.credential import Credential
from proxy.hub.dates import dated
from proxy.hub.faults import connection_error, status_error
from proxy.hub.network import UNTIL, Network
from proxy.hub.request import Lines, Origin
from proxy.hub.tls import tls_context
from proxy.secret import Secret
from proxy.settings import HubSettings
from proxy.tasks.detached import Detached, wait_until_done

Transport: TypeAlias = httpx.AsyncBaseTransport
"""How requests reach the hub: the network, unless a test puts something else there."""
HEADER: Final = [
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"user-agent", NAME.encode()),
]
KEEPALIVE_EXPIRY: Final = 55.0
"""Seconds for which an idle connection is kept: less than the 60 s after which servers and balancers usually close."""


class Answer(Struct, frozen=True):
    """A 200 of the hub; ``dated``, ``age``: as of ``dates.dated``."""

    body: bytes
    dated: float | None = None
    age: float = 0.0


class HubCall(Struct):
    """A request to the hub that has ended; what to do with the answer is decided elsewhere.

    Attributes:
        credential: by its name.
        status: of the hub's answer; 0 if there was none.
        failure: the type of the error that it ended in, the hub's own included; empty if there is none.
        seconds: until the whole answer was there, or there was to be none.
        trace: its place in the trace of the request that it was sent for, with tracing on.
    """

    credential: str
    status: int = 0
    failure: str = ""
    seconds: float = 0.0
    trace: tracing.Trace | None = None


class Hub:
    """A client of the hub's read API.

    Attributes:
        credential: the name of what it is asked with.
        on_call: what is told of each request that has ended.
    """

    def __init__(
        self,
        settings: HubSettings,
        credential: Credential,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self.credential = credential.name
        self._clock = clock
        self._origin = Origin(settings.url)
        self._detached = Detached(awaited=True)
        self._transport = transport or Network(
            settings.url, settings.concurrency, KEEPALIVE_EXPIRY, tls_context(settings.ca_file)
        )
        self._timeout = httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout).as_dict()
        self.on_call: list[Callable[[HubCall], None]] = []
        self._closed = False

    async def get(self, path: str, query: str, *, deadline: float | None = None) -> bytes:
        """Return the body of what ``ask`` returns."""
        return (await self.ask(path, query, deadline=deadline)).body

    async def ask(self, path: str, query: str, *, deadline: float | None = None) -> Answer:
        """Return the hub's 200 for ``path`` with the already encoded ``query``.

        It comes within ``deadline`` seconds, ``hub.deadline`` if that is not given.

        Raises:
            HubError: the hub gave no usable answer, or none in time.
            Forwarded: the hub answered 400, 404 or 422.
        """
        deadline = self._settings.deadline if deadline is None else deadline
        exchange = self._detached.spawn(self._exchange(path, query, asyncio.get_running_loop().time() + deadline))
        if not await wait_until_done(exchange, deadline):
            raise errors.HubTimeout(f"No whole answer within {deadline:.3g} s.")
        return exchange.result()

    def asks_as(self, credential_id: str) -> bool:
        """Whether the token is still the one of this id, so that the answers until now came by it."""
        return self._credential.id == credential_id

    async def aclose(self, timeout: float = 0.0) -> None:
        """Wait at most ``timeout`` seconds for abandoned requests, then close the connections."""
        await self._detached.drain(timeout)
        self._closed = True  # what ends with its connection now would else be repeated on a new one
        await self._transport.aclose()

    async def _exchange(self, path: str, query: str, until: float) -> Answer:
        if self._closed:
            raise errors.HubUnreachable("This process ends, and asks no more.")
        token = self._credential.token()
        try:
            with self._reporting() as call:
                return await self._send(path, query, token, until, call)
        except errors.HubRefusedCredential as error:
            error.repeatable = self._credential.refused(token)
            raise

    @contextmanager
    def _reporting(self) -> Iterator[HubCall]:
        """Tell of a request when it has ended."""
        call, began = HubCall(self._credential.name), time.perf_counter()
        try:
            yield call
        except errors.ProxyError as error:
            call.failure = error.type
            raise
        finally:
            call.seconds = time.perf_counter() - began
            for tell in self.on_call:
                tell(call)

    async def _send(self, path: str, query: str, token: Secret, until: float, call: HubCall) -> Answer:
        if (trace := tracing.current.get()) is not None:
            call.trace = trace.child()
        target = f"{path}?{query}" if query else path
        request = self._origin.get(target, HEADER + _trace_header(call), {"timeout": self._timeout, UNTIL: until})
        request.lines.append((b"authorization", b"Bearer " + token.encoded()))  # last: no frame but this one sees it
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise connection_error(error, self._settings, began=False) from error
        call.status = response.status_code
        try:
            return await self._read(response, token, until)
        except httpx.HTTPError as error:
            raise connection_error(error, self._settings, began=True) from error
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, token: Secret, until: float) -> Answer:
        status = response.status_code
        if status == 200:
            body = await read_body(response, self._settings.answer_bytes, until)
            if echoes(token, body):
                raise errors.HubAnswerNotAPage(
                    "The hub's answer holds the token that it was asked with.", hub_status=200
                )
            return Answer(body, *dated(response.headers))
        if status in (400, 404, 422):
            said = await read_error(response, token, until)
            cls = errors.HubFoundNothing if status == 404 else errors.HubRejectedQuestion
            raise cls(f"The hub answered {status}.", said, hub_status=status)
        raise status_error(status, response.headers, self._clock())


def _trace_header(call: HubCall) -> Lines:
    return [] if call.trace is None else [(tracing.HEADER.encode(), call.trace.traceparent.encode())]
