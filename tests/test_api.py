"""The API as a caller sees it: answers, errors, headers; with the simulator as hub."""

from __future__ import annotations

import asyncio
import json

import fakeredis
import httpx
import pytest

from proxy.simulator import Fault
from tests.bad_queries import BAD_QUERIES
from tests.support import KEY, LIST, REQUIRED_HEADERS, envelope, rig


async def test_a_question_that_is_asked_again_is_a_hit_with_the_same_bytes() -> None:
    async with rig() as it:
        first = await it.get("status=succeeded&page_size=5")
        it.clock.advance(3.2)
        second = await it.get("page_size=5&status=succeeded&page=1")
        assert it.hub_requests == 1
        assert first.status_code == second.status_code == 200
        assert first.content == second.content
        assert first.json()["count"] == 5
        assert first.headers["cache-status"] == "generations-proxy; fwd=uri-miss; fwd-status=200; stored; ttl=5"
        assert second.headers["cache-status"] == "generations-proxy; hit; ttl=1; detail=memory"
        assert (first.headers["age"], second.headers["age"]) == ("0", "3")
        assert first.headers["etag"] == second.headers["etag"]
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert second.headers["cache-control"] == "private, no-cache"
        assert second.headers["content-type"] == "application/json"
        assert [event.outcome for event in it.events] == ["miss", "hit"]


async def test_only_our_own_headers_come_back() -> None:
    """The hub's cookie, request id and cache-control stay behind: the answer's headers are an allow-list."""
    async with rig() as it:
        for _ in range(2):
            response = await it.get()
            assert set(response.headers) == REQUIRED_HEADERS | {"age", "etag", "listing-moment"}


async def test_nothing_of_the_caller_reaches_the_hub() -> None:
    async with rig() as it:
        headers = {
            "authorization": "Bearer caller",
            "x-api-key": "caller",
            "cookie": "caller=1",
            "x-forwarded-for": "caller",
            "user-agent": "caller",
            "accept": "caller/caller",
            "traceparent": "caller",
        }
        await it.get("namespace=bessie", **headers)
        (request,) = it.hub.journal.requests
        assert request.authorized
        assert request.query == "namespace=bessie&page=1&page_size=50"
        assert "caller" not in str(request.headers)
        assert KEY not in str(request.headers)


ASCII = [bad for bad in BAD_QUERIES if bad[0].isascii()]  # httpx sends no other; test_bytes.py does


@pytest.mark.parametrize(("raw", "parameter"), ASCII, ids=lambda value: repr(value)[:40])
async def test_a_bad_query_costs_the_hub_nothing(raw: bytes, parameter: str) -> None:
    async with rig() as it:
        url = httpx.URL("http://proxy.test").copy_with(raw_path=LIST.encode() + b"?" + raw)
        response = await it.caller.get(url)
        assert response.status_code == 400
        error = envelope(response)["error"]
        assert error["type"] == "invalid_parameter"
        assert error["parameter"] == parameter
        assert it.hub_requests == 0


async def test_equal_questions_in_many_spellings_cost_one_request() -> None:
    spellings = [
        "namespace=bessie&folder=campaign/autumn",
        "folder=campaign/autumn&namespace=bessie",
        "folder=campaign%2Fautumn&namespace=bessie",
        "folder=campaign%2fautumn&namespace=bessie",
        "page=1&folder=campaign/autumn&namespace=bessie",
        "namespace=bessie&folder=campaign/autumn&page_size=50",
        "namespace=bessie&page=1&page_size=50&folder=campaign/autumn",
        "n%61mespace=bessie&folder=campaign/autumn",
        "namespace=%62%65%73%73%69%65&folder=campaign/autumn",
        "page_size=%35%30&namespace=bessie&folder=campaign/autumn",
        "namespace=b%65ssie&folder=%63ampaign/autumn&p%61ge=1",
        "f%6Flder=campaign/%61utumn&namespace=bessie&page=%31",
    ]
    async with rig() as it:
        bodies = [(await it.get(spelling)).content for spelling in spellings]
        assert it.hub_requests == 1
        assert len(set(bodies)) == 1
        assert json.loads(bodies[0])["total_entries"] > 0


async def test_concurrent_callers_share_one_request() -> None:
    async with rig() as it:
        responses = await asyncio.gather(*(it.get("namespace=moo") for _ in range(50)))
        assert it.hub_requests == 1
        assert len({response.content for response in responses}) == 1
        outcomes = [event.outcome for event in it.events]
        assert outcomes.count("miss") == 1
        assert set(outcomes) <= {"miss", "joined", "hit"}  # who comes when the page has landed gets a hit


