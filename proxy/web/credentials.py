"""The credentials in a request's headers (RFC 9110 §11.6.2, RFC 6750 §2.1: not in the query, not in the body)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from litestar.datastructures import Headers

from proxy.errors import Unauthorized
from proxy.hub.credential import read_token
from proxy.secret import Secret
from proxy.secret_file import Reloaded
from proxy.settings import AdminSettings, StatusSettings

CurrentKey: TypeAlias = Callable[[], Secret]
"""Says which key counts now."""
_log: Final = logging.getLogger("proxy.keys")


def credentials_in(headers: Headers) -> str | None:
    """The one key or token that is given; None: there is none.

    Raises:
        Unauthorized: there are several, or it is given in another way.
    """
    bearers, keys = headers.getall("authorization", []), headers.getall("x-api-key", [])
    if len(bearers) + len(keys) > 1:
        raise Unauthorized("Credentials are given more than once; send one Authorization or one X-API-Key.")
    if keys:
        return keys[0]
    if not bearers:
        return None
    scheme, _, credentials = bearers[0].partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip(" "):
        raise Unauthorized("Authorization is not of the scheme Bearer, or empty.")
    return credentials.strip(" ")


def current_key(settings: AdminSettings | StatusSettings, what: str) -> CurrentKey | None:
    """The key that is set, or that a file holds, which is looked at each time (one ``stat``); None: there is none.

    Raises:
        TokenFault: the file cannot be read, or holds no key.
    """
    if settings.key_file is not None:
        file = Reloaded(Path(settings.key_file), read_token, what, _log)

        def current() -> Secret:
            file.reload_if_changed()
            return file.value

        return current
    key = settings.key
    return None if key is None else lambda: key


def require_key(headers: Headers, keys: Iterable[CurrentKey], hint: str) -> None:
    """Let through only who sends one of these keys as bearer token.

    Raises:
        Unauthorized: it is not sent; ``hint`` says what to send.
    """
    key = credentials_in(headers)
    if key is None or "x-api-key" in headers or Secret(key) not in [current() for current in keys]:
        raise Unauthorized(hint)
