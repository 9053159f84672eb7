"""The secrets of a proxy, a hub that repeats what it was sent, and a search for secrets in everything else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gc
import json
import logging
import math
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jwt
import msgspec
from litestar import Litestar

from proxy.callers.caller import digest
from proxy.commands.sockets import LOOPBACK
from proxy.log_format import FORMAT
from proxy.secret import Secret
from proxy.settings import (
    AdminSettings,
    AuthSettings,
    CacheSettings,
    CallerSettings,
    CorsSettings,
    CredentialSettings,
    HubSettings,
    JwtSettings,
    RedisSettings,
    Settings,
)
from proxy.simulator import Fault, Simulator
from proxy.web.admin import PURGE_PATH
from tests.attacks import ROWS
from tests.callers import ALL, BESSIE, OX
from tests.support import LIST, ROOT, still_world

HUB, FARM, FILED = "hub/T0ken+Qx7Zp9wKd==", "farm/T0ken+Vb3Nm8rTy==", "filed/T0ken+Lp5Hj2sWe=="


CALLER, EVERYONE, OPERATOR = "gp_ca11er/Gf4Ds9aKqXw", "gp_every0ne/Rt6Yu1iOpZn", "operat0r/Bn7Mv2cXzLk+="


SIGNING, PASSWORD = "s1gning/Kj8Hg3fDsApQwErTyUiOpZxCvBnM+", "r3dis/Pa55+Wm4Ek7qYtRb=="


ORIGIN = "https://app.test"


CLAIMS: Final = {"iss": "https://login.test", "aud": "proxy", "sub": "ann", "namespaces": ["ox"]}


TOKEN = jwt.encode({**CLAIMS, "exp": 32_503_680_000}, SIGNING, "HS256")


SECRETS: Final[Mapping[str, str]] = {
    "the hub's token": HUB,
    "the farm's token": FARM,
    "the token in a file": FILED,
    "a caller's key": CALLER,
    "another caller's key": EVERYONE,
    "the operator's key": OPERATOR,
    "the signing key": SIGNING,
    "a JWT's claims": TOKEN.split(".")[1],
    "a JWT's signature": TOKEN.split(".")[2],
    "Redis's password": PASSWORD,
}


def base64s(secret: bytes) -> Iterator[str]:
    """What of a secret is certain to stand in base64 that holds it, at each of the three alignments."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret).decode()
        sure = text[math.ceil(shift * 4 / 3) : (shift + len(secret)) * 4 // 3]
        yield sure
        yield sure.replace("+", "-").replace("/", "_")


def exact_forms(secret: str) -> set[str]:
    return {secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/"), *base64s(secret.encode())}


def caseless_forms(secret: str) -> set[str]:
    return {one.lower() for one in (quote(secret), quote(secret, safe=""), secret.encode().hex())}


FORMS: Final = [
    (name, form, caseless)
    for name, secret in SECRETS.items()
    for forms, caseless in ((exact_forms(secret), False), (caseless_forms(secret), True))
    for form in sorted(forms)
]


def found(texts: Iterable[str | bytes]) -> list[str]:
    """Which secrets these texts hold, in what form, with what is around them."""
    whole = "\n".join(text.decode("latin-1") if isinstance(text, bytes) else text for text in texts)
    lower = whole.lower()
    hits = []
    for name, form, caseless in FORMS:
        at = (lower if caseless else whole).find(form)
        if at >= 0:
            hits.append(f"{name} as {form}: …{whole[max(0, at - 120) : at + len(form) + 40]}…")
    return hits


MASKED: Final = repr(Settings(hub=HubSettings(api_key=Secret(HUB)), jwt=JwtSettings(key=Secret(SIGNING))))


def proxy_frames(error: BaseException | None) -> Iterator[tuple[str, types.FrameType]]:
    """The frames of the proxy's own in a traceback and in those of its causes, each with its file."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        todo += [one.__cause__, one.__context__]
        trace = one.__traceback__
        while trace is not None:
            path = Path(trace.tb_frame.f_code.co_filename)
            if path.is_relative_to(ROOT / "proxy") and "simulator" not in path.parts:
                yield str(path.relative_to(ROOT)), trace.tb_frame
            trace = trace.tb_next


class Capture(logging.Handler):
    """Everything that is logged: as lines with tracebacks, raw, and with the local variables of the proxy's frames."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter(FORMAT))
        self.lines: list[str] = []
        self.names: set[str] = set()
        self.locals: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.lines += [self.format(record), repr(record.__dict__)]
        if record.exc_info:
            for file, frame in proxy_frames(record.exc_info[1]):
                shown = [f"{name} = {safe(repr, value)}" for name, value in frame.f_locals.items()]
                self.locals.append((file, f"{frame.f_code.co_qualname}: " + "\n".join(shown)))


LOGGERS: Final = ("", "httpx", "redis", "asyncio", "uvicorn", "uvicorn.error", "litestar", "proxy")


@contextlib.contextmanager
def captured() -> Iterator[Capture]:
    """Capture all loggers at DEBUG."""
    capture = Capture()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.DEBUG)
    loggers[0].addHandler(capture)
    try:
        yield capture
    finally:
        loggers[0].removeHandler(capture)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def safe(show: Callable[[Any], str], value: object) -> str:
    try:
        return show(value)
    except Exception as error:  # noqa: BLE001  a foreign object that cannot be shown shows nothing
        return type(error).__name__


# Where secrets are allowed to stand: in a Secret, and in redis-py and httpx, which have to send them. What
# is of a test or of the interpreter is not the proxy's. Such objects are shown, and not looked into.
CLOSED: Final = (Secret, type, types.ModuleType, types.CodeType, asyncio.AbstractEventLoop, logging.Logger)


FOREIGN: Final = (
    "redis.",
    "httpx.",
    "tests.",
    "_pytest",
    "pytest",
    "logging",
    "contextvars",
    "_contextvars",
    "proxy.simulator",
)


def inside(one: object) -> Iterable[object]:
    """What an object leads to."""
    if isinstance(one, CLOSED) or f"{type(one).__module__}.".startswith(FOREIGN):
        return ()
    if isinstance(one, functools._lru_cache_wrapper):  # urllib remembers URLs that it has taken apart
        return ()
    if isinstance(one, types.FrameType):  # without its globals, which lead everywhere
        return list(one.f_locals.values()) if Path(one.f_code.co_filename).is_relative_to(ROOT / "proxy") else ()
    if isinstance(one, types.CoroutineType | types.GeneratorType | types.AsyncGeneratorType):
        return [getattr(one, name, None) for name in ("cr_frame", "gi_frame", "ag_frame")]
    if isinstance(one, types.FunctionType):
        return [one.__closure__, one.__defaults__, one.__kwdefaults__, one.__dict__]
    return gc.get_referents(one)


def reachable(*roots: object) -> Iterator[str | bytes]:
    """All texts in, and what is shown of, every object that these lead to: attributes, slots, closures, coroutines."""
    seen: dict[int, object] = {}
    todo: list[object] = list(roots)
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, str | bytes | bytearray | memoryview):
            yield one if isinstance(one, str) else bytes(one)
            continue
        if not isinstance(one, dict | list | tuple | set | frozenset | int | float | types.ModuleType):
            yield from (safe(show, one) for show in (repr, str, format))
        todo += inside(one)


