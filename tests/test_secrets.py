"""After a run with every kind of failure, no secret is to be found where it has no business."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import pytest
import redis.asyncio
import zstandard

from proxy.app import create_app
from proxy.callers.keys import FixedKey
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.redis.address import read_address
from proxy.secret import Secret
from proxy.settings import (
    EventSettings,
    HubSettings,
    Settings,
)
from proxy.simulator import Fault
from proxy.web.admin import PURGE_PATH
from tests.listening import listening
from tests.secret_search import (
    CALLER,
    EVERY_FAULT,
    EVERY_SORT,
    EVERYONE,
    FARM,
    FILED,
    HUB,
    MASKED,
    OPERATOR,
    PASSWORD,
    QUESTIONS,
    SECRETS,
    TOKEN,
    Capture,
    Evidence,
    Hub,
    ask,
    attacks,
    bearer,
    captured,
    found,
    made,
    of_the_app,
    reachable,
)
from tests.support import RedisServer, free_port, started_redis, until


@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
@pytest.mark.parametrize(
    "hide",
    [
        str.encode,
        repr,
        json.dumps,
        quote,
        lambda text: quote(text, safe="").lower(),
        lambda text: json.dumps(text).replace("/", "\\/"),
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        *[lambda text, n=n: base64.b64encode(b"x" * n + text.encode() + b"yz") for n in range(4)],
        *[lambda text, n=n: base64.urlsafe_b64encode(b"x" * n + text.encode()) for n in range(4)],
        lambda text: repr({"headers": [(b"authorization", b"Bearer " + text.encode())]}),
    ],
)
def test_a_planted_secret_is_found_in_each_form(name: str, secret: str, hide: Callable[[str], str | bytes]) -> None:
    hidden = hide(secret)
    around: tuple[str, str | bytes] = ("a ", hidden) if isinstance(hidden, str) else ("a", b"\xff" + hidden)
    assert any(hit.startswith(f"{name} as ") for hit in found([*around, "z"]))
    assert not found(["nothing", b"here", quote("a/b"), MASKED])


def test_the_walk_finds_what_is_planted_anywhere() -> None:
    def handler(default: object = b"Bearer " + FARM.encode()) -> object:
        return default, closed_over

    closed_over = [{"x": HUB}]
    root = {"a": [handler], "b": Settings(hub=HubSettings(url=EVERYONE))}
    names = {hit.partition(" as ")[0] for hit in found(reachable(root))}
    assert names == {"the hub's token", "the farm's token", "another caller's key"}


class Run:
    """One run, with all that is needed to ask and to look."""

    def __init__(self, hub: Hub, hub_url: str, server: RedisServer, directory: Path, evidence: Evidence) -> None:
        self.hub = hub
        self.server = server
        self.directory = directory
        self.evidence = evidence
        self._hub_url = hub_url
        self._runs = 0

    @property
    def redis_url(self) -> str:
        return f"redis://:{quote(PASSWORD, safe='')}@{LOOPBACK}:{self.server.port}/0"

    @asynccontextmanager
    async def proxy(
        self, redis_url: str | None = None, fault: Fault | int | None = None, **given: Any
    ) -> AsyncIterator[Callable[..., Any]]:
        """A proxy of its own, before a hub with a fault or an echo of this status; looked through before it ends."""
        self._runs += 1
        number, prefix = self._runs, f"/{self._runs}"
        if isinstance(fault, Fault):
            self.hub.faults[prefix] = fault
        elif fault is not None:
            self.hub.echoes[prefix] = fault
        app = create_app(made(f"{self._hub_url}{prefix}", redis_url, **given))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]

        async def asked(questions: Iterable[tuple[str, str, dict[str, str]]] = QUESTIONS) -> None:
            for method, target, headers in questions:
                content = '{"namespace": "ox"}' if method == "POST" else None
                answer = await caller.request(method, target, headers=headers, content=content)
                self.evidence.answers.append(
                    b"%d %r\n%b" % (answer.status_code, answer.headers.raw, answer.content)  # all that is sent
                )

        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://proxy.test") as caller:
            yield asked
            if number % 6 == 1:
                self.evidence.objects += of_the_app(app)

    async def all_goes_well_and_every_caller_is_wrong(self) -> None:
        app = create_app(made(f"{self._hub_url}/0", self.redis_url))
        with listen(LOOPBACK, 0) as sock:
            async with serving(app, sock):
                port = sock.getsockname()[1]
                asked = [(m, t, list(h.items())) for m, t, h in EVERY_SORT] + list(attacks())
                for method, target, headers in [*asked, ("\x16\x03", "x", [("authorization", CALLER)])]:
                    self.evidence.answers.append(await ask(port, method, target, headers))
                self.evidence.objects += of_the_app(app)

    async def events_come(self) -> None:
        """Completions, one of which holds the token; what fails of a stream does so with the faults of the hub."""
        app = create_app(made(f"{self._hub_url}/events", self.redis_url, credentials=()))
        with listen(LOOPBACK, 0) as sock:
            async with serving(app, sock):
                await until(lambda: self.hub.simulator.streams.open.total() == 1)
                keys = [f"Authorization: Bearer {key}" for key in (CALLER, EVERYONE, TOKEN)]
                async with AsyncExitStack() as stack:
                    heard = [await stack.enter_async_context(listening(url_of(sock), key)) for key in keys]
                    world = self.hub.simulator.world
                    for model in (HUB, "the last"):
                        row = world.enqueue("ox", model=model)
                        world.on_end.append(world.delete)  # what lists the token is another test's
                        world.end(row)
                        world.on_end.pop()
                    await until(lambda: row.id in heard[1].completions)
                self.evidence.answers += [repr((one.headers, one.blocks)).encode() for one in heard]
                self.evidence.objects += of_the_app(app)

    async def the_hub_fails(self) -> None:
        """One after another: replicas that ask the same at once share one answer."""
        for fault in EVERY_FAULT:
            forwarded = fault in (400, 404, 422)  # and so told to those who wait in other replicas
            redis_url = self.redis_url if forwarded or isinstance(fault, Fault) else None
            async with self.proxy(redis_url, fault) as asked:
                await asyncio.gather(*[asked([question]) for question in QUESTIONS])

    async def the_token_file_fails(self) -> None:
        file = self.directory / "token"
        file.write_text(FILED)
        async with self.proxy(api_key=None, api_key_file=str(file)) as asked:
            await asked()
            for spoil in (b"", b"\xff\xfe" + FILED.encode(), FILED.encode() + b" " + HUB.encode(), b"x" * 9000):
                file.write_bytes(spoil)
                await asked()
            file.unlink()
            file.mkdir()
            self.hub.simulator.faults.set(Fault(status=401))
            await asked()
            self.hub.simulator.faults.clear()

    async def redis_fails(self) -> None:
        control = redis.asyncio.Redis(host=LOOPBACK, port=self.server.port, password=PASSWORD)
        async with self.proxy(self.redis_url) as asked:
            await control.config_set("maxmemory", "1")
            await asked(EVERY_SORT)
            await control.config_set("maxmemory", "0")
            await control.config_set("requirepass", "another")
            await control.client_kill_filter(_type="normal", skipme=True)
            await control.client_kill_filter(_type="pubsub", skipme=True)
            await asked(EVERY_SORT)
        async with self.proxy(self.redis_url.replace("redis://", "redis://nobody")) as asked:
            await asked()
        await control.config_set("requirepass", PASSWORD)
        await control.aclose()
        async with self.proxy(self.redis_url) as asked:
            await asked()
            self.server.kill()
            await asked(EVERY_SORT)


async def the_run(server: RedisServer, directory: Path, capture: Capture) -> Evidence:
    evidence, hub = Evidence(capture), Hub()
    listener = redis.asyncio.Redis(host=LOOPBACK, port=server.port, password=PASSWORD)
    news = listener.pubsub()
    await news.psubscribe("gp1:*")
    with listen(LOOPBACK, 0) as sock:
        async with serving(hub, sock):
            run = Run(hub, url_of(sock), server, directory, evidence)
            await run.all_goes_well_and_every_caller_is_wrong()
            await run.events_come()
            await run.the_hub_fails()
            await run.the_token_file_fails()
            await listener.publish("gp1:", "the end")
            while (message := await news.get_message(timeout=20.0)) and message["data"] != b"the end":
                evidence.heard.append(repr(message).encode() + _bytes(message["data"]))
            evidence.redis += await dump(listener)
            await news.aclose()  # type: ignore[no-untyped-call]  # redis-py has not typed it
            await listener.aclose()
            await run.redis_fails()
    evidence.asked += hub.asked
    return evidence


def _bytes(data: object) -> bytes:
    return data if isinstance(data, bytes) else b""


async def dump(client: redis.asyncio.Redis) -> list[bytes]:
    """All keys and values, as they are and with what is compressed in them."""
    texts: list[bytes] = []
    async for key in client.scan_iter(count=1000):
        kind = await client.type(key)
        values: list[Any]
        match kind:
            case b"string":
                values = [await client.get(key)]
            case b"hash":
                values = [part for pair in (await client.hgetall(key)).items() for part in pair]
            case b"zset":
                values = list(await client.zrange(key, 0, -1))
            case b"stream":
                entries: Any = await client.xrange(key)
                values = [part for _, fields in entries for part in fields.values()]
            case _:
                values = [await client.dump(key)]
        texts += [part for part in (key, kind, *values) if isinstance(part, bytes)]
        for value in values:
            for packed in (value, value.partition(b"\n")[2] if isinstance(value, bytes) else b""):
                with contextlib.suppress(msgspec.MsgspecError, TypeError, UnicodeDecodeError):
                    texts += unpacked(msgspec.msgpack.decode(packed))
    return texts


def unpacked(value: object) -> Iterator[bytes]:
    """What a page's value holds."""
    if isinstance(value, list):
        for part in value:
            yield from unpacked(part)
    else:
        with contextlib.suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompress(value) if isinstance(value, bytes) else b""
        yield repr(value).encode()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    with started_redis() as server:
        server.command("CONFIG", "SET", "requirepass", PASSWORD)
        with captured() as capture:
            yield asyncio.run(the_run(server, tmp_path_factory.mktemp("secrets"), capture))


