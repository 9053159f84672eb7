"""The hub's events through the proxy, over sockets: fresher pages, and ``GET /api/events`` for callers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from proxy.answer.page import namespace_of
from proxy.app import create_app
from proxy.callers.caller import ANONYMOUS, Caller, digest
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.errors import TooManyListeners
from proxy.events.entry import Entry
from proxy.events.feed import Feed, _read_position
from proxy.events.hub_subscriber import Pace
from proxy.events.listener import Source, TooSlow
from proxy.events.log import EventLog
from proxy.known import completion
from proxy.redis.client import connect
from proxy.secret import Secret
from proxy.settings import (
    AuthSettings,
    CacheSettings,
    CallerSettings,
    CredentialSettings,
    EventSettings,
    HubSettings,
    LimitSettings,
    RedisSettings,
    Settings,
)
from proxy.simulator import Controlled, Fault, Simulator
from proxy.simulator.streaming import label
from proxy.web.health import Readiness
from tests.listening import EVENTS, listening
from tests.support import KEY, LIST, UNHURRIED, Clock, RedisServer, still_world, until

PACE = Pace(beat=0.05, first_wait=0.05, longest_wait=0.2, steady=0.5, absent_wait=60.0)
SETTLED = CacheSettings(settled_ttl=3600, live_ttl=3600, max_page_age=3600)
CALLERS = AuthSettings(
    callers=tuple(
        CallerSettings(name=name, keys=(digest(f"key-of-{name}"),), namespaces=namespaces)
        for name, namespaces in (("ox", ("ox",)), ("bessie", ("bessie",)), ("both", ("ox", "bessie")), ("all", ("*",)))
    )
)


def key_of(name: str) -> str:
    return f"Authorization: Bearer key-of-{name}"


@dataclass
class Proxies:
    """A simulated hub and proxies before it, in this process, each with a socket of its own."""

    hub: Simulator
    urls: list[str]
    readiness: list[Readiness] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.urls[0]

    def complete(self, namespace: str = "ox", **members: Any) -> str:
        row = self.hub.world.enqueue(namespace, **members)
        self.hub.world.end(row)
        return row.id

    def lookups(self) -> list[str]:
        return [one.path for one in self.hub.journal.requests if one.path.startswith(f"{LIST}/")]


@asynccontextmanager
async def proxies(
    number: int = 1, redis: RedisServer | None = None, *faults: Fault, settings: Settings | None = None
) -> AsyncIterator[Proxies]:
    hub = Simulator(still_world(time.time), api_key=KEY)
    hub.faults.set(*faults)
    async with AsyncExitStack() as stack:
        socket = stack.enter_context(listen(LOOPBACK, 0))
        await stack.enter_async_context(serving(Controlled(hub), socket))
        settings = settings or Settings(cache=SETTLED)
        hub.further_keys = {one.api_key.reveal() for one in settings.hub.credentials if one.api_key}
        # A key of its own for each test: logs of different tokens are different logs, in one Redis too.
        hub.api_key = f"{KEY}-{time.time_ns()}"
        key = Secret(hub.api_key)
        hub_settings = msgspec.structs.replace(settings.hub, url=url_of(socket), api_key=key)
        settings = msgspec.structs.replace(settings, hub=hub_settings, redis=RedisSettings(timeout=UNHURRIED))
        it = Proxies(hub, [])
        for _ in range(number):
            readiness = Readiness()
            own = None if redis is None else connect(Secret(redis.url))
            app = create_app(settings, redis=own, sinks=[], pace=PACE, readiness=readiness)
            sock = stack.enter_context(listen(LOOPBACK, 0))
            await stack.enter_async_context(serving(app, sock))
            it.urls.append(url_of(sock))
            it.readiness.append(readiness)
        if settings.events.mode == "auto" and not faults:
            await until(lambda: hub.streams.open.total() >= 1 + len(settings.hub.credentials))
        yield it


async def page(url: str, query: str = "namespace=ox&page_size=3", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as caller:
        return await caller.get(f"{url}{LIST}?{query}", headers=headers)


async def test_a_completion_is_seen_within_a_moment_whatever_the_ttl_is() -> None:
    async with proxies() as it:
        row = it.hub.world.enqueue("ox")
        assert (await page(it.url)).json()["generations"][0]["status"] == "queued"
        await page(it.url, "namespace=ox&status=succeeded&page_size=3")
        assert "hit" in (await page(it.url)).headers["cache-status"]
        await asyncio.sleep(0.1)  # a page is fresh for so long whatever events say
        it.hub.world.end(row)
        await asyncio.sleep(0.1)
        for query in ("namespace=ox&page_size=3", "namespace=ox&status=succeeded&page_size=3"):
            assert (await page(it.url, query)).json()["generations"][0]["generation_id"] == row.id
        assert (await page(it.url)).json()["generations"][0]["status"] == "succeeded"


async def test_all_replicas_know_at_once_and_refresh_once(redis_server: RedisServer) -> None:
    async with proxies(3, redis_server) as it:
        await asyncio.sleep(0.3)  # news flows
        row = it.hub.world.enqueue("ox")
        for url in it.urls:
            await page(url)
        asked = it.hub.journal.count
        await asyncio.sleep(0.1)
        it.hub.world.end(row)
        await asyncio.sleep(0.3)
        for url in it.urls:
            answer = await page(url)
            assert answer.json()["generations"][0]["status"] == "succeeded"
            assert "hit" in answer.headers["cache-status"], "it was in demand"
        assert it.hub.journal.count == asked + 1
        assert it.hub.streams.open.total() == 1


async def test_the_first_connection_makes_nothing_doubtful() -> None:
    async with proxies(1, None, Fault(path=EVENTS, status=500)) as it:
        await page(it.url)
        it.hub.faults.clear()
        async with listening(it.url) as heard:
            await until(lambda: it.hub.streams.open.total() == 1)
            await asyncio.sleep(0.1)
            assert "hit" in (await page(it.url)).headers["cache-status"]
            assert it.hub.journal.count == 1
            done = it.complete()
            await until(lambda: heard.completions == [done])
            assert heard.gaps == 0


async def test_what_was_missed_while_away_is_not_known() -> None:
    async with proxies() as it:
        await page(it.url)
        it.hub.faults.set(Fault(path=EVENTS, status=500))
        it.hub.streams.cut()
        await until(lambda: it.hub.streams.open.total() == 0)
        await asyncio.sleep(0.3)
        done = it.complete()
        it.hub.faults.clear()
        await until(lambda: it.hub.streams.open.total() == 1)
        await asyncio.sleep(0.1)
        assert (await page(it.url)).json()["generations"][0]["generation_id"] == done


async def test_listeners_hear_what_happens() -> None:
    async with proxies() as it, listening(it.url) as heard:
        assert heard.status == 200
        assert heard.headers["content-type"] == "text/event-stream"
        assert heard.headers["cache-control"] == "no-store"
        assert heard.headers["x-accel-buffering"] == "no"
        assert "authorization" in heard.headers["vary"]
        assert heard.blocks[0]["retry"] == "2000"
        done = [it.complete("moo"), it.complete("ox")]
        row = it.hub.world.enqueue("bessie")
        it.hub.world.end(row, "failed")
        await until(lambda: len(heard.completions) == 3)
        assert heard.completions == [*done, row.id]
        sent = json.loads(heard.blocks[-1]["data"])
        assert sent["error"] == "Insufficient credits"
        assert len({one["id"] for one in heard.blocks if "id" in one}) == 4
        assert it.lookups() == [], "who may see everything needs no namespace looked up"


async def test_the_data_is_the_hubs_byte_for_byte() -> None:
    async with proxies() as it:
        blocks = it.hub.events.listen()
        async with listening(it.url) as heard:
            it.complete(model="größe/\U0001f600")
            await until(lambda: len(heard.completions) == 1)
            assert heard.blocks[-1]["data"] == blocks.get_nowait().decode().split("data: ")[1].rstrip("\n")


async def test_each_hears_of_its_namespaces_only() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, AsyncExitStack() as stack:
        names = ("ox", "bessie", "both", "all", "ox")
        heard = [await stack.enter_async_context(listening(it.url, key_of(name))) for name in names]
        done = [(namespace, it.complete(namespace)) for namespace in ("ox", "bessie", "moo", "ox")]
        wanted = {"ox": {"ox"}, "bessie": {"bessie"}, "both": {"ox", "bessie"}, "all": {"ox", "bessie", "moo"}}
        for name, one in zip(names, heard, strict=True):
            await until(lambda n=name, o=one: len(o.completions) == sum(ns in wanted[n] for ns, _ in done))  # type: ignore[misc]
            assert one.completions == [generation for namespace, generation in done if namespace in wanted[name]]
        assert sorted(it.lookups()) == sorted(f"{LIST}/{generation}" for _, generation in done), "each once"


async def test_a_row_in_memory_spares_the_look_up_and_other_namespaces() -> None:
    async with proxies(settings=Settings(auth=CALLERS, cache=SETTLED)) as it:
        row = it.hub.world.enqueue("ox")
        key = {"authorization": "Bearer key-of-both"}
        for namespace in ("ox", "bessie"):
            await page(it.url, f"namespace={namespace}&page_size=3", **key)
        async with listening(it.url, key_of("ox")) as heard, listening(it.url, key_of("bessie")) as other:
            await asyncio.sleep(0.1)
            it.hub.world.end(row)
            await until(lambda: heard.completions == [row.id])
            assert "hit" in (await page(it.url, "namespace=bessie&page_size=3", **key)).headers["cache-status"]
            assert sum("bessie" in one.query for one in it.hub.journal.requests) == 1
            assert other.completions == []
            assert it.lookups() == []


async def test_a_look_up_that_fails_is_tried_again() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        it.hub.faults.set(Fault(status=500, times=1))
        done = [it.complete("ox"), it.complete("ox")]
        await until(lambda: len(heard.completions) == 2)
        assert heard.completions == done


async def test_an_event_of_no_namespace_is_for_those_who_see_all() -> None:
    """What is no text names none: it is known whose the event is not, so that there is no gap either."""
    async with (
        proxies(settings=Settings(auth=CALLERS)) as it,
        listening(it.url, key_of("ox")) as ox,
        listening(it.url, key_of("all")) as everybody,
    ):
        row = it.hub.world.enqueue("ox")
        said = {"generation_id": row.id, "status": "succeeded", "target_namespace": ["ox"]}
        it.hub.faults.set(Fault(content=json.dumps({"generation": said}), times=1))
        it.hub.world.end(row)
        done = it.complete("ox")
        await until(lambda: len(everybody.completions) == 2 and len(ox.completions) > 0)
        assert (ox.completions, ox.gaps, everybody.completions) == ([done], 0, [row.id, done])


async def test_a_look_up_that_breaks_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the fault is: who is not told of an event is told that there may have been one."""
    broken = iter((True,))

    def breaks_once(*given: Any) -> str | None:
        if next(broken, False):
            raise RuntimeError
        return namespace_of(*given)

    monkeypatch.setattr("proxy.events.owners.namespace_of", breaks_once)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        it.complete("ox")
        await until(lambda: heard.gaps == 1)
        done = it.complete("ox")
        await until(lambda: heard.completions == [done])


