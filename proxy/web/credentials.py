"""The credentials in a request's headers (RFC 9110 §11.6.2, RFC 6750 §2.1: not in the query, not in the body)."""

from __future__ import annotations

from collections.abc import Collection

from litestar.datastructures import Headers

from proxy.errors import Unauthorized
from proxy.secret import Secret


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


def require_key(headers: Headers, keys: Collection[Secret], hint: str) -> None:
    """Let through only who sends one of these keys as bearer token.

    Raises:
        Unauthorized: it is not sent; ``hint`` says what to send.
    """
    key = credentials_in(headers)
    if key is None or "x-api-key" in headers or Secret(key) not in keys:
        raise Unauthorized(hint)
