"""The simulated hub: a test's word is worth what its hub is worth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from proxy.answer.links import dead_at
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.contract import GenerationsListResponse
from proxy.simulator import Controlled, Simulator, World
from proxy.simulator.journal import Budget
from proxy.simulator.wire import dumps
from tests.support import KEY, LIST, NOW, Clock, still_world

AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> Simulator:
    return Simulator(still_world(clock), api_key=KEY, clock=clock)


@pytest.fixture
async def caller(hub: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Controlled(hub))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.test", headers=AUTHORIZED) as client:
        yield client


def test_the_same_seed_is_the_same_world() -> None:
    def story(seed: int) -> list[tuple[str, str]]:
        clock = Clock()
        world = World(seed=seed, clock=clock, speed=20, history=5)
        for _ in range(50):
            clock.advance(1)
            world.advance()
        return [(row.id, row.status) for name in world.namespaces for row in world.newest_first(name)]

    assert story(7) == story(7) != story(8)


def test_generations_come_run_and_end(clock: Clock) -> None:
    world = World(clock=clock, speed=1, history=0)
    ended: list[str] = []
    world.on_end.append(lambda row: ended.append(row.id))
    seen: set[str] = set()
    for _ in range(600):
        clock.advance(1)
        world.advance()
        seen |= {row.status for name in world.namespaces for row in world.newest_first(name)}
    assert seen == {"queued", "processing", "succeeded", "failed", "cancelled"}
    assert len(ended) == len(set(ended)) > 50
    rows = list(world.newest_first("ox"))
    assert [row.enqueued_at for row in rows] == sorted((row.enqueued_at for row in rows), reverse=True)
    assert all((row.cost is not None) == (row.status == "succeeded") for row in rows)


async def test_a_page_keeps_the_contract(caller: httpx.AsyncClient, hub: Simulator) -> None:
    for namespace in hub.world.namespaces:
        response = await caller.get(LIST, params={"namespace": namespace, "page_size": 1000})
        page = msgspec.json.decode(response.content, type=GenerationsListResponse)
        assert page.count == page.total_entries == len(page.generations) == 60
        assert Decimal(page.total_cost or 0) == sum(Decimal(row.cost) for row in page.generations if row.cost)
        assert [row.enqueued_at for row in page.generations] == sorted(
            (row.enqueued_at for row in page.generations), reverse=True
        )


async def test_pages_partition_the_listing(caller: httpx.AsyncClient) -> None:
    ids: list[str] = []
    for page in range(1, 9):
        answer = (await caller.get(LIST, params={"page": page, "page_size": 8})).json()
        assert (answer["total_entries"], answer["total_pages"], answer["page_number"]) == (60, 8, page)
        ids += [row["generation_id"] for row in answer["generations"]]
    assert len(ids) == len(set(ids)) == 60


async def test_filters_select_the_rows_that_match(caller: httpx.AsyncClient) -> None:
    rows = (await caller.get(LIST, params={"page_size": 1000})).json()["generations"]
    members = {
        "model": "model_name",
        "media_type": "media_type",
        "status": "status",
        "repo": "target_repo",
        "folder": "target_directory",
    }
    for parameter, member in members.items():
        value = next(row[member] for row in rows if row[member])
        answer = (await caller.get(LIST, params={parameter: value, "page_size": 1000})).json()
        assert [row["generation_id"] for row in answer["generations"]] == [
            row["generation_id"] for row in rows if row[member] == value
        ]


async def test_links_are_signed_afresh_and_live_as_told(caller: httpx.AsyncClient, hub: Simulator) -> None:
    hub.writer.link_lifetime = 100
    bodies = [(await caller.get(LIST, params={"status": "succeeded"})).content for _ in range(2)]
    assert bodies[0] != bodies[1]
    assert dead_at(bodies[0], NOW) == int(NOW) + 80


async def test_its_json_is_not_what_an_encoder_of_ours_writes(caller: httpx.AsyncClient) -> None:
    content = (await caller.get(LIST, params={"page_size": 1000})).content
    value = json.loads(content)
    for encoded in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, separators=(",", ":"))):
        assert encoded.encode() not in (content, content.strip())
    assert msgspec.json.encode(value) != content
    for sign in (
        b"\\/",
        b"1E+3",
        b"0.10",
        b"1e-7",
        b"\\uD83D\\uDC04",
        "größer".encode(),
        str(2**64 + 13).encode(),
        b'"": ',
    ):
        assert sign in content, sign


def test_dumps_writes_json() -> None:
    value = {"a": [1, None, True, "\x00\u2028\U0001f404/"], "": {"ü": -(2**70)}}
    assert json.loads(dumps(value)) == value
    with pytest.raises(TypeError):
        dumps(1.5)


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {"authorization": "Bearer wrong"}, 401),
        ("", {"authorization": KEY}, 401),
        ("page=0", {}, 422),
        ("page=x", {}, 422),
        ("page_size=1001", {}, 422),
        ("status=done", {}, 422),
        ("namespace=nobody", {}, 404),
        ("unknown=1&page=1", {}, 200),
    ],
)
async def test_the_simulator_refuses_what_the_hub_does(
    caller: httpx.AsyncClient, query: str, headers: dict[str, str], status: int
) -> None:
    response = await caller.get(f"{LIST}?{query}", headers=headers)
    assert response.status_code == status
    assert response.headers["cache-control"] == "max-age=0, private, must-revalidate"
    assert "_oxen_hub_key" in response.headers["set-cookie"]
    if status != 200:
        assert response.json()["status"] == "error"


async def test_the_other_endpoints_show_the_same_world(caller: httpx.AsyncClient, hub: Simulator) -> None:
    queued = hub.world.enqueue("ox")
    show = (await caller.get(f"{LIST}/{queued.id}")).json()
    assert (show["status"], show["generation"]["generation_id"]) == ("success", queued.id)
    queue = (await caller.get("/api/ai/queue")).json()
    assert (queue["count"], queue["generations"][0]["generation_id"]) == (1, queued.id)
    assert {"cost", "user_id", "username"}.isdisjoint(queue["generations"][0])
    assert (await caller.get("/api/ai/queue?status=succeeded")).json()["count"] > 1
    assert (await caller.get(f"/api/ai/queue/{queued.id}")).json()["status"] == "queued"
    hub.world.start(queued)
    hub.world.end(queued)
    assert (await caller.get("/api/ai/queue")).json()["count"] == 0
    assert (await caller.get(f"{LIST}/{queued.id}")).json()["generation"]["cost"]
    for path in (f"{LIST}/absent", "/api/ai/queue/absent", "/api/else"):
        assert (await caller.get(path)).status_code == 404


async def test_completions_are_events_and_cancellations_are_none(hub: Simulator) -> None:
    with listen(LOOPBACK, 0) as sock:
        async with serving(hub, sock), httpx.AsyncClient(headers=AUTHORIZED) as caller:
            async with caller.stream("GET", f"{url_of(sock)}/api/events") as stream:
                assert stream.headers["content-type"] == "text/event-stream"
                lines = stream.aiter_lines()
                assert await anext(lines) == ": connected"
                for status in ("succeeded", "failed", "cancelled", "succeeded"):
                    hub.world.end(hub.world.enqueue("ox"), status)
                data: list[dict[str, Any]] = []
                async with asyncio.timeout(5):
                    while len(data) < 3:
                        line = await anext(lines)
                        assert line in ("", "event: media_generation_completed") or line.startswith("data: ")
                        data += [json.loads(line[6:])] if line.startswith("data: ") else []
            assert [event["status"] for event in data] == ["succeeded", "failed", "succeeded"]
            assert "url" in data[0]
            assert "error" in data[1]
            assert (await caller.get(f"{url_of(sock)}/api/events", headers={"authorization": ""})).status_code == 401


async def test_faults_and_the_world_are_controlled_over_http(caller: httpx.AsyncClient, hub: Simulator) -> None:
    control = "/_simulator"
    await caller.get(LIST, params={"page": 2})
    journal = (await caller.get(f"{control}/requests")).json()
    assert journal["count"] == 1
    assert journal["requests"][0]["query"] == "page=2"
    assert KEY not in str(journal)
    await caller.delete(f"{control}/requests")
    assert hub.journal.count == 0

    await caller.put(
        f"{control}/faults", json=[{"status": 500, "times": 1}, {"status": 429, "retry_after": "3", "times": 1}]
    )
    answers = [await caller.get(LIST) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 429, 200]
    assert answers[1].headers["retry-after"] == "3"
    await caller.put(f"{control}/faults", json=[{"status": 500, "path": "/api/ai/queue"}])
    assert (await caller.get(LIST)).status_code == 200
    assert (await caller.get("/api/ai/queue")).status_code == 500
    await caller.delete(f"{control}/faults")
    assert (await caller.get("/api/ai/queue")).status_code == 200

    await caller.put(f"{control}/budget", json={"rate": 0.001, "burst": 2})
    assert [(await caller.get(LIST)).status_code for _ in range(3)] == [200, 200, 429]
    await caller.put(f"{control}/budget", json={"rate": None})
    assert (await caller.get(LIST)).status_code == 200

    await caller.put(f"{control}/key", json={"api_key": "other"})
    assert (await caller.get(LIST)).status_code == 401
    await caller.put(f"{control}/key", json={"api_key": KEY})

    async def do(**deed: str) -> Any:
        return (await caller.post(f"{control}/world", json=deed)).json().get("id")

    made = await do(do="enqueue", namespace="moo")
    await do(do="start", id=made)
    assert hub.find(made).status == "processing"
    await do(do="end", id=made, status="failed")
    assert hub.find(made).status == "failed"
    await do(do="delete", id=made)
    assert (await caller.get(f"{LIST}/{made}")).status_code == 404

    assert (await caller.get(f"{control}/nothing")).status_code == 404
    assert (await caller.put(f"{control}/faults", json=[{"no": "such fault"}])).status_code == 422
    assert (await caller.post(f"{control}/world", json={"do": "explode", "id": made})).status_code == 404


def test_a_budget_is_a_token_bucket() -> None:
    clock = Clock(0)
    budget = Budget(clock)
    assert all(budget.take() for _ in range(100)), "no limit unless set"
    budget.set(2.0, 3)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [budget.take(), budget.take()] == [True, False]
    clock.advance(100)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


async def test_results_are_drawn_for_links_that_are_good() -> None:
    """As a store of objects: by signature and time, the same picture each time, and none of the API's requests."""
    clock = Clock()
    simulator = Simulator(still_world(clock), api_key=KEY, link_lifetime=60, clock=clock)
    simulator.serve_results("http://hub.test")
    row = next(one for one in simulator.world.newest_first("ox") if one.status == "succeeded")
    first, second = (simulator.writer.link(row, clock()) for _ in range(2))
    assert first != second
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulator), base_url="http://hub.test") as caller:
        answers = [await caller.get(link) for link in (first, second)]
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].content == answers[1].content
        assert answers[0].headers["content-type"] == "image/svg+xml"
        assert answers[0].content.startswith(b"<svg ")
        other = next(one for one in simulator.world.newest_first("bessie") if one.status == "succeeded")
        for wrong, status in (
            (first.replace(row.id, other.id), 404),
            (first.replace("/ox/", "/moo/"), 404),
            (first[:-1] + ("0" if first[-1] != "0" else "1"), 403),
            (first.replace("X-Amz-Date=2", "X-Amz-Date=3"), 403),
            (first.partition("?")[0], 403),
            ("http://hub.test/results/nothing", 404),
        ):
            assert (await caller.get(wrong)).status_code == status, wrong
        clock.advance(61)
        assert (await caller.get(first)).status_code == 403
    assert simulator.journal.count == 0