async def test_what_cannot_be_looked_up_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.owners.Owners.__init__.__kwdefaults__", {"give_up": 0.1}, raising=False)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        row = it.hub.world.enqueue("ox")
        it.hub.world.on_end.insert(0, it.hub.world.delete)
        it.hub.world.end(row)
        await until(lambda: heard.gaps == 1)
        it.hub.world.on_end.pop(0)
        done = it.complete("ox")
        await until(lambda: heard.completions == [done])


async def test_a_short_absence_is_replayed() -> None:
    async with proxies() as it:
        async with listening(it.url) as heard:
            first = it.complete()
            await until(lambda: heard.completions == [first])
        missed = [it.complete() for _ in range(5)]
        async with listening(it.url, f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 5)
            later = it.complete()
            await until(lambda: len(again.completions) == 6)
            assert again.completions == [*missed, later]
            assert again.gaps == 0


async def test_a_replay_shows_no_more_than_the_stream_did() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it:
        async with listening(it.url, key_of("ox")) as heard:
            pass
        done = [it.complete(namespace) for namespace in ("ox", "moo", "ox")]
        async with listening(it.url, key_of("ox"), f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 2)
            assert again.completions == [done[0], done[2]]


async def test_another_replica_replays_as_well(redis_server: RedisServer) -> None:
    async with proxies(2, redis_server) as it:
        async with listening(it.urls[0]) as heard:
            first = it.complete()
            await until(lambda: heard.completions == [first])
        missed = [it.complete() for _ in range(3)]
        async with listening(it.urls[1], f"Last-Event-ID: {heard.last_id}") as again:
            await until(lambda: len(again.completions) == 3)
            assert (again.completions, again.gaps) == (missed, 0)


