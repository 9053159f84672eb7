"""Pages for people: each one file with its style and script inside, and a policy that allows nothing else.

The policy (Content Security Policy, level 3) names style and script by their digests: what somebody would inject does
not run, and the page can ask and show nothing but this proxy, unless more is named.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any, Final

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from proxy.web.handlers import get_handler, respond

_INSIDE: Final = {
    "script-src": re.compile(rb"<script>(.*?)</script>", re.DOTALL),
    "style-src": re.compile(rb"<style>(.*?)</style>", re.DOTALL),
}


class PageFile:
    """A page of ``proxy/web/pages``.

    Args:
        images: an origin whose images it may show, beside this proxy's.
    """

    def __init__(self, name: str, images: str = "") -> None:
        self.body = files("proxy.web").joinpath("pages", name).read_bytes()
        allowed = [f"{kind} {' '.join(map(_source, found.findall(self.body)))}" for kind, found in _INSIDE.items()]
        self.policy = "; ".join(
            [
                "default-src 'none'",
                *allowed,
                "connect-src 'self'",
                f"img-src 'self' data: {images}".rstrip(),
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        )


def page_handler(path: str, file: PageFile) -> HTTPRouteHandler:
    """The handler of a page at ``path``."""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": file.policy,
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }

    @get_handler(path)
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        return respond(request, 200, headers, file.body)

    return show


def _source(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
