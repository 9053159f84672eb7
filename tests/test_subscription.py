"""The subscription to the hub's events, over sockets, through every fault of the stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest

from proxy.admission.gate import Allowance
from proxy.admission.gates import Gates
from proxy.admission.shield import Shield
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.errors import HubRateLimited
from proxy.events.hub_subscriber import HubSubscriber, Pace
from proxy.events.log import EventLog
from proxy.events.place import read_place
from proxy.events.shared_log import SharedLog
from proxy.events.subscription import Subscription
from proxy.hub.credential import Credential
from proxy.hub.stream import EventStream, HubStream, NoStream
from proxy.redis.client import connect
from proxy.redis.link import RedisLink
from proxy.redis_keys import subscriber_keys
from proxy.secret import Secret
from proxy.settings import HubSettings
from proxy.simulator import Controlled, Fault, Simulator
from proxy.simulator.streaming import label
from tests.support import KEY, UNHURRIED, RedisServer, free_port, still_world, until

PACE = Pace(beat=0.02, first_wait=0.02, longest_wait=0.1, steady=0.5, absent_wait=60.0, silence=20.0)
EVENTS = "/api/events"
ENDLESS = 0.2


@dataclass
class Rig:
    """A simulated hub, and who is subscribed to it: each as a process of its own would be."""

    hub: Simulator
    settings: HubSettings
    redis: RedisServer | None
    pace: Pace
    name: str
    stack: AsyncExitStack
    subscriptions: list[Subscription] = field(default_factory=list)

    async def subscribe(self) -> Subscription:
        credential = Credential(self.settings, self.settings.url)
        log = EventLog(time.time)
        shield = Shield(Gates(Allowance(1000.0, 1000.0, 8), None, gate_name=lambda: credential.id))
        stream = HubStream(self.settings, credential, silence=self.pace.silence)
        share = None
        if self.redis is not None:
            link = RedisLink(connect(Secret(self.redis.url)), UNHURRIED)
            self.stack.push_async_callback(link.aclose)
            share = lambda credential_id: SharedLog(link, f"{self.name}{credential_id}")  # noqa: E731
        made = Subscription(
            credential,
            partial(HubSubscriber, "default", stream, shield, log, pace=self.pace),
            log,
            share=share,
            pace=self.pace,
        )
        made.start()
        self.stack.push_async_callback(made.aclose)
        self.subscriptions.append(made)
        return made

    def complete(self) -> str:
        row = self.hub.world.enqueue("ox")
        self.hub.world.end(row)
        return row.id

    @property
    def open(self) -> int:
        return self.hub.streams.open.total()


@asynccontextmanager
async def rig(
    redis: RedisServer | None = None, *, pace: Pace = PACE, faults: tuple[Fault, ...] = (), **hub: object
) -> AsyncIterator[Rig]:
    simulator = Simulator(still_world(time.time), api_key=KEY)
    simulator.faults.set(*faults)
    with listen(LOOPBACK, 0) as sock:
        settings = HubSettings(**{"url": url_of(sock), "api_key": Secret(KEY), **hub})  # type: ignore[arg-type]
        async with serving(Controlled(simulator), sock), AsyncExitStack() as stack:
            yield Rig(simulator, settings, redis, pace, f"{time.time_ns()}-", stack)


def told(subscription: Subscription) -> list[str | None]:
    """What the log holds: ids of generations, None for a gap."""
    log = subscription.log
    entries = [log.tail.entry(number) for number in range(log.tail.first, log.tail.end)]
    return [None if one.completion is None else one.completion.generation_id for one in entries if one is not None]


def gaps(subscription: Subscription) -> int:
    log = subscription.log
    entries = [log.tail.entry(number) for number in range(log.tail.first, log.tail.end)]
    return sum(entry is not None and entry.gap for entry in entries)


def completions(subscription: Subscription) -> list[str]:
    return [one for one in told(subscription) if one is not None]


async def test_events_are_received_in_order() -> None:
    async with rig() as it:
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
        done = [it.complete() for _ in range(50)]
        await until(lambda: len(completions(one)) == 50)
        assert told(one) == [None, *done]
        assert not gaps(one), "nobody was subscribed before"
        assert one.received == 50
        assert it.hub.streams.open == {label(KEY): 1}
        await one.aclose()
        await until(lambda: it.open == 0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(path=EVENTS, stream="cut", times=1), "the hub ended the stream"),
        (Fault(path=EVENTS, stream="silent", times=1), "the hub was silent for 2 s"),
        (Fault(path=EVENTS, stream="endless", times=1), "a line of the stream is longer"),
        (Fault(path=EVENTS, status=500, times=1), "the hub answered 500"),
        (Fault(path=EVENTS, status=401, times=1), "the hub answered 401"),
        (Fault(path=EVENTS, status=403, times=1), "the hub answered 403"),
        (Fault(path=EVENTS, status=503, times=1), "the hub answered 503"),
        (Fault(path=EVENTS, status=429, retry_after="0", times=1), "hub_rate_limited"),
        (Fault(path=EVENTS, status=503, retry_after="0", times=1), "hub_unavailable"),
        (Fault(path=EVENTS, hang=True, times=1), "hub_timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_stream_that_fails_is_made_anew(fault: Fault, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.events")
    patience = 2.0 if fault.hang or fault.stream == "silent" else 20.0
    pace = msgspec.structs.replace(PACE, silence=patience)
    async with rig(pace=pace, faults=(fault,), read_timeout=patience) as it:
        one = await it.subscribe()
        await until(lambda: said in caplog.text)
        it.hub.faults.clear()
        done = ""

        def heard() -> bool:
            nonlocal done
            done = done or (it.complete() if one.state == "subscribed" and it.open == 1 else "")
            return bool(done) and done in told(one)

        await until(heard)
        assert caplog.text.count(said) == 1
        assert KEY not in caplog.text


async def test_garbage_is_passed_over() -> None:
    async with rig(faults=(Fault(path=EVENTS, stream="garbage"),)) as it:
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
        done = it.complete()
        await until(lambda: done in told(one))
        assert told(one) == [None, done]
        assert it.hub.streams.opened == 1


def shield_of(one: Subscription) -> Shield:
    shield = one._subscribe.args[2]  # type: ignore[attr-defined]  # a partial
    assert isinstance(shield, Shield)
    return shield


def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each connection that is tried."""
    tries: list[None] = []
    connect_stream = HubStream.open

    async def opening(stream: HubStream) -> EventStream:
        tries.append(None)
        return await connect_stream(stream)

    monkeypatch.setattr(HubStream, "open", opening)
    return tries


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=EVENTS, status=401),
        Fault(path=EVENTS, status=429),
        Fault(path=EVENTS, status=429, retry_after="5"),
        Fault(path=EVENTS, status=503, retry_after="5"),
        Fault(path=EVENTS, status=500),
    ],
    ids=lambda fault: f"{fault.status}-{fault.retry_after}",
)
async def test_a_refused_stream_pauses_nothing_but_itself(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = counted(monkeypatch)
    async with rig(faults=(fault,)) as it:
        one = await it.subscribe()
        await until(lambda: len(tries) > (fault.retry_after != "5"))
        await asyncio.sleep(0.3)
        for _ in range(3):
            async with shield_of(one).turn(0.0):
                pass
        assert one.state == "waiting"
        assert (len(tries) == 1) == (fault.retry_after == "5"), "the hub's word, beyond the longest wait of our own"


@pytest.mark.parametrize("asked", [True, False])
async def test_a_question_ends_a_pause_and_not_the_stream(monkeypatch: pytest.MonkeyPatch, *, asked: bool) -> None:
    """Which may be refused though questions are not; it does only where nobody asks any."""
    tries = counted(monkeypatch)
    async with rig() as it:
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
        with pytest.raises(HubRateLimited):
            async with shield_of(one).turn(0.0):
                raise HubRateLimited("429", retry_after=0.05)
        it.hub.faults.set(Fault(path=EVENTS, status=429))
        await one._subscriber._connection.aclose()  # type: ignore[union-attr]
        await asyncio.sleep(0.3)
        assert len(tries) == 1
        it.hub.faults.clear()
        if asked:
            async with shield_of(one).turn(0.0):
                pass
        else:
            monkeypatch.setattr("proxy.events.hub_subscriber.PROBE_GRACE", 0.0)
            one._subscriber._probe_from = 0.0  # type: ignore[union-attr]
        await until(lambda: one.state == "subscribed")


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_hub_without_events_is_left_in_peace(status: int) -> None:
    async with rig(faults=(Fault(path=EVENTS, status=status),)) as it:
        one = await it.subscribe()
        await until(lambda: one.state == "absent")
        it.hub.faults.clear()
        await asyncio.sleep(10 * PACE.beat)
        assert (it.hub.streams.opened, one.state) == (0, "absent")


async def test_what_is_no_stream_is_no_stream() -> None:
    simulator = Simulator(still_world(time.time), api_key=KEY)

    async def page(scope: dict[str, object], receive: object, send: Callable[..., object]) -> None:
        if scope["type"] == "lifespan":
            await simulator(scope, receive, send)  # type: ignore[arg-type]
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": b"data: <html>\n\n"})  # type: ignore[misc]

    with listen(LOOPBACK, 0) as sock:
        async with serving(page, sock), AsyncExitStack() as stack:
            settings = HubSettings(url=url_of(sock), api_key=Secret(KEY))
            one = await Rig(simulator, settings, None, PACE, "", stack).subscribe()
            await until(lambda: one.state == "absent")


@pytest.mark.parametrize(("coding", "absent"), [("Identity", False), ("", False), ("gzip", True)])
async def test_identity_is_no_coding_of_a_stream(coding: str, *, absent: bool) -> None:
    """However it is written: else a hub that offers events would be left in peace."""
    headers = {"content-type": "text/event-stream", "content-encoding": coding}
    settings = HubSettings(url="http://hub.test", api_key=Secret(KEY))
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(b""), headers=headers))
    stream = HubStream(settings, Credential(settings, settings.url), silence=1.0, transport=transport)
    try:
        await (await stream.open()).aclose()
        refused = False
    except NoStream as error:
        refused = error.absent
    assert refused is absent


