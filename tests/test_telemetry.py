"""One event for each request, and the line that the log makes of it."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import logs
from proxy.log_format import JSONFormatter, LineFormatter, TextFormatter, wants_colours
from proxy.simulator import Fault
from proxy.tracing import Trace
from proxy.web.telemetry.event import RequestEvent, endpoint_of, log_requests, request_info, shown_path
from tests.support import LIST, rig


async def test_an_event_tells_the_whole_of_a_request() -> None:
    async with rig() as it:
        it.hub.faults.set(Fault(latency=0.02))
        answer = await it.get("namespace=bessie&status=succeeded&page_size=5")
        it.clock.advance(3)
        await it.get("namespace=bessie&status=succeeded&page_size=5")
        miss, hit = it.events
        assert miss.request_id == answer.headers["x-request-id"]
        assert (miss.info.endpoint, miss.outcome, miss.status, miss.bytes) == (
            "list",
            "miss",
            200,
            len(answer.content),
        )
        assert miss.seconds >= (miss.hub_seconds or 0) >= 0.02
        assert miss.info.filters == "namespace=bessie&status=succeeded"
        assert miss.info.listing.startswith("gp1:{")
        assert (hit.outcome, hit.age, hit.hub_seconds, hit.info) == ("hit", 3, None, miss.info)


async def test_what_the_router_refuses_is_an_event_too() -> None:
    async with rig() as it:
        await it.caller.get("/nowhere")
        await it.caller.post(LIST)
        await it.get("page=0")
        await it.caller.get("/health/live")
        assert [(e.info.endpoint, e.status, e.outcome, e.info.listing) for e in it.events] == [
            ("other", 404, "resource_not_found", "-"),
            ("list", 405, "method_not_allowed", "-"),
            ("list", 400, "invalid_parameter", "-"),
            ("health", 200, "none", "-"),
        ]


EVENT = RequestEvent(
    request_id="r1",
    info=request_info("GET", "web", "list", LIST, "gp1:{ab}", "namespace=a-secret-project&status=failed"),
    status=200,
    outcome="hit",
    seconds=0.00123,
    bytes=321,
    age=3.14159,
)


def line_of(formatter: logging.Formatter, message: object, level: int = logging.INFO) -> str:
    return formatter.format(logging.LogRecord("proxy.access", level, "", 0, message, (), None))


def test_a_line_for_machines_names_filters_and_not_their_values() -> None:
    found = json.loads(line_of(JSONFormatter(), EVENT))
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "proxy.access",
        "event": "request",
        "id": "r1",
        "method": "GET",
        "caller": "web",
        "path": LIST,
        "status": 200,
        "outcome": "hit",
        "ms": 1.23,
        "bytes": 321,
        "listing": "gp1:{ab}",
        "filters": "namespace,status",
        "age": 3.1,
    }


@given(
    st.builds(
        RequestEvent,
        st.text("0123456789abcdef-", min_size=1),
        st.builds(request_info, *4 * [st.text(st.characters(codec="utf-8"))], st.just("-") | st.text(), st.text()),
        st.integers(0, 599),
        st.sampled_from(["hit", "stale", "miss", "joined", "hub_failed", "none"]),
        st.floats(0, 1e4),
        st.integers(0, 2**40),
        st.none() | st.floats(0, 1e9),
        st.none() | st.floats(0, 100),
        st.none() | st.just(Trace("ab" * 16, "cd" * 8, None, sampled=True)),
    )
)
def test_a_line_is_the_same_whichever_way_it_is_made(event: RequestEvent) -> None:
    assert list(json.loads(f"{{{event.members()}}}").items()) == list(msgspec.to_builtins(event.shown()).items())


def test_a_line_for_people_has_what_they_need_and_no_secret() -> None:
    line = line_of(TextFormatter(), EVENT)
    assert "outcome=hit ms=1.23 bytes=321 listing=gp1:{ab} filters=namespace,status age=3.1" in line
    assert "secret" not in line
    assert "\x1b" not in line


def test_of_several_workers_each_says_which_it_is() -> None:
    """Not a worker that is alone, nor the process that starts them."""
    machines, people = JSONFormatter(), TextFormatter()
    assert "worker" not in json.loads(line_of(machines, EVENT))
    machines.worker = people.worker = 0
    for message in (EVENT, "said"):
        assert json.loads(line_of(machines, message))["worker"] == 0
        assert " INFO proxy.access[0] " in line_of(people, message)
    assert json.loads(machines.of_events(0.0, "proxy.access", [EVENT])[0])["worker"] == 0


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()])
def test_a_line_of_the_server_does_not_look_like_an_error(formatter: LineFormatter) -> None:
    """uvicorn's logger for all that is no request is called uvicorn.error."""
    record = logging.LogRecord("uvicorn.error", logging.INFO, "", 0, "Application startup complete.", (), None)
    line = formatter.format(record)
    assert "uvicorn" in line
    assert "error" not in line
    assert record.name == "uvicorn.error", "other handlers have it too"


def test_a_traceback_is_one_line_of_json() -> None:
    error = ValueError("wrong\nin two lines")
    record = logging.LogRecord("proxy.web", logging.ERROR, "", 0, "failed: %s", ("x",), (ValueError, error, None))
    line = JSONFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"].startswith("failed: x\n")


def test_colours_are_for_terminals_that_want_them() -> None:
    coloured = TextFormatter(colours=True)
    assert line_of(coloured, "gone", logging.ERROR).startswith("\x1b[31m")
    assert line_of(coloured, "gone", logging.ERROR).endswith("\x1b[0m")
    assert "\x1b" in line_of(coloured, "well")
    assert wants_colours({})
    assert wants_colours({"NO_COLOR": ""})
    assert not wants_colours({"NO_COLOR": "1"})
    assert not wants_colours({"TERM": "dumb"})


def test_an_event_is_not_put_into_words_while_a_caller_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("proxy.access"), "propagate", False)  # pytest's own handler does not wait
    for way in ("shown", "members"):
        monkeypatch.setattr(RequestEvent, way, lambda _: pytest.fail("a caller waits for this"))
    writing = logs.LogWriter(lambda _: None)
    handler = writing.handler
    logger = logging.getLogger("proxy.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        log_requests([EVENT])
        writing.event_sink("proxy.access")([EVENT])
        record, later = writing._said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert isinstance(record, logging.LogRecord)
    assert record.msg is EVENT
    assert isinstance(later, tuple)
    assert later[1:] == ("proxy.access", [EVENT])


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        (LIST, "list"),
        (f"{LIST}/x", "generation"),
        ("/api/ai/queue", "queue"),
        ("/api/ai/queue/x", "queued"),
        ("/api/events", "events"),
        ("/health/ready", "health"),
        ("/metrics", "metrics"),
        ("/admin/purge", "admin"),
        (f"{LIST}s", "other"),
        ("/", "other"),
    ],
)
def test_every_path_belongs_to_an_endpoint(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


def test_a_path_cannot_break_a_line() -> None:
    assert shown_path("/a b\n\x1b[31m\u2028x" + "y" * 200) == "/a?b??[31m?x" + "y" * 88