@pytest.mark.parametrize(
    "last", ["nonsense", "1-0", "a" * 5000, "deadbeef-1-0", "%00,,-,-1", "x-99999999999999999999-1"]
)
async def test_a_gap_is_marked(last: str) -> None:
    async with proxies() as it, listening(it.url, f"Last-Event-ID: {last}") as heard:
        done = it.complete()
        await until(lambda: heard.completions == [done])
        assert heard.gaps == 1
        assert heard.blocks[1]["event"] == "gap"
        assert "id" not in heard.blocks[0], "whose stream breaks before the gap is to be told of it again"
        assert "id" in heard.blocks[1]


async def test_too_long_an_absence_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.tail.MAX_EVENTS", 10)
    async with proxies() as it:
        async with listening(it.url) as heard:
            pass
        async with listening(it.url) as other:
            done = [it.complete() for _ in range(20)]
            await until(lambda: other.completions[-1:] == done[-1:])
        async with listening(it.url, f"Last-Event-ID: {heard.last_id}") as again:
            later = it.complete()
            await until(lambda: later in again.completions)
            assert again.gaps == 1
            assert set(again.completions).isdisjoint(done[:10])


async def test_refusals() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, httpx.AsyncClient(base_url=it.url) as caller:
        answer = await caller.get(EVENTS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")
        key = {"authorization": "Bearer key-of-ox"}
        answer = await caller.get(f"{EVENTS}?namespace=ox", headers=key)
        assert (answer.status_code, answer.json()["error"]["parameter"]) == (400, "namespace")
        answer = await caller.post(EVENTS, headers=key)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        answer = await caller.head(EVENTS, headers=key)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream"


async def test_limits_count_a_stream_once() -> None:
    settings = Settings(limits=LimitSettings(rate=0.001, burst=2))
    async with proxies(settings=settings) as it, listening(it.url), listening(it.url) as second:
        assert second.headers["ratelimit"].startswith('"caller";r=0')
        async with listening(it.url) as third:
            assert third.status == 429


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_a_hub_without_events(mode: Any) -> None:
    settings = Settings(events=EventSettings(mode=mode))
    async with proxies(1, None, Fault(path=EVENTS, status=404), settings=settings) as it, httpx.AsyncClient() as caller:
        async with asyncio.timeout(10):
            while (answer := await caller.head(it.url + EVENTS)).status_code != 404:
                await asyncio.sleep(0.02)
        answer = await caller.get(it.url + EVENTS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "resource_not_found")
        assert (await page(it.url)).status_code == 200


async def test_one_caller_cannot_take_all_the_room() -> None:
    greedy, other, third = (Caller(name, frozenset({"ox"})) for name in ("greedy", "other", "third"))
    feed = Feed({}, 30)
    taken = [await feed.join(greedy, [], None) for _ in range(27)]
    with pytest.raises(TooManyListeners, match="This caller listens 27 times"):
        await feed.join(greedy, [], None)
    for caller in (other, third, other):
        await feed.join(caller, [], None)
    with pytest.raises(TooManyListeners, match="30 listen already"):
        await feed.join(third, [], None)
    for listener in taken[:4]:
        feed.leave(listener)
    await feed.join(greedy, [], None)
    with pytest.raises(TooManyListeners, match="This caller listens 24 times"):
        await feed.join(greedy, [], None)


async def test_where_nobody_is_known_all_the_room_is_for_anybody() -> None:
    feed = Feed({}, 30)
    for _ in range(30):
        await feed.join(ANONYMOUS, [], None)
    with pytest.raises(TooManyListeners, match="30 listen already"):
        await feed.join(ANONYMOUS, [], None)


async def test_there_is_room_for_so_many() -> None:
    async with proxies(settings=Settings(events=EventSettings(listeners=2))) as it, listening(it.url):
        async with listening(it.url), listening(it.url) as third:
            assert third.status == 503
            assert "too_many_listeners" in third.blocks[0]["body"]
            assert third.headers["retry-after"] == "5"
        async with asyncio.timeout(10):
            while True:
                async with listening(it.url) as fourth:
                    if fourth.status == 200:
                        break


async def test_several_credentials_one_connection_each() -> None:
    farm = CredentialSettings(name="farm", namespaces=("bessie",), api_key=Secret("farm-key"))
    settings = Settings(auth=CALLERS, hub=HubSettings(credentials=(farm,)))
    async with proxies(settings=settings) as it, AsyncExitStack() as stack:
        heard = {
            name: await stack.enter_async_context(listening(it.url, key_of(name)))
            for name in ("ox", "bessie", "both", "all")
        }
        assert it.hub.streams.open == {label(it.hub.api_key): 1, label("farm-key"): 1}
        done = [it.complete("ox"), it.complete("bessie")]  # the simulator tells both tokens of both
        wanted = {"ox": done[:1], "bessie": done[1:], "both": done, "all": done}
        for name, one in heard.items():
            await until(lambda n=name, o=one: len(o.completions) >= len(wanted[n]))  # type: ignore[misc]
        await asyncio.sleep(0.3)
        assert {name: sorted(one.completions) for name, one in heard.items()} == {
            name: sorted(ids) for name, ids in wanted.items()
        }
        async with listening(it.url, key_of("all"), f"Last-Event-ID: {heard['all'].last_id}") as again:
            later = it.complete("ox")
            await until(lambda: again.completions == [later])
            assert again.gaps == 0


async def test_keep_alives_come_and_an_expired_right_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.events.KEEP_ALIVE", 0.05)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        await until(lambda: sum(": keep-alive" in f"{one}" or "" in one for one in heard.blocks) >= 3)
        monkeypatch.setattr("proxy.web.events._Stream._may_listen", refuse)
        await until(lambda: heard.ended)


async def refuse(_: object) -> bool:
    return False


async def test_draining_ends_streams_with_a_hint() -> None:
    async with proxies() as it, AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(listening(it.url)) for _ in range(20)]
        it.readiness[0].drain()
        await until(lambda: all(one.ended for one in heard))
        hints = {int(one.blocks[-1]["retry"]) for one in heard}
        assert min(hints) >= 2000
        assert len(hints) > 5, "they are not to come back together"


