"""Requests to the hub, as httpx' transports take them.

Their URLs are made for who looks at them: that takes httpx as long as a connection takes to carry the request, of which
``network`` needs the target only.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, TypeAlias

import httpx

Lines: TypeAlias = list[tuple[bytes, bytes]]
"""Header lines, names and values."""
_NO_BODY: Final = httpx.ByteStream(b"")


class Origin:
    """Where requests go: a URL, under whose path all targets are."""

    def __init__(self, url: str) -> None:
        self.url = httpx.URL(url.rstrip("/"))
        self._path = self.url.raw_path.rstrip(b"/")
        self._host = (b"Host", self.url.netloc)

    def get(self, target: str, lines: Lines, extensions: dict[str, Any]) -> Get:
        """A GET; ``target``: path and query, encoded already."""
        return Get(self.url, self._path + target.encode("ascii"), [self._host, *lines], extensions)


class Get(httpx.Request):
    """A GET, whole; as ``httpx.Request``.

    Attributes:
        target: as it stands in the request line (RFC 9112 §3.2.1).
        lines: all of its header.
    """

    def __init__(self, origin: httpx.URL, target: bytes, lines: Lines, extensions: dict[str, Any]) -> None:
        self._origin = origin
        self.method = "GET"
        self.target = target
        self.lines = lines
        self.extensions = extensions
        self.stream = _NO_BODY

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override]  # httpx makes it at once
        """The whole URL (httpx' name)."""
        return self._origin.copy_with(raw_path=self.target)

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # as above
        """The header (httpx' name)."""
        return httpx.Headers(self.lines)


def get_of(request: httpx.Request) -> Get:
    """Any request without a body, as one of these.

    Raises:
        httpx.LocalProtocolError: it has a body, or is no GET.
    """
    if isinstance(request, Get):
        return request
    if request.method != "GET" or "content-length" in request.headers or "transfer-encoding" in request.headers:
        raise httpx.LocalProtocolError("Only GET is sent, and no body.")
    return Get(request.url, request.url.raw_path, request.headers.raw, dict(request.extensions))