class Late(httpx.AsyncBaseTransport):
    """Answers with a stream when it may, even if nobody waits for that any more."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.closed = False
        self.response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=httpx.ByteStream(b""))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002
        self.asked.set()
        await self.answers.wait()
        return self.response

    async def aclose(self) -> None:
        self.closed = True


async def test_a_connection_that_nobody_waits_for_any_more_is_closed() -> None:
    """The lease is lost while the hub is asked: it would stay open, beside that of who has the lease.

    Closing the client ends no connection that is being made.
    """
    settings, transport = HubSettings(url="http://hub.test", api_key=Secret(KEY)), Late()
    stream = HubStream(settings, Credential(settings, settings.url), silence=1.0, transport=transport)
    opening = asyncio.create_task(stream.open())
    await transport.asked.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert transport.closed
    transport.answers.set()
    assert await stream._opening.drain(5) == 0
    assert transport.response.is_closed


async def test_another_token_ends_the_peace(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("of-somebody-without-events")
    async with rig(faults=(Fault(path=EVENTS, status=404, times=1),), api_key=None, api_key_file=str(path)) as it:
        one = await it.subscribe()
        await until(lambda: one.state == "absent")
        path.write_text(KEY)
        await until(lambda: one.state == "subscribed")


@pytest.mark.parametrize("shared", [False, True])
async def test_what_was_received_with_another_token_is_not_replayed(
    shared: bool, tmp_path: Path, redis_server: RedisServer
) -> None:
    """Nor by a position in the new log, from before its first event: it may be another user's."""
    path = tmp_path / "token"
    path.write_text(KEY)
    async with rig(redis_server if shared else None, api_key=None, api_key_file=str(path)) as it:
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
        it.complete()
        await until(lambda: len(completions(one)) == 1)
        tag, last = one.log.tag, one.log.last
        it.hub.api_key = "k-renewed"
        path.write_text("k-renewed")
        await until(lambda: one.state == "subscribed" and one.log.tag != tag)
        done = it.complete()
        await until(lambda: done in told(one))
        assert one.log.tag != tag, f"so that {tag}-{last} is not looked for"
        from_the_beginning = one.log.after(read_place("0-0"))
        assert from_the_beginning is not None
        replayed = [one.log.tail.entry(number) for number in range(from_the_beginning, one.log.tail.end)]
        assert [entry.completion.generation_id for entry in replayed if entry and entry.completion] == [done]


