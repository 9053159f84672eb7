"""``/status``: who may look, what is told, and that any replica tells of all. (The page itself: test_status_page.)"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import pytest

from proxy.redis.status import REPORT_TIMEOUT
from proxy.redis_keys import names
from proxy.secret import Secret
from proxy.settings import AdminSettings, StatusSettings
from proxy.siblings import Siblings
from proxy.simulator import Fault
from proxy.web.page_files import PageFile
from tests.support import Clock, Rig, rig

LOOK, OPERATOR = "look-8f2k1z", "operate-91jx7"
OPEN = StatusSettings(open=True)
NAME = names("http://hub.test", 0).status


async def status(it: Rig, **headers: str) -> Any:
    answer = await it.caller.get("/status.json", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_no_fault_ends_the_telling_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.status.INTERVAL", 0.0)
    attempts = asyncio.Semaphore(0)

    async def fail(*_: object) -> None:
        attempts.release()
        raise TypeError("a bug")

    monkeypatch.setattr("proxy.redis.status.SharedStatus.publish", fail)
    async with rig(redis=fakeredis.FakeAsyncRedis(), status=OPEN), asyncio.timeout(5):
        for _ in range(3):
            await attempts.acquire()


async def test_the_status_does_not_exist_without_a_grant() -> None:
    async with rig() as it:
        for path in ("/status", "/status.json"):
            assert (await it.caller.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {LOOK}"}, 401),
        ({"authorization": f"Bearer {LOOK}"}, 200),
        ({"authorization": f"bearer {OPERATOR}"}, 200),
        ({"x-api-key": LOOK}, 401),
    ],
)
async def test_the_status_is_told_only_to_who_has_a_key_for_it(given: dict[str, str], expected: int) -> None:
    async with rig(status=StatusSettings(key=Secret(LOOK)), admin=AdminSettings(key=Secret(OPERATOR))) as it:
        answer = await it.caller.get("/status.json", headers=given)
        assert answer.status_code == expected
        assert ("samples" in answer.text) == (expected == 200)
        page = await it.caller.get("/status")
        assert page.status_code == 200, "it holds nothing"
        purge = await it.caller.post("/admin/purge", headers=given, json={"everything": True})
        assert purge.status_code == (200 if OPERATOR in str(given) else 401), "who may look may do nothing"


@pytest.mark.parametrize("path", ["/status.json", "/admin/purge"])
async def test_a_key_is_given_once(path: str) -> None:
    """As callers' keys are; spaces around it are none of it."""
    right, wrong = f"Bearer {OPERATOR}", "Bearer wrong"
    async with rig(admin=AdminSettings(key=Secret(OPERATOR))) as it:
        for given in ([right, right], [right, wrong], [wrong, right]):
            headers = [("authorization", one) for one in given]
            answer = await it.caller.request("GET" if "status" in path else "POST", path, headers=headers)
            assert answer.status_code == 401
            assert "more than once" in answer.json()["error"]["detail"]
        answer = await it.caller.get("/status.json", headers={"authorization": f"Bearer  {OPERATOR}"})
        assert answer.status_code == 200


async def test_the_operators_key_alone_is_enough() -> None:
    async with rig(admin=AdminSettings(key=Secret(OPERATOR))) as it:
        await status(it, authorization=f"Bearer {OPERATOR}")


async def test_the_status_tells_of_requests_budget_and_processes() -> None:
    async with rig(status=OPEN) as it:
        await it.get("namespace=ox&page_size=5")
        await it.get("namespace=ox&page_size=5")
        it.hub.faults.set(Fault(status=429, retry_after="9"))
        await it.get("namespace=moo")
        found = await status(it)
        assert found["scope"] == "process"
        (sample,) = found["activity"]["samples"]
        assert sample["requests"] == {"miss": 1, "hit": 1, "failed": 1}
        assert sample["hub"] == {"200": 1, "429": 1}
        (listing,) = found["activity"]["listings"]
        assert (listing["filters"], listing["asked"], listing["outcome"]) == ("namespace=ox", 2, "hit")
        assert {fault["what"] for fault in found["activity"]["faults"]} == {"hub_rate_limited"}
        assert found["activity"]["totals"] == {"pages": 2, "hub": 2}
        (budget,) = found["budgets"]
        assert budget["state"] == "hub_rate_limited"
        assert budget["pause_cause"] == "limited"
        assert 0 < budget["pause_seconds"] <= 9
        (process,) = found["processes"]
        assert process["memory_pages"] >= 1
        assert process["redis"] == "off"