async def test_head_is_get_without_the_body() -> None:
    async with rig() as it:
        got = await it.get("page_size=3")
        head = await it.caller.head(f"{LIST}?page_size=3")
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(len(got.content))
        assert head.headers["etag"] == got.headers["etag"]
        bad = await it.caller.head(f"{LIST}?page=0")
        assert (bad.status_code, bad.content) == (400, b"")
        assert int(bad.headers["content-length"]) > 0
        assert it.hub_requests == 1


async def test_a_known_page_is_not_sent_again() -> None:
    async with rig() as it:
        etag = (await it.get()).headers["etag"]
        for value in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            response = await it.get("", **{"if-none-match": value})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == etag
            assert {"cache-control", "vary", "age", "cache-status", "x-request-id"} <= set(response.headers)
            assert "content-type" not in response.headers
        assert (await it.get("", **{"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", [LIST, "/health/live", "/health/ready", "/schema/openapi.json"])
async def test_no_method_but_get_and_head_is_allowed(method: str, path: str) -> None:
    async with rig() as it:
        response = await it.caller.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, HEAD"
        assert envelope(response)["error"]["type"] == "method_not_allowed"
        assert it.hub_requests == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/ai", "/api/ai/generation", "/api/ai/generations/x/y", "/metrics/x", "/schema"]
)
async def test_an_unknown_path_is_a_404_that_costs_the_hub_nothing(method: str, path: str) -> None:
    async with rig() as it:
        response = await it.caller.request(method, path)
        assert response.status_code == 404
        if method != "HEAD":
            assert envelope(response)["error"]["type"] == "resource_not_found"
        assert it.hub_requests == 0


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (Fault(status=401), 502, "hub_refused_credential"),
        (Fault(status=403), 502, "hub_refused_credential"),
        (Fault(status=429), 503, "hub_rate_limited"),
        (Fault(status=429, retry_after="17"), 503, "hub_rate_limited"),
        (Fault(status=503, retry_after="17"), 503, "hub_unavailable"),
        (Fault(status=503), 502, "hub_failed"),
        (Fault(status=500), 502, "hub_failed"),
        (Fault(status=418), 502, "hub_rejected_request"),
        (Fault(status=302, location="http://evil.test/"), 502, "hub_redirected"),
        (Fault(status=204, content=""), 502, "hub_answer_unexpected"),
        (Fault(content="<html>", content_type="text/html"), 502, "hub_answer_not_json"),
        (Fault(content=""), 502, "hub_answer_not_json"),
        (Fault(content='{"generations": []}'), 502, "hub_answer_not_a_page"),
        (Fault(content='{"count": 1, "generations": ['), 502, "hub_answer_cut_off"),
        (Fault(content="[" + "1," * 50_000 + "1]"), 502, "hub_answer_too_large"),
    ],
)
async def test_every_fault_of_the_hub_gets_its_error_which_is_never_kept(fault: Fault, status: int, kind: str) -> None:
    async with rig(answer_bytes=65_536) as it:
        it.hub.faults.set(fault)
        response = await it.get("page_size=1")
        assert response.status_code == status
        error = envelope(response)["error"]
        assert error["type"] == kind
        assert KEY not in response.text + str(response.headers)
        left_alone = status == 503 or fault.status == 401
        assert ("retry-after" in response.headers) == left_alone
        if fault.retry_after:
            assert response.headers["retry-after"] == fault.retry_after
        it.hub.faults.clear()
        again = await it.get("page_size=1")
        if left_alone:
            assert (again.status_code, envelope(again)["error"]["type"]) == (status, kind), "the hub is left alone"
            assert it.hub_requests == 1
        else:
            assert again.status_code == 200, "an error is never kept"


@pytest.mark.parametrize(("hub_status", "status"), [(404, 404), (400, 400), (422, 400)])
async def test_the_hubs_own_errors_keep_their_body(hub_status: int, status: int) -> None:
    async with rig() as it:
        it.hub.faults.set(Fault(status=hub_status))
        response = await it.get()
        assert response.status_code == status
        assert response.content.startswith(b'{"error": {"type": ')
        assert response.json()["status"] == "error"
        assert set(response.headers) >= REQUIRED_HEADERS
        it.hub.faults.set(Fault(status=hub_status, content="<html>", content_type="text/html"))
        it.clock.advance(1.1)
        response = await it.get()
        assert response.status_code == status
        envelope(response)


