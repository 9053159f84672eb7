"""``check`` holds the hub's answers against what the proxy rests on, whatever they are."""

from __future__ import annotations

import json

import httpx
import pytest

from proxy.commands.check import run_checks
from tests.support import KEY

ROW = {
    "generation_id": "0e8a1f64-0000-4000-8000-000000000000",
    "model_name": "m",
    "media_type": "image",
    "status": "succeeded",
    "prompt": "a cow",
}


def page(*enqueued_at: object) -> str:
    rows = [ROW | {"enqueued_at": at} for at in enqueued_at]
    head = {"page_number": 1, "page_size": 100, "total_pages": 1, "total_entries": len(rows), "total_cost": None}
    return json.dumps(head | {"count": len(rows), "generations": rows})


def with_prompt(text: str) -> str:
    return page(2, 1).replace('"a cow"', text)


@pytest.mark.parametrize(
    ("content", "answer", "order"),
    [
        (page(2, 1), "ok    list answer", "ok    newest first       holds over 2 rows"),
        (page(1, 2), "ok    list answer", "WARN  newest first       does not hold: 1 of 2 rows"),
        (page(2, None, "2026-11-11T00:00:00Z", 1), "WARN  list answer", "ok    newest first       holds over 2 rows"),
        (page("yesterday", "before"), "WARN  list answer", "-     newest first       cannot be seen with 0 row(s)"),
        (page(2, 1).replace("1}", "1e400}"), "WARN  list answer", "WARN  newest first"),
        (page(2, 1).replace("1}", "1e9999999999}"), "WARN  list answer", "WARN  newest first"),
        (with_prompt(r'"\ud800"'), "ok    list answer", "ok    newest first       holds over 2 rows"),
        (with_prompt("[" * 3000 + "]" * 3000), "ok    list answer", "ok    newest first       holds over 2 rows"),
    ],
)
async def test_an_answer_that_is_served_is_judged(content: str, answer: str, order: str) -> None:
    said: list[str] = []
    hub = httpx.MockTransport(lambda _: httpx.Response(200, text=content, headers={"content-type": "application/json"}))
    environ = {"OXEN_API_KEY": KEY, "OXEN_HUB_URL": "http://hub.test", "PROXY_EVENTS_MODE": "off"}
    assert await run_checks(environ, None, say=said.append, transport=hub)
    assert [line for line in said if line.startswith(answer)], said
    assert [line for line in said if line.startswith(order)], said