def test_the_run_had_every_failure(evidence: Evidence) -> None:
    said = b"\n".join(evidence.answers).decode("latin-1")
    kinds = "rejected_question refused_credential rate_limited unavailable rejected_request failed redirected timeout"
    kinds += " answer_unexpected answer_not_json answer_not_a_page answer_cut_off answer_too_large"
    missing = [kind for kind in kinds.split() if f"detail=hub_{kind}" not in said]
    assert missing == []
    for status in (200, 304, 400, 401, 403, 404, 405, 414, 431, 502, 503, 504):
        assert f"{status} " in said
    lines = "\n".join(evidence.capture.lines)
    assert {"httpx", "proxy.redis", "proxy.credential", "proxy.access"} <= evidence.capture.names
    for line in ("token not renewed", "AuthenticationError", "the hub refuses the token"):
        assert line in lines, line
    assert "Redis refuses lease_take: " in lines, "it has run out of memory"
    assert b"learned gp1:" in b"".join(evidence.heard)
    assert b"landed gp1:" in b"".join(evidence.heard)
    assert b"event " in b"".join(evidence.heard)
    assert "the last" in said, "listeners heard what holds no token"
    assert "not passed on" in lines
    assert any(text.startswith(b'{"') and b'"generations"' in text for text in evidence.redis), "pages, decompressed"
    assert len(evidence.objects) > 5000
    assert {f"Bearer {token}" for token in (HUB, FARM, FILED)} == set(evidence.asked), "and nobody else's key"


