"""What all routes have in common: they are read, with GET or HEAD, and answer with bytes."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler

ALLOW: Final = "GET, HEAD"


def get_handler(path: str) -> HTTPRouteHandler:
    """Decorate a handler for GET and HEAD at ``path``.

    OPTIONS is registered only to be refused as all other methods are: left out, the framework would
    answer it with 204 by itself.
    """
    methods = [HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS]
    return HTTPRouteHandler(path, http_method=methods, before_request=_refuse_options)


def respond(request: Request[Any, Any, Any], status: int, headers: dict[str, str], body: bytes) -> Response[bytes]:
    """Answer with a JSON ``body``, which HEAD gets the length of (RFC 9110 §9.3.2); with none, no type either."""
    if status != 304:
        headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    without_body = status == 304 or request.method == HttpMethod.HEAD
    return Response(b"" if without_body else body, status_code=status, headers=headers)


async def _refuse_options(request: Request[Any, Any, Any]) -> None:
    # async, though it waits for nothing: what is not, the framework runs in a thread, for each request
    if request.method == HttpMethod.OPTIONS:
        raise MethodNotAllowedException