def of_the_app(app: Litestar) -> list[str | bytes]:
    modules = [vars(module) for name, module in sys.modules.items() if name.split(".")[0] == "proxy"]
    return list(reachable(app, *[part for part in modules if "simulator" not in part["__name__"]]))


class Hub:
    """The simulator behind a URL for each run, with both tokens good; ``echo`` answers with the Authorization."""

    def __init__(self) -> None:
        self.simulator = Simulator(still_world(time.time), api_key=HUB)
        self.echo: int | None = None
        self.body = '{"error": {"type": "t", "title": "%s"}}'
        self.asked: list[str] = []
        self.faults: dict[str, Fault] = {}
        self.echoes: dict[str, int] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.simulator(scope, receive, send)
            return
        prefix, _, _ = scope["path"].partition("/api")
        echo = self.echoes.get(prefix, self.echo)
        headers = dict(scope["headers"])
        said = headers.get(b"authorization", b"")
        self.asked.append(said.decode())
        if echo is not None:
            body = (self.body % said.decode()).encode()
            pairs = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": echo, "headers": pairs})
            await send({"type": "http.response.body", "body": body})
            return
        if said.removeprefix(b"Bearer ").decode() in (HUB, FARM, FILED):
            headers[b"authorization"] = f"Bearer {HUB}".encode()
        simulator = self.simulator
        if prefix in self.faults:
            simulator = Simulator(simulator.world, api_key=HUB)
            simulator.faults.set(self.faults[prefix])
        path = scope["path"].removeprefix(prefix)
        await simulator({**scope, "path": path, "headers": list(headers.items())}, receive, send)


@dataclass(repr=False)  # it is among what is looked at
class Evidence:
    """What a run leaves behind."""

    capture: Capture
    answers: list[bytes] = field(default_factory=list)
    objects: list[str | bytes] = field(default_factory=list)
    redis: list[bytes] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def made(hub: str, redis_url: str | None, **given: Any) -> Settings:
    """Settings with every secret."""
    callers = (
        CallerSettings(name="ox", keys=(digest(CALLER),), namespaces=("ox", "bessie")),
        CallerSettings(name="all", keys=(digest(EVERYONE),), namespaces=("*",), unnamed=True),
    )
    farm = CredentialSettings(name="farm", namespaces=("bessie",), api_key=Secret(FARM))
    times = {"connect_timeout": 0.3, "read_timeout": 0.15, "deadline": 0.4}
    limits = {"rate": 1e6, "burst": 1_000_000, "answer_bytes": 65_536}
    return Settings(
        hub=HubSettings(**{"url": hub, "api_key": Secret(HUB), "credentials": (farm,), **times, **limits, **given}),
        cache=CacheSettings(settled_ttl=0.0, live_ttl=0.0),
        redis=RedisSettings(url=None if redis_url is None else Secret(redis_url), timeout=0.3),
        auth=AuthSettings(callers=callers),
        admin=AdminSettings(key=Secret(OPERATOR)),
        cors=CorsSettings(origins=(ORIGIN,)),
        jwt=JwtSettings(algorithm="HS256", key=Secret(SIGNING), issuer=CLAIMS["iss"], audience="proxy"),  # type: ignore[arg-type]
    )


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


