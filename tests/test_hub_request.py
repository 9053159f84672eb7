"""Requests to the hub: what is sent, and what httpx' transports see of it."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.hub.request import Get, Origin, get_of
from proxy.questions.query import ListQuery

LINES = [(b"accept", b"application/json"), (b"authorization", b"Bearer k")]


def made(url: str, target: str) -> Get:
    return Origin(url).get(target, LINES, {"until": 1.0})


def encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://hub.test", b"/api/x?a=b", b"hub.test"),
        ("http://hub.test/", b"/api/x?a=b", b"hub.test"),
        ("https://hub.test:8443/some/prefix/", b"/some/prefix/api/x?a=b", b"hub.test:8443"),
        ("http://[::1]:81/a%20b", b"/a%20b/api/x?a=b", b"[::1]:81"),
        ("https://hub.test:443", b"/api/x?a=b", b"hub.test"),
    ],
)
def test_it_is_what_httpx_would_make(url: str, target: bytes, host: bytes) -> None:
    get = made(url, "/api/x?a=b")
    usual = httpx.Request(
        "GET", httpx.URL(url.rstrip("/")).copy_with(raw_path=target), headers=LINES, extensions={"until": 1.0}
    )
    assert (get.target, get.lines[0]) == (target, (b"Host", host))
    assert (get.method, get.url, get.headers.raw, get.extensions) == (
        usual.method,
        usual.url,
        usual.headers.raw,
        usual.extensions,
    )
    assert get.url.raw_path == target


@given(st.text(min_size=1, max_size=30).filter(encodable))
def test_httpx_reads_no_other_target_in_what_callers_ask(folder: str) -> None:
    """Else a transport of httpx would ask the hub something else than the proxy's own does."""
    get = made("http://hub.test/p", f"/api/ai/generations?{ListQuery(folder=folder).canonical}")
    assert get.url.raw_path == get.target


async def test_a_transport_of_httpx_can_read_it() -> None:
    seen: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=await request.aread())

    response = await httpx.MockTransport(answer).handle_async_request(made("http://hub.test", "/api/x?a=b"))
    assert (response.content, str(seen[0].url), seen[0].headers["authorization"]) == (
        b"",
        "http://hub.test/api/x?a=b",
        "Bearer k",
    )


def test_one_of_httpx_is_taken_as_it_is() -> None:
    usual = httpx.Request("GET", "http://hub.test/a b?c=d|e", headers={"x-one": "1"}, extensions={"until": 1.0})
    get = get_of(usual)
    assert (get.target, get.lines, get.extensions) == (usual.url.raw_path, usual.headers.raw, {"until": 1.0})
    assert get_of(get) is get
