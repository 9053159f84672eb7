"""How flights of other replicas end: the news of it, and who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from proxy import errors
from proxy.errors import Forwarded, HubError, ProxyError


class _Failure(Struct, frozen=True, array_like=True):
    type: str
    detail: str
    hub_status: int | None = None
    retry_after: float | None = None
    body: bytes | None = None
    asked: bool = True


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Failure).decode
_HUB_ERRORS: Final[dict[str, type[HubError]]] = {kind.type: kind for kind in HubError.__subclasses__()}
_FORWARDED: Final[dict[str, type[Forwarded]]] = {kind.type: kind for kind in Forwarded.__subclasses__()}


def write_failure(error: ProxyError) -> bytes:
    """An error of the hub, for those who wait in other replicas; it holds no secret, as no error does."""
    if isinstance(error, Forwarded):
        return _encode(_Failure(error.type, error.detail, error.hub_status, body=error.body))
    status, asked = (error.hub_status, error.asked) if isinstance(error, HubError) else (None, False)
    return _encode(_Failure(error.type, error.detail, status, error.retry_after, asked=asked))


def read_failure(raw: bytes) -> ProxyError:
    """The same error again.

    Raises:
        ValueError: it is none.
    """
    try:
        failure = _decode(raw)
    except msgspec.MsgspecError as error:
        raise ValueError("no failure") from error
    if kind := _FORWARDED.get(failure.type):
        return kind(failure.detail, failure.body, hub_status=failure.hub_status)
    cls = _HUB_ERRORS.get(failure.type, errors.HubError)
    again = cls(failure.detail, hub_status=failure.hub_status, retry_after=failure.retry_after)
    again.asked = failure.asked
    return again


def landing(page_key: str, token: str, failure: bytes = b"") -> bytes:
    """What is told of a flight that has ended, as :meth:`Landings.on_news` reads it."""
    return f"{page_key} {token} ".encode() + failure


class LandingWaiter:
    """Waits for the flight of one question to end elsewhere."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._failures: dict[str, ProxyError] = {}

    async def wait(self, token: str, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether there was news, so that the flight may have ended.

        What came before this was called counts: the news may overtake the answer that says whom to wait for.

        Raises:
            ProxyError: it ended with that.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        if error := self._failures.pop(token, None):
            raise error
        return woken

    def wake(self, token: str = "", failure: ProxyError | None = None) -> None:
        """The flight of this token has ended; or, without one, it is not known what was missed."""
        if failure is not None:
            self._failures[token] = failure
        self._woken.set()


class Landings:
    """Who waits for which question; there is one flight of each question in a process, and so one waiter."""

    def __init__(self) -> None:
        self._waiters: dict[str, LandingWaiter] = {}

    @contextlib.contextmanager
    def listening(self, page_key: str) -> Iterator[LandingWaiter]:
        """Listen for the landings of a question."""
        waiter = self._waiters[page_key] = LandingWaiter()
        try:
            yield waiter
        finally:
            del self._waiters[page_key]

    def on_news(self, news: bytes) -> None:
        """Take in news of a landing: ``<page> <token> <failure>``.

        Raises:
            ValueError: it cannot be read.
        """
        page_key, token, raw = news.split(b" ", 2)
        if waiter := self._waiters.get(page_key.decode()):
            waiter.wake(token.decode(), read_failure(raw) if raw else None)

    def wake_all(self) -> None:
        """News may have been missed: all who wait look for themselves."""
        for waiter in self._waiters.values():
            waiter.wake()