async def test_a_hub_that_restarts_is_listened_to_again() -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        simulator = Simulator(still_world(time.time), api_key=KEY)
        settings = HubSettings(url=f"http://{LOOPBACK}:{port}", api_key=Secret(KEY), connect_timeout=0.3)
        it = Rig(simulator, settings, None, PACE, "", stack)
        one = await it.subscribe()
        for _ in range(2):
            with listen(LOOPBACK, port) as sock:
                async with serving(simulator, sock):
                    await until(lambda: one.state == "subscribed")
                    done = it.complete()
                    await until(lambda done=done: done in told(one))  # type: ignore[misc]
                    simulator.streams.cut()
            await until(lambda: one.state == "waiting")
        assert gaps(one)


async def test_one_of_all_replicas_is_subscribed(redis_server: RedisServer) -> None:
    async with rig(redis_server) as it:
        replicas = [await it.subscribe() for _ in range(4)]
        await until(lambda: it.open == 1)
        await asyncio.sleep(10 * PACE.beat)
        assert it.hub.streams.opened == 1
        assert sorted(one.state for one in replicas) == ["elsewhere"] * 3 + ["subscribed"]


async def test_who_ends_hands_over(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.shared_log.SUBSCRIBER_LEASE", 30.0)
    async with rig(redis_server) as it:
        first = await it.subscribe()
        await until(lambda: it.open == 1)
        second = await it.subscribe()
        began = time.monotonic()
        await first.aclose()
        await until(lambda: second.state == "subscribed")
        assert time.monotonic() - began < 15, "less than the lease"
        await until(lambda: it.open == 1)


async def test_who_is_gone_is_replaced(redis_server: RedisServer) -> None:
    async with rig(redis_server) as it:
        first = await it.subscribe()
        await until(lambda: it.open == 1)
        second = await it.subscribe()
        assert first._task is not None
        first._task.cancel()  # frozen: it neither renews its lease nor gives it up; what it hears it still tells
        held, _ = subscriber_keys(f"{it.name}{first._credential.id}")
        began = time.monotonic()
        left = redis_server.command("PTTL", held) / 1000
        await until(lambda: second.state == "subscribed")
        assert left - 0.1 < time.monotonic() - began, "not before its lease has ended"
        done = [it.complete() for _ in range(20)]
        await until(lambda: len(completions(second)) == 20)
        await second.log.reread()
        assert completions(second) == done, "each once, though two have told of it"


async def test_the_peace_of_a_hub_without_events_is_all_replicas(redis_server: RedisServer) -> None:
    async with rig(redis_server, faults=(Fault(path=EVENTS, status=404, times=1),)) as it:
        replicas = [await it.subscribe() for _ in range(3)]
        await until(lambda: all(one.state == "absent" for one in replicas))
        await asyncio.sleep(10 * PACE.beat)
        assert it.hub.streams.opened == 0


async def test_without_redis_each_subscribes_for_itself(own_redis: RedisServer) -> None:
    async with rig(own_redis) as it:
        replicas = [await it.subscribe() for _ in range(2)]
        await until(lambda: it.open == 1)
        own_redis.kill()
        await until(lambda: it.open == 2)
        done = it.complete()
        await until(lambda: all(done in told(one) for one in replicas))
        own_redis.start()
        await until(lambda: it.open == 1)
        again = it.complete()

        async def shared() -> None:
            while not all(again in told(one) for one in replicas):
                for one in replicas:
                    await one.log.reread()
                await asyncio.sleep(0.02)

        async with asyncio.timeout(20):
            await shared()
        assert all(completions(one) == [done, again] for one in replicas)


async def test_an_event_that_echoes_the_token_is_not_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    key = "t0ken/of-some-length+Qx7Zp9wKd=="
    async with rig(api_key=Secret(key)) as it:
        it.hub.api_key = key
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
        row = it.hub.world.enqueue("ox", model=key)
        it.hub.world.end(row)
        done = it.complete()
        await until(lambda: done in told(one))
        assert told(one) == [None, done]
        assert "not passed on" in caplog.text
        assert key not in caplog.text


async def test_no_task_and_no_connection_is_left() -> None:
    before = asyncio.all_tasks()
    async with rig() as it:
        one = await it.subscribe()
        await until(lambda: one.state == "subscribed")
    with contextlib.suppress(TimeoutError):
        await until(lambda: asyncio.all_tasks() == before, 5)
    assert asyncio.all_tasks() == before
