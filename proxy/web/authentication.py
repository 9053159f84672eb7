"""Which caller a request comes from, by the credentials in its headers; nothing else of it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from litestar.datastructures import Headers
from msgspec import Struct

from proxy.callers.caller import ANONYMOUS, Caller, by_digest, digest
from proxy.callers.tokens import Tokens, Validity
from proxy.errors import Unauthorized
from proxy.settings import Settings
from proxy.web.credentials import credentials_in

MAX_CREDENTIALS: Final = 8192
"""Characters of a key or token that are looked at."""


class Authentication:
    """Knows all callers.

    Where there are none, everybody is anonymous and no header is looked at: the proxy then listens on loopback, or
    has been told in so many words that whoever reaches it may see everything.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        self._by_digest = by_digest(settings.auth.callers)
        self._tokens = None if settings.jwt.algorithm is None else Tokens(settings.jwt, clock=clock)
        self._required = bool(settings.auth.callers) or self._tokens is not None
        self._anonymous = ANONYMOUS if settings.auth.allow_anonymous else None

    async def aclose(self) -> None:
        """Ask for no keys any more."""
        if self._tokens is not None:
            await self._tokens.aclose()

    def validity_check(self, headers: Headers) -> Callable[[], bool] | None:
        """For credentials that were accepted just now: what says, again and again, whether they still are.

        None: nothing but the credentials themselves can say that.
        """
        credentials = credentials_in(headers) if self._required else None
        if credentials is None or digest(credentials) in self._by_digest:
            return _always  # keys, and that none are needed, are settings: they stay
        verified = None if self._tokens is None else self._tokens.verified(credentials)
        return None if self._tokens is None or verified is None else ValidityCheck(self._tokens, verified.validity)

    async def caller(self, headers: Headers) -> Caller:
        """Return who asks: known by a key, or by a token that is signed.

        Raises:
            Unauthorized: they do not say so, not in one way only, or not as somebody who is known.
            KeysUnavailable: it cannot be told yet.
        """
        if not self._required:
            return ANONYMOUS
        credentials = credentials_in(headers)
        if credentials is None:
            if self._anonymous is None:
                raise Unauthorized("Send a key or a token as Authorization: Bearer, or a key as X-API-Key.")
            return self._anonymous
        known = self._by_digest.get(digest(credentials)) if len(credentials) <= MAX_CREDENTIALS else None
        if known is not None:
            return known
        if self._tokens is not None and credentials.count(".") == 2 and "x-api-key" not in headers:
            return await self._tokens.caller(credentials)
        raise Unauthorized("The credentials are not known here; a key may have been replaced.")


class ValidityCheck(Struct, frozen=True):
    """Says whether a token that was verified still is valid; equal for equal ones.

    It is kept with what is known of requests, and so holds nothing of the caller, who may have many namespaces.
    """

    tokens: Tokens
    validity: Validity

    def __call__(self) -> bool:
        """Whether it is."""
        return self.tokens.valid(self.validity)


def _always() -> bool:
    return True