async def test_streams_do_not_hold_up_the_servers_end() -> None:
    async with AsyncExitStack() as stack:
        async with proxies() as it:
            heard = await stack.enter_async_context(listening(it.url))
            began = time.monotonic()
        assert time.monotonic() - began < 2.5  # the simulator waits a second for nobody
        assert heard.ended
        assert "retry" in heard.blocks[-1]


@pytest.mark.parametrize("waits", [True, False])
async def test_who_waits_for_look_ups_is_told_of_a_gap(monkeypatch: pytest.MonkeyPatch, *, waits: bool) -> None:
    """It reads what it may; only who does not is cut off."""
    monkeypatch.setattr("proxy.events.tail.MAX_EVENTS", 3)
    log, clock = EventLog(Clock()), iter(range(100))
    log.open(None)
    feed = Feed({"": Source(log, NoOwners())}, 30)  # type: ignore[arg-type]
    listener = await feed.join(Caller("ox", frozenset({"ox"})), [""], None)

    async def hear(*, settled: bool) -> str:
        one = str(uuid.UUID(int=next(clock)))
        await log.append(completion.read(json.dumps({"generation_id": one, "status": "succeeded"})))
        entry = log.tail.entry(log.tail.end - 1)
        assert entry is not None
        entry.settled, entry.namespace = settled, "ox"
        return one

    await hear(settled=not waits)
    if waits:
        assert listener.take(100) == []
    done = [await hear(settled=True) for _ in range(4)]
    if not waits:
        with pytest.raises(TooSlow):
            listener.take(100)
        return
    told = listener.take(10_000)
    assert [one.type for one in told] == ["gap", *["media_generation_completed"] * 3]
    assert [json.loads(one.data)["generation_id"] for one in told[1:]] == done[1:]
    assert listener.take(100) == []
    for _ in range(4):
        await hear(settled=True)
    with pytest.raises(TooSlow):  # it waits for nothing now
        listener.take(100)


