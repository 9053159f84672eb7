"""What an operator purges is not served any more, in any replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.errors import BadPurge, InvalidParameter
from proxy.questions.purges import RULES, Purge, Purges, read, write
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.secret import Secret
from proxy.settings import AdminSettings, CacheSettings, RedisSettings, Settings
from proxy.simulator import Simulator
from proxy.web.admin import PURGE_PATH, read_purge
from tests.support import KEY, LIST, RedisServer, SocketRig, rig, socket_rig, still_world
from tests.test_cli import run

ADMIN = "operators-key"


def since(purge: Purge, **query: str | int) -> float:
    purges = Purges()
    purges.add(purge, 5.0)
    return purges.since(page_question("c", ListQuery(**query)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("purge", "query", "covered"),
    [
        (Purge("everything"), {"namespace": "ox"}, True),
        (Purge("namespace", "ox"), {"namespace": "ox", "status": "failed", "page": 9}, True),
        (Purge("namespace", "ox"), {"namespace": "oxen"}, False),
        (Purge("namespace", "ox"), {}, True),  # the token's own namespace may be the one
        (Purge("listing", "namespace=ox"), {"namespace": "ox", "page": 3, "page_size": 7}, True),
        (Purge("listing", "namespace=ox"), {"namespace": "ox", "status": "failed"}, False),
        (Purge("page", "namespace=ox&page=2&page_size=50"), {"namespace": "ox", "page": 2}, True),
        (Purge("page", "namespace=ox&page=2&page_size=50"), {"namespace": "ox", "page": 3}, False),
    ],
)
def test_what_a_purge_covers(purge: Purge, query: dict[str, str | int], covered: bool) -> None:
    assert since(purge, **query) == (5.0 if covered else 0.0)


def test_purges_are_bounded_and_forgotten() -> None:
    purges = Purges()
    assert not purges
    for number in range(RULES + 1):
        purges.add(Purge("namespace", str(number)), float(number))
    assert purges.since(page_question("c", ListQuery(namespace="any"))) == RULES
    purges.forget(RULES + 0.5)
    assert not purges


def test_text_and_back() -> None:
    kept = {Purge("page", "a=b c&page=1"): 1.25, Purge("everything"): 1.79e9 + 0.123456}
    assert read({write(purge).encode(): repr(at).encode() for purge, at in kept.items()}) == kept
    assert read({b"": b"1", b"page x": b"soon", b"planet x": b"1", b"\xff": b""}) == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"namespace": "ox"}', Purge("namespace", "ox")),
        (b'{"listing": "status=failed&namespace=ox"}', Purge("listing", "namespace=ox&status=failed")),
        (b'{"listing": ""}', None),
        (b'{"page": "page=2"}', Purge("page", "page=2&page_size=50")),
        (b'{"everything": true}', Purge("everything")),
        (b"", None),
        (b"{}", None),
        (b"[]", None),
        (b'{"namespace": "ox", "everything": true}', None),
        (b'{"planet": "x"}', None),
        (b'{"page": "page=0"}', None),
    ],
)
def test_read_purge(body: bytes, expected: Purge | None) -> None:
    if expected is None:
        with pytest.raises((BadPurge, InvalidParameter)):
            read_purge(body)
    else:
        assert read_purge(body) == expected


@pytest.fixture
async def replicas(own_redis: RedisServer) -> AsyncIterator[list[SocketRig]]:
    settings = Settings(
        cache=CacheSettings(settled_ttl=600, compose=False),
        redis=RedisSettings(url=Secret(own_redis.url), timeout=5.0),  # a busy machine is not to look like a fault
        admin=AdminSettings(key=Secret(ADMIN)),
    )
    simulator = Simulator(still_world(time.time), api_key=KEY)
    async with (
        socket_rig(settings, simulator=simulator) as one,
        socket_rig(settings, simulator=simulator, url=one.hub_url) as other,
    ):
        yield [one, other]


async def status(caller: httpx.AsyncClient, replica: SocketRig, query: str) -> str:
    return str((await caller.get(f"{replica.list_url}?{query}")).headers["cache-status"])


@pytest.mark.parametrize(
    ("purge", "gone", "kept"),
    [
        ("--page namespace=ox&page=2", ["namespace=ox&page=2"], ["namespace=ox", "namespace=moo"]),
        ("--listing namespace=ox", ["namespace=ox", "namespace=ox&page=2"], ["namespace=ox&status=failed"]),
        ("--namespace ox", ["namespace=ox", "namespace=ox&status=failed", ""], ["namespace=moo"]),
        ("--everything", ["namespace=ox", "namespace=moo", ""], []),
    ],
)
async def test_in_all_replicas(replicas: list[SocketRig], purge: str, gone: list[str], kept: list[str]) -> None:
    async with httpx.AsyncClient() as caller:
        for query in [*gone, *kept]:
            for replica in replicas * 2:
                await status(caller, replica, query)
        done = await asyncio.to_thread(
            run, "purge", "--url", replicas[0].proxy_url, *purge.split(), PROXY_ADMIN_KEY=ADMIN
        )
        assert (done.returncode, done.stdout) == (0, "Purged.\n"), done.stderr
        for query in kept:
            assert all(["hit" in await status(caller, replica, query) for replica in replicas])
        for query in gone:
            assert "fwd=" in await status(caller, replicas[1], query), "also in the replica that was not asked"
            assert "hit" in await status(caller, replicas[0], query), "and kept anew, in all"


async def test_it_is_posted(replicas: list[SocketRig]) -> None:
    async with httpx.AsyncClient() as caller:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            answer = await caller.request(method, f"{replicas[0].proxy_url}/admin/purge")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_only_for_operators(replicas: list[SocketRig]) -> None:
    async with httpx.AsyncClient() as caller:
        url = replicas[0].proxy_url + PURGE_PATH
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": ADMIN}):
            refused = await caller.post(url, json={"everything": True}, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer realm=")
            assert refused.json()["error"]["type"] == "unauthorized"
        bad = await caller.post(url, content=b"{", headers={"authorization": f"Bearer {ADMIN}"})
        assert (bad.status_code, bad.json()["error"]["type"]) == (400, "bad_purge")
        assert (await caller.get(url)).headers["allow"] == "POST"


async def test_off_unless_configured() -> None:
    async with rig() as it:
        refused = await it.caller.post(PURGE_PATH, json={"everything": True}, headers={"authorization": "Bearer x"})
        assert refused.status_code == 404


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ([], "Error: Give exactly one of"),
        (["--page", "page=1", "--everything"], "Error: Give exactly one of"),
        (["--namespace", "ox"], "Error: PROXY_ADMIN_KEY is not set"),
    ],
)
def test_the_command_says_what_is_missing(arguments: list[str], missing: str) -> None:
    done = run("purge", *arguments)
    assert done.returncode == 2
    assert missing in done.stderr


def test_the_command_when_nobody_is_there() -> None:
    done = run("purge", "--url", "http://127.0.0.1:9", "--everything", PROXY_ADMIN_KEY=ADMIN)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the proxy at http://127.0.0.1:9 cannot be asked")
    assert LIST not in done.stderr
