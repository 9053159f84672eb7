"""What an operator purges is not served any more, in any replica."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fakeredis
import httpx
import pytest

from proxy.commands.purge import run_purge
from proxy.commands.sockets import LOOPBACK
from proxy.errors import BadPurge, InvalidParameter
from proxy.known.agreed_watermarks import AgreedWatermarks
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.questions.watermarks import MAX_WATERMARKS, Extent, Watermarks, read, read_news, write
from proxy.redis import news as redis_news
from proxy.redis import retry_loop
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis.news import News
from proxy.redis.shared_watermarks import SharedWatermarks
from proxy.redis_keys import NOBODYS, names
from proxy.secret import Secret
from proxy.settings import AdminSettings, CacheSettings, EventSettings, RedisSettings, ServerSettings, Settings
from proxy.simulator import Simulator
from proxy.web.admin import PURGE_PATH, read_purge
from tests.processes import run
from tests.support import KEY, LIST, Clock, RedisServer, SocketRig, rig, socket_rig, still_world

ADMIN = "operators-key"


def since(purge: Extent, **query: str | int) -> float:
    purges = Watermarks()
    purges.add(purge, 5.0)
    return purges.since(page_question("c", ListQuery(**query)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("purge", "query", "covered"),
    [
        (Extent("everything"), {"namespace": "ox"}, True),
        (Extent("namespace", "ox"), {"namespace": "ox", "status": "failed", "page": 9}, True),
        (Extent("namespace", "ox"), {"namespace": "oxen"}, False),
        (Extent("namespace", "ox"), {}, True),  # the token's own namespace may be the one
        (Extent("listing", "namespace=ox"), {"namespace": "ox", "page": 3, "page_size": 7}, True),
        (Extent("listing", "namespace=ox"), {"namespace": "ox", "status": "failed"}, False),
        (Extent("listing"), {"page": 3}, True),
        (Extent("listing"), {"namespace": "ox"}, False),
        (Extent("page", "namespace=ox&page=2&page_size=50"), {"namespace": "ox", "page": 2}, True),
        (Extent("page", "namespace=ox&page=2&page_size=50"), {"namespace": "ox", "page": 3}, False),
    ],
)
def test_a_purge_covers_what_it_names_and_no_more(purge: Extent, query: dict[str, str | int], covered: bool) -> None:
    assert since(purge, **query) == (5.0 if covered else 0.0)


def test_purges_are_bounded_and_forgotten() -> None:
    purges = Watermarks()
    assert not purges
    for number in range(MAX_WATERMARKS + 1):
        purges.add(Extent("namespace", str(number)), number + 1.0)
    assert purges.since(page_question("c", ListQuery(namespace="any"))) == MAX_WATERMARKS + 1
    purges.forget(MAX_WATERMARKS + 1.5)
    assert not purges


def test_a_purge_of_before_takes_nothing_back() -> None:
    """It is of a replica whose clock is behind, or was told late."""
    purges = Watermarks()
    for at in (5.0, 3.0):
        purges.add(Extent("everything"), at)
    assert purges.since(page_question("c", ListQuery())) == 5.0


def test_purges_are_read_as_written() -> None:
    kept = {Extent("page", "a=b c&page=1"): 1.25, Extent("listing"): 2.5, Extent("everything"): 1.79e9 + 0.123456}
    assert read({write(purge).encode(): repr(at).encode() for purge, at in kept.items()}) == kept
    assert read({b"": b"1", b"page x": b"soon", b"planet x": b"1", b"\xff": b""}) == {}


def test_news_of_a_purge_is_read_or_refused() -> None:
    assert read_news(b"1.25 page a=b c&page=1") == (Extent("page", "a=b c&page=1"), 1.25)
    for news in (b"1.25", b"soon everything ", b"1.25 planet x"):
        with pytest.raises(ValueError, match=r"\w"):
            read_news(news)


class Kept(SharedWatermarks):
    """What Redis keeps, if it can be asked."""

    def __init__(self, *answers: dict[Extent, float] | None) -> None:
        self.answers = list(answers)

    async def times(self) -> dict[Extent, float] | None:
        return self.answers.pop(0)


async def test_news_of_a_purge_says_what_is_purged() -> None:
    """So that no look into Redis can fail on which all depends."""
    redis = fakeredis.FakeAsyncRedis()
    listening = redis.pubsub()
    await listening.subscribe(NOBODYS.news)
    here, there = (
        AgreedWatermarks(shared, keep=60.0, clock=Clock())
        for shared in (SharedWatermarks(RedisLink(redis, 5.0), "purged"), Kept())
    )
    assert await here.agree(Extent("namespace", "ox"))
    while (message := await listening.get_message(timeout=5)) is None or message["type"] != "message":
        pass
    topic, _, news = message["data"].partition(b" ")
    assert topic == b"purged"
    there.on_news(news)
    question = page_question("c", ListQuery(namespace="ox"))
    assert there.since(question) == here.since(question) == Clock().now
    await listening.aclose()  # type: ignore[no-untyped-call]


class Away(SharedWatermarks):
    """A Redis that can be asked once it is ``back``; what it was ``told``, and how often it was asked."""

    def __init__(self) -> None:
        self.back, self.asked = asyncio.Event(), 0
        self.told: dict[Extent, float] = {}

    async def add(self, extent: Extent, at: float, *, keep: float) -> bool:
        await asyncio.sleep(0)
        self.asked += 1
        assert keep == 60.0
        if self.back.is_set():
            self.told[extent] = at
        return self.back.is_set()


async def asked(shared: Away, times: int) -> None:
    async with asyncio.timeout(5):
        while shared.asked < times:
            await asyncio.sleep(0)


async def test_a_purge_that_could_not_be_told_is_told_when_redis_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    shared, clock = Away(), Clock()
    it, began = AgreedWatermarks(shared, keep=60.0, clock=clock), clock()
    assert not await it.agree(Extent("everything"))
    clock.advance(1)
    assert not await it.agree(Extent("namespace", "ox"))
    await asked(shared, 5)
    clock.advance(1)
    assert not await it.agree(Extent("namespace", "ox")), "once more, and later"
    shared.back.set()
    async with asyncio.timeout(5):
        while len(shared.told) < 2:
            await asyncio.sleep(0)
    assert await it.drain(5) == 0
    assert shared.told == {Extent("everything"): began, Extent("namespace", "ox"): began + 2}
    before = shared.asked
    assert await it.agree(Extent("everything"))
    assert shared.asked == before + 1, "nothing is told twice"


async def test_a_purge_is_not_told_any_more_when_nothing_is_kept_that_it_covers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    shared, clock = Away(), Clock()
    it = AgreedWatermarks(shared, keep=60.0, clock=clock)
    assert not await it.agree(Extent("everything"))
    await asked(shared, 3)
    clock.advance(61)
    assert len(it._retries._detached) == 1
    async with asyncio.timeout(5):
        while it._retries._detached:
            await asyncio.sleep(0)
    assert not shared.told


async def test_a_purge_that_cannot_be_told_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    it = AgreedWatermarks(Away(), keep=60.0, clock=Clock())
    assert not await it.agree(Extent("everything"))
    assert await it.drain(5) == 0


@pytest.mark.parametrize("real", [False, True])
async def test_a_clock_that_is_behind_moves_no_purge_back(real: bool, redis_server: RedisServer) -> None:
    redis_server.command("DEL", NOBODYS.watermarks("purged"))
    client = connect(Secret(redis_server.url)) if real else fakeredis.FakeAsyncRedis()
    shared = SharedWatermarks(RedisLink(client, 5.0), "purged")
    for at in (7.5, 5.25, 6.0):
        assert await shared.add(Extent("everything"), at, keep=60.0)
    assert await shared.times() == {Extent("everything"): 7.5}
    assert await shared.add(Extent("everything"), 8.125, keep=60.0)
    assert await shared.times() == {Extent("everything"): 8.125}
    redis_server.command("DEL", NOBODYS.watermarks("purged"))
    await shared._link.aclose()


async def test_memory_is_not_trusted_until_the_purges_are_known(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_news, "RETRY_INTERVAL", 0.001)
    link = RedisLink(connect(Secret(redis_server.url)), 5.0)
    news = News(link)
    asked, flowed, answers = 0, [], asyncio.Event()

    async def read() -> bool:
        nonlocal asked
        asked += 1
        flowed.append(news.flowing)
        return answers.is_set()

    news.on_subscribed = read
    news.start()
    async with asyncio.timeout(5):
        while asked < 3:
            await asyncio.sleep(0.001)
        answers.set()
        while not news.flowing:
            await asyncio.sleep(0.001)
    assert not any(flowed)
    await news.aclose()
    await link.aclose()


async def test_what_is_no_purges_under_their_key_is_none(redis_server: RedisServer) -> None:
    """Else memory would never be trusted again."""
    redis_server.command("DEL", NOBODYS.watermarks("purged"))
    redis_server.command("RPUSH", NOBODYS.watermarks("purged"), "x")
    shared = SharedWatermarks(RedisLink(connect(Secret(redis_server.url)), 5.0), "purged")
    assert await shared.times() == {}
    assert await shared.add(Extent("everything"), 5.0, keep=60.0)
    assert await shared.times() == {Extent("everything"): 5.0}
    redis_server.command("DEL", NOBODYS.watermarks("purged"))
    await shared._link.aclose()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"namespace": "ox"}', Extent("namespace", "ox")),
        (b'{"listing": "status=failed&namespace=ox"}', Extent("listing", "namespace=ox&status=failed")),
        (b'{"listing": ""}', Extent("listing")),
        (b'{"page": ""}', Extent("page", "page=1&page_size=50")),
        (b'{"listing": "", "namespace": "ox"}', None),
        (b'{"listing": "", "everything": false}', Extent("listing")),
        (b'{"everything": false}', None),
        (b'{"namespace": ""}', None),
        (b'{"page": "page=2"}', Extent("page", "page=2&page_size=50")),
        (b'{"everything": true}', Extent("everything")),
        (b"", None),
        (b"{}", None),
        (b"[]", None),
        (b'{"namespace": "ox", "everything": true}', None),
        (b'{"planet": "x"}', None),
        (b'{"page": "page=0"}', None),
    ],
)
def test_a_purge_is_read_strictly(body: bytes, expected: Extent | None) -> None:
    if expected is None:
        with pytest.raises((BadPurge, InvalidParameter)):
            read_purge(body)
    else:
        assert read_purge(body) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"everything", b"\xff", b"[" * 100_000, b"[]", b'{"planet": "x"}', b"{}"])
def test_who_purges_nothing_is_told_what_to_send(body: bytes) -> None:
    with pytest.raises(BadPurge) as caught:
        read_purge(body)
    assert caught.value.detail.startswith(
        'Send JSON with exactly one of page, listing, namespace and everything, for example {"namespace": "ox"}'
    )
    assert "truncated" not in caught.value.detail


@pytest.fixture
async def replicas(own_redis: RedisServer) -> AsyncIterator[list[SocketRig]]:
    settings = Settings(
        cache=CacheSettings(settled_ttl=600, compose=False),
        redis=RedisSettings(url=Secret(own_redis.url), timeout=5.0),  # a busy machine is not to look like a fault
        admin=AdminSettings(key=Secret(ADMIN)),
        events=EventSettings(mode="off"),  # which make doubtful what is kept where another takes the subscription over
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
        ("--listing=", ["", "page=2"], ["namespace=ox"]),
        ("--namespace ox", ["namespace=ox", "namespace=ox&status=failed", ""], ["namespace=moo"]),
        ("--everything", ["namespace=ox", "namespace=moo", ""], []),
    ],
)
async def test_a_purge_holds_in_all_replicas(
    replicas: list[SocketRig], purge: str, gone: list[str], kept: list[str]
) -> None:
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


async def test_without_redis_the_others_are_told_when_it_is_back(
    replicas: list[SocketRig], own_redis: RedisServer
) -> None:
    query = "namespace=ox"
    async with httpx.AsyncClient() as caller:
        for replica in replicas * 2:
            await status(caller, replica, query)
        own_redis.kill()
        answer = await caller.post(
            replicas[0].proxy_url + PURGE_PATH,
            json={"everything": True},
            headers={"authorization": f"Bearer {ADMIN}"},
        )
        assert (answer.json()["everywhere"], answer.json()["redis"]) == (False, "away")
        own_redis.start()
        async with asyncio.timeout(10):
            while own_redis.command("HLEN", names(replicas[0].hub_url, 0).watermarks("purged")) != 1:
                await asyncio.sleep(0.02)
        assert "fwd=" in await status(caller, replicas[1], query)


@pytest.mark.parametrize(("workers", "count", "alone"), [(1, 1, True), (2, 1, False), (1, 2, False)])
async def test_without_a_redis_no_other_process_is_told(
    workers: int, count: int, *, alone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        admin=AdminSettings(key=Secret(ADMIN)),
        server=ServerSettings(workers=workers),
        redis=RedisSettings(replicas=count),
    )
    async with socket_rig(settings) as it, httpx.AsyncClient() as caller:
        for _ in range(2):
            await status(caller, it, "")
        answer = await caller.post(
            it.proxy_url + PURGE_PATH, json={"everything": True}, headers={"authorization": f"Bearer {ADMIN}"}
        )
        assert (answer.json()["everywhere"], answer.json()["redis"]) == (alone, "off")
        assert "fwd=" in await status(caller, it, ""), "here it is purged in any case"
        if not alone:
            with pytest.raises(SystemExit):
                await asyncio.to_thread(run_purge, it.proxy_url, Secret(ADMIN), {"everything": True})
            assert "there is no Redis to tell the others by: restart them" in capsys.readouterr().err


async def test_a_purge_can_only_be_posted(replicas: list[SocketRig]) -> None:
    async with httpx.AsyncClient() as caller:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            answer = await caller.request(method, f"{replicas[0].proxy_url}/admin/purge")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_only_operators_may_purge(replicas: list[SocketRig]) -> None:
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


async def test_there_is_no_purge_unless_configured() -> None:
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


class Redirecting(BaseHTTPRequestHandler):
    """Sends everybody elsewhere, where all is well."""

    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        self.seen.append((self.path, self.headers["authorization"]))
        self.send_response(302)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["authorization"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"everywhere": true}')

    def log_message(self, *_: object) -> None:
        pass


def test_the_command_sends_the_key_nowhere_else() -> None:
    """Neither after a redirect, nor to a proxy from the environment."""
    with HTTPServer((LOOPBACK, 0), Redirecting) as server:
        Redirecting.seen.clear()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://{LOOPBACK}:{server.server_port}"
        other = f"http://{LOOPBACK}:9"
        try:
            done = run("purge", "--url", url, "--everything", PROXY_ADMIN_KEY=ADMIN, http_proxy=other, no_proxy="")
        finally:
            server.shutdown()
            thread.join()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {url} redirects to '/elsewhere', where the operator's key is not sent")
        assert Redirecting.seen == [(PURGE_PATH, f"Bearer {ADMIN}")]


def test_the_command_takes_the_key_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{ADMIN}\n")
    done = run("purge", "--url", "http://127.0.0.1:9", "--everything", PROXY_ADMIN_KEY_FILE=str(tmp_path / "key"))
    assert done.stderr.startswith("error: the proxy at http://127.0.0.1:9 cannot be asked")
    done = run("purge", "--url", "http://127.0.0.1:9", "--everything", PROXY_ADMIN_KEY_FILE=str(tmp_path / "none"))
    assert (done.returncode, done.stderr.partition("'")[0]) == (1, "error: PROXY_ADMIN_KEY_FILE: cannot read ")


def test_the_command_shows_no_key_that_cannot_be_sent() -> None:
    done = run("purge", "--url", "http://127.0.0.1:9", "--everything", PROXY_ADMIN_KEY=f"{ADMIN}\nx: y")
    assert done.returncode == 1
    assert done.stderr.startswith("error: PROXY_ADMIN_KEY is no token")
    assert ADMIN not in done.stderr


def test_what_is_dropped_is_forgotten_unless_there_was_another() -> None:
    purges = Watermarks()
    purges.add(Extent("everything"), 5.0)
    purges.drop(Extent("everything"), 4.0)
    purges.drop(Extent("listing"), 5.0)
    assert purges.times == {Extent("everything"): 5.0}
    purges.drop(Extent("everything"), 5.0)
    assert not purges


async def test_what_was_told_at_last_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And by itself: nothing has to end for that."""
    monkeypatch.setattr(retry_loop, "RETRY_INTERVAL", 0.0)
    shared = Away()
    it = AgreedWatermarks(shared, keep=60.0, clock=Clock())
    assert not await it.agree(Extent("everything"))
    await asked(shared, 3)
    shared.back.set()
    async with asyncio.timeout(5):
        while it._retries._detached:
            await asyncio.sleep(0)
    before = shared.asked
    it.note(Extent("listing"), Clock().now)
    async with asyncio.timeout(5):
        while it._retries._detached:
            await asyncio.sleep(0)
    assert (shared.asked, len(shared.told)) == (before + 1, 2)


