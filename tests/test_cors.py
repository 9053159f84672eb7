"""Pages of other origins: those on the list may read, nobody else, and no cache mixes the two up."""

from __future__ import annotations

import pytest

from proxy.config.sources import SettingsError, load
from tests.callers import CALLERS, OX, bearer
from tests.support import LIST, rig

APP, OTHER = "https://app.example", "http://localhost:5173"
PREFLIGHT = {"origin": APP, "access-control-request-method": "GET", "access-control-request-headers": "authorization"}


async def test_a_page_may_read_why_its_request_was_too_large() -> None:
    async with rig(origins=(APP,)) as it:
        for answer in (await it.get("model=" + "x" * 40_000, origin=APP), await it.get(origin=APP, x="y" * 40_000)):
            assert answer.status_code in (414, 431)
            assert answer.headers["access-control-allow-origin"] == APP
            assert "Origin" in answer.headers["vary"]


async def test_a_page_of_an_allowed_origin_may_read() -> None:
    async with rig(origins=(APP, OTHER)) as it:
        for origin in (APP, OTHER):
            answer = await it.get(origin=origin)
            assert answer.headers["access-control-allow-origin"] == origin
            exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
            assert {"etag", "age", "cache-status", "x-request-id"} <= exposed
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        *[
            "null",
            "*",
            "https://evil.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.",
        ],
        *["https://app.example.evil.example", "https://evil.example/https://app.example", "https://APP.example"],
        *[
            "https://app.example/",
            "https://xapp.example",
            "app.example",
            "",
            "https://app.example, https://evil.example",
        ],
    ],
)
async def test_a_page_of_another_origin_may_not(origin: str) -> None:
    async with rig(origins=(APP,)) as it:
        answer = await it.get(origin=origin)
        assert answer.status_code == 200, "whether it may be read is the browser's business"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "Origin" in answer.headers["vary"]
        preflight = await it.caller.options(LIST, headers={**PREFLIGHT, "origin": origin})
        assert preflight.status_code == 405
        assert not [name for name in preflight.headers if name.startswith("access-control-")]


async def test_two_origins_at_once_are_none() -> None:
    async with rig(origins=(APP,)) as it:
        answer = await it.caller.get(LIST, headers=[("origin", APP), ("origin", "https://evil.example")])
        assert "access-control-allow-origin" not in answer.headers


async def test_every_answer_varies_on_origin() -> None:
    """Also errors, health, 304s, and answers to requests without an origin."""
    async with rig(origins=(APP,), auth=CALLERS) as it:
        tag = (await it.get("namespace=ox", **bearer(OX))).headers["etag"]
        answers = [
            await it.get("namespace=ox", **bearer(OX)),
            await it.get("namespace=ox", **bearer(OX), **{"if-none-match": tag}),
            await it.get("namespace=ox"),
            await it.get("namespace=bessie", **bearer(OX)),
            await it.get("page=0", **bearer(OX)),
            await it.caller.get("/nowhere"),
            await it.caller.post(LIST),
            await it.caller.get("/health/live"),
            await it.caller.get("/schema/openapi.json"),
        ]
        assert [answer.status_code for answer in answers] == [200, 304, 401, 403, 400, 404, 405, 200, 200]
        for answer in answers:
            assert "Origin" in [name.strip() for name in answer.headers["vary"].split(",")], answer.url
            assert len(answer.headers.get_list("vary")) == 1
        assert "Authorization" in answers[0].headers["vary"]


async def test_an_error_can_be_read_too() -> None:
    async with rig(origins=(APP,), auth=CALLERS) as it:
        answer = await it.get(origin=APP)
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == APP


async def test_a_preflight_is_answered_without_credentials() -> None:
    async with rig(origins=(APP,), auth=CALLERS) as it:
        answer = await it.caller.options(LIST, headers=PREFLIGHT)
        assert answer.status_code == 204
        assert answer.content == b""
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-max-age"] == "600"
        assert "Access-Control-Request-Headers" in answer.headers["vary"]
        assert answer.headers["x-request-id"]
        assert it.hub_requests == 0


@pytest.mark.parametrize("names", ["traceparent", "authorization,traceparent,tracestate"])
async def test_a_page_may_send_its_trace(names: str) -> None:
    """As instrumented browsers do (W3C Trace Context): refused, each of their requests would be lost."""
    async with rig(origins=(APP,)) as it:
        answer = await it.caller.options(LIST, headers=PREFLIGHT | {"access-control-request-headers": names})
        assert answer.status_code == 204
        assert {*names.split(",")} <= {*answer.headers["access-control-allow-headers"].split(", ")}


@pytest.mark.parametrize(
    "asked",
    [
        {"access-control-request-method": "POST"},
        {"access-control-request-method": "DELETE"},
        {"access-control-request-method": "get"},
        {"access-control-request-headers": "authorization, x-evil"},
        {"access-control-request-headers": "cookie"},
    ],
)
async def test_a_preflight_for_more_than_reading_is_refused(asked: dict[str, str]) -> None:
    async with rig(origins=(APP,)) as it:
        answer = await it.caller.options(LIST, headers=PREFLIGHT | asked)
        assert answer.status_code == 405
        assert "access-control-allow-methods" not in answer.headers


async def test_options_that_is_no_preflight_is_another_method() -> None:
    async with rig(origins=(APP,)) as it:
        assert (await it.caller.options(LIST, headers={"origin": APP})).status_code == 405


async def test_without_origins_nothing_is_said() -> None:
    async with rig() as it:
        answer = await it.get(origin=APP)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "Origin" not in answer.headers["vary"]


@pytest.mark.parametrize("text", [f"{APP},{OTHER}", f'["{APP}", "{OTHER}"]', f" {APP} , {OTHER} "])
def test_origins_are_read_as_a_list_or_as_json(text: str) -> None:
    assert load({"PROXY_CORS_ORIGINS": text}).settings.cors.origins == (APP, OTHER)


@pytest.mark.parametrize(
    "origin",
    [
        *["http://[::1]:3000", "https://[2001:db8::8:800]", "https://a.example:80", "http://b.example:443"],
        "https://my_app.example",
    ],
)
def test_origins_that_browsers_send_are_taken(origin: str) -> None:
    assert load({"PROXY_CORS_ORIGINS": origin}).settings.cors.origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        *["*", "null", "https://app.example/", "app.example", "https://APP.example", "https://*.a", "http://[::1"],
        *["https://app.example:443", "http://app.example:80", "https://[::1]:443", f'["{APP}\\n"]'],
    ],
)
def test_what_no_browser_sends_as_an_origin_is_a_fault(origin: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"PROXY_CORS_ORIGINS": origin})
    assert caught.value.faults[0].startswith("PROXY_CORS_ORIGINS: ")