async def test_a_404_is_shared_for_live_ttl_and_stands_in_for_nothing() -> None:
    async with rig() as it:
        first, second = [await it.get("namespace=nobody") for _ in range(2)]
        assert it.hub_requests == 1
        assert first.content == second.content
        assert first.headers["cache-status"] == "generations-proxy; fwd=uri-miss; fwd-status=404; stored; ttl=1"
        assert second.headers["cache-status"] == "generations-proxy; hit; ttl=1; detail=memory"
        assert second.headers["cache-control"] == "no-store"
        assert "etag" not in second.headers
        assert ("age" in first.headers, second.headers["age"]) == (False, "0")
        it.clock.advance(1.1)
        it.hub.faults.set(Fault(status=500))
        assert (await it.get("namespace=nobody")).status_code == 502
        assert it.hub_requests == 2


async def test_an_unknown_namespace_is_the_hubs_404() -> None:
    async with rig() as it:
        response = await it.get("namespace=nobody")
        assert response.status_code == 404
        assert response.json()["error"] == {
            "type": "resource_not_found",
            "title": "The requested resource could not be found",
        }


async def test_a_stale_page_stands_in_and_says_so() -> None:
    async with rig() as it:
        first = await it.get()
        it.clock.advance(65)
        it.hub.faults.set(Fault(status=500))
        stale = await it.get()
        assert stale.status_code == 200
        assert stale.content == first.content
        assert stale.headers["cache-status"] == "generations-proxy; hit; ttl=-60; detail=stale-hub_failed"
        assert stale.headers["age"] == "65"
        assert it.events[-1].outcome == "stale"


async def test_a_status_and_a_member_of_the_future_pass() -> None:
    async with rig() as it:
        page = (await it.get("page_size=1")).json()
        page["generations"][0]["status"] = "dreaming"
        page["generations"][0]["dream"] = {"depth": 3}
        page["next_cursor"] = "x"
        body = json.dumps(page)
        it.hub.faults.set(Fault(content=body))
        response = await it.get("page_size=1&page=2")
        assert response.status_code == 200
        assert response.text == body
        it.clock.advance(1.5)
        assert "fwd=stale" in (await it.get("page_size=1&page=2")).headers["cache-status"], "it is judged live"


async def test_a_page_beyond_the_end_is_a_page() -> None:
    async with rig() as it:
        response = await it.get("page=999999999999")
        assert response.status_code == 200
        assert response.json()["generations"] == []


async def test_a_fault_of_the_proxy_itself_has_its_envelope(caplog: pytest.LogCaptureFixture) -> None:
    class Explosive(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            raise ZeroDivisionError("something nobody thought of")

    async with rig(transport=Explosive()) as it:
        response = await it.get()
        assert response.status_code == 500
        error = envelope(response)
        assert error["error"]["type"] == "internal_error"
        assert "nobody thought of" not in response.text
        assert error["request_id"] in caplog.text
        assert "ZeroDivisionError" in caplog.text


async def test_health_tells_of_the_hub_and_stays_ready_while_it_fails() -> None:
    async with rig() as it:
        live = await it.caller.get("/health/live")
        assert (live.status_code, live.json()) == (200, {"status": "live"})
        ready = await it.caller.get("/health/ready")
        assert ready.json() == {
            "status": "ready",
            "hub": "unknown",
            "credentials": {"default": "unknown"},
            "redis": {"state": "off", "faults": {}},
        }
        it.hub.faults.set(Fault(status=500))
        await it.get()
        ready = await it.caller.get("/health/ready")
        assert (ready.status_code, ready.json()["hub"]) == (200, "hub_failed")
        assert (await it.caller.head("/health/ready")).content == b""


async def test_health_reports_redis_and_stays_ready() -> None:
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        assert (await it.get()).status_code == 200
        assert (await it.caller.get("/health/ready")).json()["redis"]["state"] == "up"
        server.connected = False
        it.clock.advance(10)
        assert (await it.get()).status_code == 200
        ready = await it.caller.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["redis"]["state"] == "down"
        assert sum(ready.json()["redis"]["faults"].values()) >= 1


async def test_log_lines_hold_no_query_and_no_control_characters() -> None:
    async with rig() as it:
        await it.get("namespace=private-name")
        await it.caller.get("/a%0Ab%20c/" + "x" * 500)
        assert "private-name" not in str(it.events[0])
        assert it.events[1].info.path.startswith("/a?b?c/xxx")
        assert len(it.events[1].info.path) == 100