def test_no_secret_in_any_answer(evidence: Evidence) -> None:
    assert found(evidence.answers) == []


def test_no_secret_in_the_log_of_any_library(evidence: Evidence) -> None:
    assert found(evidence.capture.lines) == []


def test_no_secret_in_redis_or_its_news(evidence: Evidence) -> None:
    assert found(evidence.redis) == []
    assert found(evidence.heard) == []


def test_no_secret_in_any_object_of_the_app(evidence: Evidence) -> None:
    assert found(evidence.objects) == []


class Boom(Exception):
    """A fault that nobody thought of."""


def boom(*_: object, **__: object) -> Any:
    raise Boom


LISTING, WITH_TOKEN, PURGING = QUESTIONS[0], QUESTIONS[3], ("POST", PURGE_PATH, bearer(OPERATOR))


BOOMS: Final = {
    "pages": ("proxy.pages.Pages.answer", LISTING),
    "authentication": ("proxy.web.authentication.digest", LISTING),
    "tokens": ("jwt.decode", WITH_TOKEN),
    "purge": ("proxy.known.agreed_watermarks.AgreedWatermarks.agree", PURGING),
    "hub": ("proxy.hub.request.Get.__init__", LISTING),
    "hub's answer": ("proxy.hub.client.read_body", LISTING),
    "hub's error body": ("msgspec.json.decode", LISTING),
    "credential": ("proxy.hub.credential.Credential.token", LISTING),
    "redis": ("redis.asyncio.connection.Connection.connect", LISTING),
}


