"""Cross-origin requests of browsers (WHATWG Fetch §3.2): an allow-list of origins, and nothing beyond reading.

Callers send their credentials in a header of their own, never as a cookie: so nothing is allowed "with credentials",
and no page can act with a login that it does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED_HEADERS: Final = (
    b"Age, Cache-Status, ETag, Listing-Moment, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
)
METHODS: Final = frozenset({"GET", "HEAD"})
HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "cache-control", "pragma", "if-none-match", "listing-moment"}
    | {"accept", "last-event-id"}
    | {"traceparent", "tracestate"}  # sent by instrumented pages, whose requests are lost where they may not
)
MAX_AGE: Final = b"600"
"""Seconds for which a browser need not ask again."""
_PREFLIGHT_VARY: Final = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Wrap ``app``: pages of these origins may read its answers. With none, ``app`` itself.

    Every answer varies on Origin, also those to requests without one: what is kept of them would else be taken for
    an answer to a page of another origin.
    """
    if not origins:
        return app
    allowed = frozenset(origin.encode() for origin in origins)

    async def cors(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        origin = allowed_origin(scope, allowed)
        if origin is not None and scope["method"] == "OPTIONS" and _may(scope):
            await _allow(send, origin)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_vary(message["headers"]) + readable_by(origin)
            await send(message)

        await app(scope, receive, sending)

    return cors


def allowed_origin(scope: Scope, allowed: Collection[bytes]) -> bytes | None:
    """The origin that a request names, if its pages may read the answer."""
    given = [value for name, value in scope["headers"] if name == b"origin"]
    return given[0] if len(given) == 1 and given[0] in allowed else None


def readable_by(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that pages of the origin may read; none where there is none."""
    if origin is None:
        return []
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED_HEADERS)]


def _may(scope: Scope) -> bool:
    """Whether it is a preflight for something that is allowed."""
    asked = {name: value.decode("latin-1") for name, value in scope["headers"] if name.startswith(b"access-control-")}
    names = asked.get(b"access-control-request-headers", "").lower().split(",")
    wanted = {name.strip() for name in names} - {""}
    return asked.get(b"access-control-request-method") in METHODS and wanted <= HEADERS


async def _allow(send: Send, origin: bytes) -> None:
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", ", ".join(sorted(METHODS)).encode()),
        (b"access-control-allow-headers", ", ".join(sorted(HEADERS)).encode()),
        (b"access-control-max-age", MAX_AGE),
        (b"vary", _PREFLIGHT_VARY),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_vary(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, with Origin in their Vary."""
    pairs = list(headers)
    said = [value for name, value in pairs if name == b"vary"]
    kept = [(name, value) for name, value in pairs if name != b"vary"]
    return [*kept, (b"vary", b", ".join([*said, b"Origin"]))]