def test_a_position_in_many_logs_is_read() -> None:
    """With many credentials it is long; else each return would begin with a gap."""
    places = {f"{number:08x}": f"{10**12 + number}-{number}" for number in range(300)}
    read = _read_position(",".join(f"{tag}-{last}" for tag, last in places.items()))
    assert {tag: str(place) for tag, place in read.items()} == places


class NoOwners:
    """Finds out nothing."""

    def find(self, entry: Entry) -> None:
        pass


async def test_a_stream_over_http_1_0_ends_with_its_connection() -> None:
    """It is not chunked, of which HTTP/1.0 knows nothing (RFC 9112 §6.1)."""
    async with proxies() as it:
        reader, writer = await opened(it, "GET /api/events HTTP/1.0\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        done = it.complete()
        assert done.encode() in await reader.readuntil(b"}\n\n")
        it.readiness[0].drain()
        rest = await reader.read()
        assert rest.startswith(b"retry: ")
        assert rest.endswith(b"\n\n")
        writer.close()


PIPELINED = f"GET {EVENTS} HTTP/1.1\r\nhost: x\r\n\r\n", "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("further", [PIPELINED[1], 3 * PIPELINED[1], "no HTTP\r\n\r\n", "GET /x HTTP/1.1\r\nx:"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_listener_who_asked_more_and_hangs_up_is_noticed(
    further: str, caplog: pytest.LogCaptureFixture, *, together: bool
) -> None:
    """Also where uvicorn would read no more, or tell only the request that waits."""
    async with proxies() as it:
        hooks = it.readiness[0].on_draining
        feed = next(one for hook in hooks if isinstance(one := getattr(hook, "__self__", None), Feed))
        reader, writer = await opened(it, PIPELINED[0] + further * together)
        await reader.readuntil(b"retry: ")
        if not together:
            for piece in further.split("\r\n\r\n"):
                writer.write(f"{piece}\r\n\r\n".encode() if piece else b"")
                await asyncio.sleep(0.01)
        assert len(feed) == 1
        writer.close()
        await until(lambda: len(feed) == 0, 5.0)
        it.complete()
        await asyncio.sleep(0.05)
        assert "ASGI" not in caplog.text


async def test_who_asked_more_behind_a_stream_is_answered_at_its_end() -> None:
    async with proxies() as it:
        reader, writer = await opened(it, "".join(PIPELINED))
        await reader.readuntil(b"retry: ")
        it.readiness[0].drain()
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 ")
        writer.close()


async def opened(it: Proxies, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*it.url.removeprefix("http://").split(":"))
    writer.write(request.encode())
    return reader, writer


async def test_a_listener_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.web.events.STALL_TIMEOUT", 0.3)
    async with proxies() as it, listening(it.url) as reads, httpx.AsyncClient() as caller:
        host, port = it.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"retry")
        async with asyncio.timeout(20):
            while True:
                for _ in range(5):
                    row = it.hub.world.enqueue("ox", model="m" * 50_000)
                    it.hub.world.end(row)
                await asyncio.sleep(0.01)
                if "generations_proxy_event_listeners 1.0" in (await caller.get(f"{it.url}/metrics")).text:
                    break
        await until(lambda: reads.completions[-1] == row.id)
        writer.close()