async def fleet(server: fakeredis.FakeServer, clock: Clock, replicas: int) -> Any:
    """What one of several replicas tells after each was asked once."""
    async with rig(status=OPEN, redis=fakeredis.FakeAsyncRedis(server=server), clock=clock) as it:
        await it.get("page_size=5")
        await _published(it)
        return await status(it) if replicas == 1 else await fleet(server, clock, replicas - 1)


async def _published(it: Rig) -> None:
    """What it tells every few seconds, told now."""
    told = it.app.state["observability"]._status
    assert told._shared is not None
    await told._shared.publish(told._id, it.clock(), await told._encoded())


async def test_any_replica_tells_of_all() -> None:
    found = await fleet(fakeredis.FakeServer(), Clock(), 3)
    assert found["scope"] == "fleet"
    assert len(found["processes"]) == 3
    assert sum(sum(sample["requests"].values()) for sample in found["activity"]["samples"]) == 3
    assert found["activity"]["totals"]["pages"] == 3


async def test_who_is_gone_is_left_out_and_garbage_is_no_fault() -> None:
    server, clock = fakeredis.FakeServer(), Clock()
    client = fakeredis.FakeAsyncRedis(server=server)
    lost = rig(status=OPEN, redis=fakeredis.FakeAsyncRedis(server=server), clock=clock)
    it = await lost.__aenter__()
    await _published(it)
    (told,) = (await client.hgetall(NAME)).values()
    await lost.__aexit__(None, None, None)
    assert await client.hgetall(NAME) == {}, "it has said that it ends"
    await client.hset(NAME, mapping={"lost": told, "odd": b"\xff", "old": b"1.0 x", "bad": b"%.3f \xc1" % clock()})
    async with rig(status=OPEN, redis=client, clock=clock) as other:
        found = await status(other)
        assert len(found["processes"]) == 2
        assert set(await client.hkeys(NAME)) >= {b"lost", b"bad"}
        assert 0 < await client.pttl(NAME) <= 60_000
        clock.advance(REPORT_TIMEOUT + 1)
        assert len((await status(other))["processes"]) == 1
        assert b"lost" not in await client.hkeys(NAME)


async def test_without_redis_it_tells_of_itself() -> None:
    server = fakeredis.FakeServer()
    async with rig(status=OPEN, redis=fakeredis.FakeAsyncRedis(server=server)) as it:
        server.connected = False
        found = await status(it)
        assert (found["scope"], len(found["processes"])) == ("process", 1)
        assert found["processes"][0]["redis"] == "down"


async def test_workers_without_redis_tell_of_each_other(tmp_path: Path) -> None:
    one, two = Siblings(tmp_path), Siblings(tmp_path)
    async with rig(status=OPEN, siblings=one) as first, rig(status=OPEN, siblings=two) as second:
        await first.get()
        found = await status(second)
        assert (found["scope"], len(found["processes"])) == ("workers", 2)
        assert found["activity"]["totals"] == {"pages": 1, "hub": 1}


async def test_the_page_is_one_file_that_allows_nothing_else() -> None:
    async with rig(status=OPEN) as it:
        answer = await it.caller.get("/status")
        policy = answer.headers["content-security-policy"]
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
        assert "http" not in policy
        head = await it.caller.head("/status")
        assert (head.status_code, head.content) == (httpx.codes.OK, b"")
        assert head.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "proxy/web/pages").glob("*.html")), ids=str)
def test_pages_name_no_other_host_and_no_markup_from_data(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}, "a name, not an address"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(| style=| on\w+=\"", text)
    assert text.count("<script>") == text.count("<style>") == 1
    assert PageFile(path.name).policy.count("sha256-") == 2