async def test_what_redis_cannot_say_is_not_known_and_no_fault() -> None:
    it = AgreedWatermarks(Kept(None, {Extent("everything"): 5.0}), keep=60.0, clock=Clock())
    assert not await it.read()
    assert await it.read()
    assert it.since(page_question("c", ListQuery())) == 5.0


def test_what_is_purged_does_not_count_among_many_when_nothing_is_kept_that_it_covers() -> None:
    """As soon as there are too many, everything is purged."""
    it, now = AgreedWatermarks(None, keep=60.0, clock=Clock()), Clock().now
    for number in range(MAX_WATERMARKS):
        it.note(Extent("namespace", str(number)), now)
    it.note(Extent("namespace", "ox"), now + 61)
    assert it.since(page_question("c", ListQuery(namespace="ox"))) == now + 61
    assert it.since(page_question("c", ListQuery(namespace="another"))) == 0.0


def test_a_purge_leaves_the_others_in_force() -> None:
    it, now = AgreedWatermarks(None, keep=60.0, clock=Clock()), Clock().now
    for name, at in (("ox", now), ("moo", now + 59), ("cow", now - 59)):
        it.note(Extent("namespace", name), at)
    assert [it.since(page_question("c", ListQuery(namespace=name))) for name in ("ox", "moo", "cow")] == [
        *(now, now + 59, now - 59)
    ]


async def test_what_many_tell_again_is_news_once() -> None:
    """A server that has lost watermarks is told them by all processes at the same moment."""
    redis = fakeredis.FakeAsyncRedis()
    subscription = redis.pubsub(ignore_subscribe_messages=True)
    await subscription.subscribe(NOBODYS.news)
    for at in (5.0, 5.0, 4.0, 6.0):
        assert await SharedWatermarks(RedisLink(redis, 5.0), "purged").add(Extent("everything"), at, keep=60.0)
    heard: list[Any] = []
    async with asyncio.timeout(5):
        while len(heard) < 2 or heard[-1] is not None:
            heard.append(await subscription.get_message(timeout=0.01))
    assert [message["data"].split()[1] for message in heard if message] == [b"5.0", b"6.0"]
    await subscription.aclose()  # type: ignore[no-untyped-call]
