"""The hub's stream of events, over HTTP: one connection, which is not one of those for questions.

Each connection has a client of its own, so that a stream never takes a place in the pool of requests, and nothing of
one that hung is left to the next. It is never cancelled: closing it ends whoever reads it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

from proxy import errors
from proxy.hub import sse
from proxy.hub.body import codings, echoes
from proxy.hub.client import Transport
from proxy.hub.clients import bare_client
from proxy.hub.credential import Credential
from proxy.hub.faults import connection_error, status_error
from proxy.hub.network import Network
from proxy.hub.sse import Event, Parser, StreamFault
from proxy.hub.tls import tls_context
from proxy.secret import Secret
from proxy.settings import HubSettings
from proxy.tasks.detached import Detached, wait_until_done

EVENTS_PATH: Final = "/api/events"
_log: Final = logging.getLogger("proxy.events")


class NoStream(Exception):
    """There is no stream, or no more. What it says concerns the stream only, not what else the hub is asked.

    Attributes:
        absent: the hub does not offer one.
        refused: it refused the token.
        wait: seconds for which it is not to be asked for one again.
    """

    def __init__(self, reason: str, *, absent: bool = False, refused: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.absent = absent
        self.refused = refused
        self.wait = wait


class EventStream:
    """An open stream.

    Args:
        silence: seconds without a byte after which it is given up.
    """

    def __init__(self, client: httpx.AsyncClient, response: httpx.Response, token: Secret, silence: float) -> None:
        self._client = client
        self._response = response
        self._token = token
        self._silence = silence

    async def events(self) -> AsyncIterator[Event]:
        """Yield what comes; ends only by raising.

        Raises:
            NoStream: saying why it ended.
        """
        parser = Parser()
        try:
            async for chunk in self._response.aiter_raw():
                for event in parser.feed(chunk):
                    if echoes(self._token, event.data.encode()):
                        _log.warning("an event that holds the hub's token is not passed on")
                    else:
                        yield event
        except httpx.TimeoutException:
            raise NoStream(f"the hub was silent for {self._silence:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise NoStream(f"the connection broke: {type(error).__name__}") from None
        except StreamFault as fault:
            raise NoStream(str(fault)) from None
        raise NoStream("the hub ended the stream")

    async def aclose(self) -> None:
        """End the connection; whoever reads it is woken."""
        await self._client.aclose()


class HubStream:
    """Opens the stream of one credential.

    Args:
        silence: seconds without a byte after which a connection is given up.
        clock: Unix seconds.
    """

    def __init__(
        self,
        settings: HubSettings,
        credential: Credential,
        *,
        silence: float,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._transport = transport
        self._silence = silence
        self._base = httpx.URL(settings.url.rstrip("/"))
        self._clock = clock
        self._tls = tls_context(settings.ca_file)
        self._opening = Detached(awaited=True)

    async def open(self) -> EventStream:
        """Connect; the hub's first line of an answer comes within ``hub.read_timeout``.

        Raises:
            HubError: what holds for all that the hub is asked: it cannot be reached, or is to be left alone.
            NoStream: anything else.
        """
        token = self._credential.token()
        client = self._client()
        sent = self._opening.spawn(client.send(self._request(client, token), stream=True))
        try:  # whoever asks is cancelled where another replica is to have the events
            done = await wait_until_done(sent, self._settings.connect_timeout + self._settings.read_timeout)
            response = self._answer(sent if done else None)
            self._check(response, token)
        except BaseException:
            self._opening.spawn(_discard(sent))
            await client.aclose()
            raise
        return EventStream(client, response, token, self._silence)

    def _answer(self, sent: asyncio.Task[httpx.Response] | None) -> httpx.Response:
        if sent is None:
            raise errors.HubTimeout("No answer to the request for events in time.")
        try:
            return sent.result()
        except httpx.HTTPError as error:
            raise connection_error(error, self._settings, began=False) from error

    def _check(self, response: httpx.Response, token: Secret) -> None:
        """Return if the answer is a stream."""
        status = response.status_code
        if status == 429 or (status == 503 and "retry-after" in response.headers):
            raise status_error(status, response.headers, self._clock())
        if status in (401, 403):
            self._credential.refused(token)  # looks for another one
            raise NoStream(f"the hub answered {status}", refused=True)
        if status == 501 or (status < 500 and status not in (200, 408, 425)):
            raise NoStream(f"the hub answered {status}", absent=True)
        if status != 200:
            raise NoStream(f"the hub answered {status}")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != sse.MEDIA_TYPE or codings(response.headers):
            raise NoStream("the hub's answer is no event stream", absent=True)

    def _request(self, client: httpx.AsyncClient, token: Secret) -> httpx.Request:
        raw_path = self._base.raw_path.rstrip(b"/") + EVENTS_PATH.encode()
        authorization = {"authorization": f"Bearer {token.reveal()}"}
        return client.build_request("GET", self._base.copy_with(raw_path=raw_path), headers=authorization)

    def _client(self) -> httpx.AsyncClient:
        network = self._transport or Network(self._settings.url, 1, 0.0, self._tls)
        connect, read = self._settings.connect_timeout, self._settings.read_timeout
        return bare_client(network, sse.MEDIA_TYPE, httpx.Timeout(read, connect=connect, read=self._silence))


async def _discard(sent: asyncio.Task[httpx.Response]) -> None:
    """Close what comes in the end: closing the client ends no connection that is still being made."""
    await wait_until_done(sent)
    if not sent.cancelled() and sent.exception() is None:
        await sent.result().aclose()
