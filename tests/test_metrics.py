"""``/metrics``, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import fakeredis
import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxy.hub.client import HubCall
from proxy.redis_keys import Kind
from proxy.secret import Secret
from proxy.settings import CacheSettings, CredentialSettings
from proxy.siblings import Siblings
from proxy.simulator import Fault, Simulator
from proxy.web.telemetry.event import RequestEvent, request_info
from proxy.web.telemetry.metrics import METRICS_PATH, TOPIC, _merged
from proxy.web.telemetry.request_metrics import RequestMetrics
from tests.support import KEY, LIST, NOW, ROOT, Clock, Gated, Rig, rig, socket_rig, still_world

FARM = CredentialSettings(name="farm", namespaces=("bessie",), api_key=Secret("another-token"))
PREFIX = "generations_proxy_"


async def families(it: Rig) -> list[Metric]:
    answer = await it.caller.get(METRICS_PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation for family in found)
    assert len({family.name for family in found}) == len(found)
    return found


def samples(found: Iterable[Metric]) -> dict[str, float]:
    """All samples, by name without the prefix, and labels."""
    return {
        " ".join(
            [sample.name.removeprefix(PREFIX), *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in found
        for sample in family.samples
    }


async def scraped(it: Rig) -> dict[str, float]:
    return samples(await families(it))


async def test_a_refused_token_is_a_gauge() -> None:
    async with rig(credentials=(FARM,)) as it:
        assert (await scraped(it))["credential_refused farm"] == 0
        await it.get("namespace=bessie")  # the simulator knows one token only
        await it.get("namespace=ox")
        found = await scraped(it)
        assert found["credential_refused farm"] == 1
        assert found["credential_refused default"] == 0
        assert found["hub_pause_seconds refused farm"] > 0
        assert found["hub_pause_seconds refused default"] == 0
        it.hub.faults.set(Fault(status=401))
        await it.get("namespace=moo")
        assert (await scraped(it))["credential_refused default"] == 1


async def test_requests_are_counted_by_what_became_of_them() -> None:
    async with rig() as it:
        for query in ("page=1", "page=1", "page=2", "page=0"):
            await it.get(query)
        await it.caller.get("/nowhere")
        await it.caller.post(LIST)
        await it.caller.get(f"{LIST}?model={'x' * 40_000}")
        await it.caller.get(LIST, headers={"x-long": "x" * 40_000})
        found = await scraped(it)
        assert found["requests_total list miss 200"] == 2
        assert found["requests_total list hit 200"] == 1
        assert found["requests_total list invalid_parameter 400"] == 1
        assert found["requests_total other resource_not_found 404"] == 1
        assert found["requests_total list method_not_allowed 405"] == 1
        assert found["requests_total list uri_too_long 414"] == 1
        assert found["requests_total list headers_too_large 431"] == 1
        assert found["request_duration_seconds_count miss"] == 2
        assert found["request_duration_seconds_count other"] == 5
        assert found["served_age_seconds_bucket 0.25 hit"] == 1
        assert found["response_bytes_total"] > 10_000
        assert found["listing_answers_total moved"] == 1
        assert found["listing_answers_total confirmed"] == 1


def test_what_there_is_not_is_called_none_in_each_label() -> None:
    requests = RequestMetrics()
    requests.note([RequestEvent("r", request_info("GET", "-", "list", LIST), 0, "none", 0.1)])
    requests.note_hub(HubCall("default", 200))
    found = samples(requests.collect())
    assert found["requests_total list none none"] == 1, "the caller has hung up"
    assert found["hub_requests_total default none 200"] == 1


def test_every_call_to_redis_is_documented_by_name() -> None:
    """Each may stand in a line of the log, too."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "proxy").rglob("*.py")))
    scripts = {name: const for const, name in re.findall(r'^_([A-Z_]+): Final = Script\("(\w+)"', source, re.MULTILINE)}
    called = {name for name, const in scripts.items() if re.search(rf'\b_{const},\s*"{name}"', source)}
    called |= set(re.findall(r'_?link\.(?:call|count|garbage|refused)\(\s*"(\w+)"', source))
    assert set(scripts) - called == {"rehearse", "watermark_add", "watermark_read"}, "those have the name of the kind"
    called |= {*get_args(Kind), "page", "record", "rows", "close"}
    (row,) = re.findall(
        r"^\| `generations_proxy_redis_faults_total` .*", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert set(re.findall(r"`(\w+)`", row.partition("`call`, as in the log")[2])) == called


async def test_what_is_served_stale_has_its_age() -> None:
    async with rig() as it:
        await it.get()
        it.clock.advance(40)
        it.hub.faults.set(Fault(status=500))
        assert (await it.get()).headers["age"] == "40"
        found = await scraped(it)
        assert found["served_age_seconds_bucket 30.0 stale"] == 0
        assert found["served_age_seconds_bucket 60.0 stale"] == 1


async def test_requests_to_the_hub_are_counted_by_status() -> None:
    async with rig() as it:
        await it.get("page=1")
        it.hub.faults.set(Fault(status=429, retry_after="7"))
        await it.get("page=2")
        await it.get("page=3")
        found = await scraped(it)
        assert found["hub_requests_total default none 200"] == 1
        assert found["hub_requests_total default hub_rate_limited 429"] == 1
        assert found["hub_request_duration_seconds_count default"] == it.hub_requests == 2
        assert 6 < found["hub_pause_seconds limited default"] <= 7
        assert found["requests_total list hub_rate_limited 503"] == 2


async def test_a_hub_that_cannot_be_reached_has_no_status() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with rig(transport=httpx.MockTransport(refuse)) as it:
        await it.get()
        assert (await scraped(it))["hub_requests_total default hub_unreachable none"] == 2, "it is tried again"


async def test_what_is_left_of_the_budget_is_a_gauge() -> None:
    clock = Clock()
    simulator = Simulator(still_world(clock), api_key=KEY, clock=clock)
    hub = Gated(simulator)
    async with rig(simulator=simulator, transport=hub, clock=clock, burst=5, rate=0.001, concurrency=3) as it:
        before = await scraped(it)
        assert (before["hub_budget_turns default"], before["hub_budget_turns_max default"]) == (5, 5)
        asked = [asyncio.create_task(it.get(f"page={page}")) for page in (1, 2)]
        async with asyncio.timeout(5):
            while (found := await scraped(it))["hub_requests_under_way default"] < 2:
                await asyncio.sleep(0)
        assert found["hub_budget_turns default"] == pytest.approx(3, abs=0.01)
        assert found["hub_requests_under_way default"] == found["flights"] == found["waiting_callers"] == 2
        assert found["hub_requests_under_way_max default"] == 3
        hub.answers.set()
        await asyncio.gather(*asked)
        after = await scraped(it)
        assert after["flights"] == after["waiting_callers"] == 0


async def test_memory_and_what_leaves_it_are_counted() -> None:
    async with rig(cache=CacheSettings(memory_bytes=65_536, compose=False)) as it:
        for size in range(20, 60):
            await it.get(f"page_size={size}&status=succeeded")
        found = await scraped(it)
        assert 0 < found["memory_bytes"] <= found["memory_max_bytes"] == 65_536
        assert found["memory_pages"] + found["memory_evictions_total"] == 40
        assert found["memory_evictions_total"] > 0


async def test_rows_and_what_answers_explain_of_them_are_counted() -> None:
    async with rig(cache=CacheSettings(memory_bytes=262_144)) as it:
        await it.get("page_size=10")
        it.hub.world.delete(next(iter(it.hub.world.newest_first("ox"))))
        it.clock.advance(9)
        await it.get("page_size=10")
        found = await scraped(it)
        assert 10_000 < found["rows_bytes"] <= found["rows_max_bytes"] == 131_072
        assert found["rows_listings"] == 1
        assert (found["rows_answers_total explained"], found["rows_answers_total order"]) == (1, 1)


async def test_the_state_of_redis_and_its_faults_are_told() -> None:
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        await it.get()
        before = await scraped(it)
        assert (before["redis_state up"], before["redis_state down"]) == (1, 0)
        assert before["hub_budget_turns default"] == pytest.approx(39, abs=1)
        server.connected = False
        await it.get("page=2")
        found = await scraped(it)
        assert (found["redis_state up"], found["redis_state down"]) == (0, 1)
        assert "memory_trusted" in found
        assert any(name.startswith("redis_faults_total ") for name in found)


async def test_a_clock_that_steps_back_shows_in_its_lead() -> None:
    async with rig(monotonic=Clock()) as it:
        assert (await scraped(it))["clock_lead_seconds"] == 0
        it.clock.now -= 90
        await it.get()
        assert (await scraped(it))["clock_lead_seconds"] == pytest.approx(90, abs=1)


async def test_labels_are_bounded() -> None:
    async with rig() as it:
        for number in range(50):
            await it.get(f"page={number}&model=m{number}")
            await it.caller.get(f"/nowhere/{number}")
            await it.caller.request(f"ODD{number}", f"{LIST}/{number}")
        assert len([name for name in await scraped(it) if name.startswith("requests_total")]) < 10


async def test_every_metric_is_documented_with_its_labels() -> None:
    """The README's table, held against what is exported."""
    rows = re.findall(
        r"^\| `(generations_proxy_\w+)` \| (\w+) \| (.*?) ?\|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    server = fakeredis.FakeServer()
    async with rig(redis=fakeredis.FakeAsyncRedis(server=server), clock=Clock(NOW)) as it:
        await it.get()
        server.connected = False
        await it.get("page=2")
        found = await families(it)
    exported = {}
    for family in found:
        if family.name.startswith(PREFIX):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exported[name] = (family.type, labels)
    assert documented == exported


async def test_several_workers_are_one_scrape(tmp_path: Path) -> None:
    """Each answers for all; a number is free again when its worker has gone."""
    one, two = Siblings(tmp_path), Siblings(tmp_path)
    assert (one.number, two.number) == (0, 1)
    async with rig(siblings=one) as first, rig(siblings=two) as second:
        for _ in range(3):
            await first.get("page=1")
        await second.get("page=1")
        for asked in (first, second):
            found = await scraped(asked)
            assert found["requests_total list hit 200 0"] == 2
            assert found["requests_total list miss 200 0"] == found["requests_total list miss 200 1"] == 1
            assert found["memory_pages 0"] == found["memory_pages 1"] == 1
    async with rig(siblings=Siblings(tmp_path)) as third:
        assert (await scraped(third))["memory_pages 0"] == 0


async def test_a_worker_that_hangs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.siblings.ANSWER_TIMEOUT", 0.05)
    stuck = Siblings(tmp_path)

    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    stuck.answers[TOPIC] = never
    await stuck.start()
    async with rig(siblings=Siblings(tmp_path)) as it:
        assert "memory_pages 1" in await scraped(it)
    await stuck.aclose()


def test_nothing_merged_is_nothing() -> None:
    assert not list(_merged({}))


async def test_what_the_server_refuses_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never becomes a request for the application: no HTTP, a head without end in size or time."""
    without_end = b"GET / HT"
    async with socket_rig() as it, httpx.AsyncClient() as caller:
        host, port = it.proxy_url.removeprefix("http://").split(":")
        for sent in (b"\x16\x03\x01 nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, without_end):
            if sent == without_end:
                monkeypatch.setattr("proxy.web.protocol.HEAD_TIMEOUT", 0.05)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            await reader.read()
            writer.close()
        found = samples(text_string_to_metric_families((await caller.get(f"{it.proxy_url}{METRICS_PATH}")).text))
        counted = {name.split()[-2]: times for name, times in found.items() if name.startswith("requests_total other")}
        assert counted == {"bad_request": 1, "headers_too_large": 1, "request_timeout": 1}