QUESTIONS: Final[list[tuple[str, str, dict[str, str]]]] = [
    ("GET", f"{LIST}?namespace=ox&page_size=3", bearer(CALLER)),
    ("GET", f"{LIST}?namespace=bessie&page_size=2", bearer(CALLER)),
    ("GET", f"{LIST}?namespace=bessie&page_size=2", {"x-api-key": EVERYONE}),
    ("GET", f"{LIST}?namespace=ox&page_size=2", bearer(TOKEN)),
    ("HEAD", f"{LIST}?namespace=ox&page_size=3", {**bearer(CALLER), "if-none-match": "*"}),
    ("GET", "/health/ready", bearer(CALLER)),
    ("GET", "/metrics", bearer(CALLER)),
]


EVERY_SORT: Final[list[tuple[str, str, dict[str, str]]]] = [
    *QUESTIONS,
    ("GET", f"{LIST}?namespace=ox", {**bearer(CALLER), "cache-control": "only-if-cached"}),
    ("GET", f"{LIST}?namespace=ox", {**bearer(CALLER), "origin": ORIGIN, "if-none-match": '"x"'}),
    ("GET", f"{LIST}?namespace=moo", bearer(TOKEN)),
    ("GET", f"{LIST}?namespace=ox", bearer(TOKEN[:-4] + "AAAA")),
    ("GET", f"{LIST}?namespace=ox", bearer(HUB)),
    ("GET", f"{LIST}?namespace=ox", bearer(OPERATOR)),
    ("GET", f"{LIST}?namespace=ox&page=0", bearer(CALLER)),
    ("GET", f"{LIST}?namespace=ox", {**bearer(CALLER), "x-api-key": EVERYONE}),
    ("OPTIONS", LIST, {"origin": ORIGIN, "access-control-request-method": "GET"}),
    ("OPTIONS", LIST, {"origin": "https://evil.test", "access-control-request-method": "GET", **bearer(CALLER)}),
    ("POST", PURGE_PATH, bearer(OPERATOR)),
    ("POST", PURGE_PATH, bearer(OPERATOR + "x")),
    ("POST", PURGE_PATH, bearer(HUB)),
    ("GET", PURGE_PATH, bearer(OPERATOR)),
    ("GET", "/schema/openapi.json", bearer(CALLER)),
    ("GET", "/nowhere", bearer(CALLER)),
    ("DELETE", LIST, bearer(CALLER)),
]


async def ask(port: int, method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The whole answer, byte for byte; without a client that could log anything of its own."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    body = '{"namespace": "ox"}' if method == "POST" else ""
    head = {"host": "proxy.test", "connection": "close", "content-length": str(len(body))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items())]
    lines += [f"{name}: {value}" for name, value in headers if name not in head]
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def attacks() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """The table of attacks, with the secrets of this test in place of its own."""
    for row in ROWS:
        given = row.headers.items() if isinstance(row.headers, dict) else row.headers
        target = f"{row.path}?{row.query}" if row.query else row.path
        text = msgspec.json.encode((row.method, target, list(given))).decode()
        for old, new in ((OX, CALLER), (ALL, EVERYONE), (BESSIE, EVERYONE)):
            text = text.replace(old, new)
        method, target, pairs = msgspec.json.decode(text, type=tuple[str, str, list[tuple[str, str]]])
        if target.isascii() and target.isprintable():
            yield method, target, pairs


FAULTS: Final = [
    *[Fault(status=status) for status in (400, 401, 403, 404, 418, 422, 500, 503)],
    Fault(status=429, retry_after="1"),
    Fault(status=503, retry_after="1"),
    Fault(status=302, location="http://elsewhere.test/"),
    Fault(status=204),
    Fault(cut_off=100),
    Fault(content="<html>"),
    Fault(content="{}"),
    Fault(content='{"count": '),
    Fault(content='"' + "x" * 100_000 + '"'),
    Fault(hang=True),
]


ECHOED: Final = (400, 401, 403, 404, 418, 422, 429, 500, 503)


EVERY_FAULT: Final[list[Fault | int]] = [*FAULTS, *ECHOED]
