"""Errors as answers: always the hub's envelope, with what helps added.

``{"error": {"type", "title", "detail"?, "parameter"?}, "status": "error", "status_message", "request_id"}``
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ExceptionHandlersMap, Receive, Scope, Send
from msgspec import UNSET, Struct, UnsetType

from proxy import NAME
from proxy.errors import Forwarded, HubFoundNothing, ProxyError
from proxy.hub import retry_after
from proxy.web.answers import VARY, error_cache_status
from proxy.web.handlers import ALLOW, respond
from proxy.web.state import state_of

_COMMON: Final = {"cache-control": "no-store", "vary": VARY}
_log: Final = logging.getLogger("proxy.web")


class ErrorBody(Struct, kw_only=True, omit_defaults=True):
    """What went wrong. ``type`` is stable; ``detail`` says what happened and what would be right."""

    type: str
    title: str
    detail: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET


class ErrorResponse(Struct, kw_only=True):
    """The hub's error envelope; the proxy's own add the id that its log knows the request by."""

    error: ErrorBody
    status: str = "error"
    status_message: str
    request_id: str | UnsetType = UNSET


def on_proxy_error(request: Request[Any, Any, Any], error: ProxyError) -> Response[bytes]:
    """Answer an error of ours; the hub's own 400, 404 and 422 keep their body."""
    state_of(request.scope).outcome = error.type
    headers = {"cache-status": error_cache_status(error)}
    if error.retry_after is not None:
        headers["retry-after"] = retry_after.header(error.retry_after)
    if error.status == 401:  # RFC 6750 §3: a code only if there were credentials
        given = "authorization" in request.headers or "x-api-key" in request.headers
        headers["www-authenticate"] = f'Bearer realm="{NAME}"' + (', error="invalid_token"' if given else "")
    if isinstance(error, HubFoundNothing) and error.age is not None:
        headers["age"] = str(error.age)
    if isinstance(error, Forwarded) and error.body is not None:
        return respond(request, error.status, _COMMON | headers, error.body)
    body = ErrorBody(
        type=error.type,
        title=error.title,
        detail=error.detail,
        parameter=UNSET if error.parameter is None else error.parameter,
    )
    return respond(request, error.status, _COMMON | headers, envelope(body, state_of(request.scope).request_id))


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused: an unknown path, another method, a malformed request."""
    headers: dict[str, str] = {}
    match error.status_code:
        case 404:
            body = ErrorBody(
                type="resource_not_found",
                title="The requested resource could not be found",
                detail="There is nothing at this path; see /schema/openapi.json for what there is.",
            )
        case 405:
            methods = (error.headers or {}).get("allow", ALLOW).split(", ")
            headers["allow"] = ", ".join(sorted(method for method in methods if method != "OPTIONS"))
            body = ErrorBody(
                type="method_not_allowed",
                title="The method is not allowed",
                detail=f"Allowed are {headers['allow']}.",
            )
        case status if status < 500:
            body = ErrorBody(type="bad_request", title="The request is malformed", detail=error.detail)
        case _:
            return on_fault(request, error)
    state_of(request.scope).outcome = body.type
    headers["cache-status"] = f"{NAME}; detail={body.type}"
    return respond(request, error.status_code, _COMMON | headers, envelope(body, state_of(request.scope).request_id))


def error_headers(kind: str) -> dict[str, str]:
    """The headers of an error that is told in the application's place."""
    return {**_COMMON, "cache-status": f"{NAME}; detail={kind}", "content-type": "application/json"}


def envelope(error: ErrorBody, request_id: str | UnsetType) -> bytes:
    """The body of an error."""
    return msgspec.json.encode(ErrorResponse(error=error, status_message=error.type, request_id=request_id))


def refusing_app(status: int, kind: str, title: str, detail: str, *, after: float | None = None) -> ASGIApp:
    """An application that answers in place of another; ``after``: seconds, for Retry-After."""

    async def refuse(scope: Scope, _: Receive, send: Send) -> None:
        state = state_of(scope)
        state.outcome = kind
        body = envelope(ErrorBody(type=kind, title=title, detail=detail), state.request_id)
        pairs = [(name.encode(), value.encode()) for name, value in error_headers(kind).items()]
        pairs.append((b"content-length", str(len(body)).encode()))
        if after is not None:
            pairs.append((b"retry-after", retry_after.header(after).encode()))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return refuse


def on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a fault of the proxy itself: the log has the traceback, the caller the id to find it by."""
    _log.error("request %s failed", state_of(request.scope).request_id, exc_info=error)
    return on_proxy_error(request, ProxyError("This is a fault of the proxy; its log has more under the request id."))


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {
    ProxyError: on_proxy_error,
    HTTPException: on_http_exception,
    Exception: on_fault,
}