def without_events(settings: Settings) -> Settings:
    """For a hub behind httpx.ASGITransport, which hands out nothing before an answer ends."""
    return msgspec.structs.replace(settings, events=EventSettings(mode="off"))


async def after_fault(name: str) -> tuple[Capture, httpx.Response]:
    """What is logged and answered when something on the way raises."""
    target, (method, path, headers) = BOOMS[name]
    hub = Hub()
    hub.echo = 400 if name == "hub's error body" else None
    behind = httpx.ASGITransport(hub)
    url = f"redis://:{quote(PASSWORD, safe='')}@{LOOPBACK}:{free_port()}" if name == "redis" else None
    with captured() as capture:
        app = create_app(without_events(made("http://hub.test/0", url)), transport=behind)
        front = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with app.lifespan(), httpx.AsyncClient(transport=front, base_url="http://proxy.test") as caller:
            request = caller.build_request(method, path, headers=headers, content='{"namespace": "ox"}')
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(target, boom)
                answer = await front.handle_async_request(request)
                await answer.aread()
    return capture, answer


@pytest.mark.parametrize("name", BOOMS)
async def test_no_secret_in_what_is_logged_of_a_fault_of_the_proxy(name: str) -> None:
    capture, answer = await after_fault(name)
    assert "test_secrets.Boom" in "".join(capture.lines), "with a traceback"
    assert found(capture.lines) == []
    assert found([str(answer.headers.raw), answer.content]) == []


PLACES: Final = [
    ("pages", "proxy/web/problems.py"),
    ("tokens", "proxy/callers/keys.py"),
    ("purge", "proxy/known/knowledge.py"),
    ("hub", "proxy/hub/client.py"),
    ("hub", "proxy/hub/request.py"),
    ("hub", "proxy/fetch.py"),
    ("hub", "proxy/pages.py"),
    ("hub's answer", "proxy/hub/client.py"),
    ("credential", "proxy/hub/client.py"),
    ("redis", "proxy/redis/link.py"),
]


@pytest.mark.parametrize(("name", "file"), PLACES)
async def test_no_secret_in_the_local_variables_of_a_traceback(name: str, file: str) -> None:
    """As error trackers send them along, and traceback.TracebackException(capture_locals=True) shows them."""
    capture, _ = await after_fault(name)
    assert found([text for at, text in capture.locals if at == file]) == []


async def test_the_local_variables_are_looked_at() -> None:
    capture, _ = await after_fault("hub")
    assert {"proxy/hub/client.py", "proxy/fetch.py", "proxy/pages.py", "proxy/web/routes.py"} <= {
        at for at, _ in capture.locals
    }
    assert any("token = Secret(" in text for _, text in capture.locals)


@pytest.mark.parametrize("written", [HUB.replace("/", "\\/"), "".join(f"\\u{ord(c):04x}" for c in HUB)])
async def test_an_error_body_that_echoes_the_token_in_escapes_does_not_show_it(written: str) -> None:
    """JSON may write / as \\/, and some encoders do; whoever parses the answer has the token."""
    hub = Hub()
    hub.echo, hub.body = 404, '{"error": {"type": "t", "title": "%.0s' + written + '"}}'
    answer = await asked_once(hub)
    assert answer.status_code == 404
    assert found([json.dumps(answer.json())]) == []


async def test_a_page_that_echoes_the_token_does_not_show_it() -> None:
    hub = Hub()
    page = {"count": 0, "page_number": 1, "page_size": 3, "total_pages": 0, "total_entries": 0, "total_cost": None}
    hub.echo, hub.body = 200, json.dumps({**page, "generations": [], "debug": "PLACE"}).replace("PLACE", "%s")
    assert found([(await asked_once(hub)).content]) == []


async def asked_once(hub: Hub) -> httpx.Response:
    app = create_app(without_events(made("http://hub.test/0", None)), transport=httpx.ASGITransport(hub), sinks=[])
    front = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with app.lifespan(), httpx.AsyncClient(transport=front, base_url="http://proxy.test") as caller:
        return await caller.get(LISTING[1], headers=LISTING[2])


def test_the_key_that_verifies_tokens_is_a_secret_as_well() -> None:
    key = FixedKey(made("http://hub.test", None).jwt)
    assert found(reachable(*vars(key).values())) == []


def test_a_redis_url_taken_apart_shows_no_password() -> None:
    assert found([repr(read_address(Secret(f"redis://:{quote(PASSWORD, safe='')}@redis.test")))]) == []
