"""``check``: whether all that these settings name is there and as it should be, one line for each thing looked at."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from proxy import errors
from proxy.answer.lenient_json import decode_leniently
from proxy.answer.page import parse_page
from proxy.callers.jwks import KeySet
from proxy.callers.keys import KeyFault
from proxy.commands.terminal import Say
from proxy.config import sources
from proxy.config.faults import TO_SERVE
from proxy.contract import STATUSES, GenerationsListResponse
from proxy.hub.client import Hub, Transport
from proxy.hub.credential import Credential, Credentials
from proxy.hub.stream import HubStream, NoStream
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.redis.address import redacted
from proxy.redis.describe import describe, rehearse
from proxy.settings import JwtSettings, Settings

_QUERY: Final = ListQuery(page_size=100)
_MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL", "skip": "-   "}


class CheckResult(Struct, frozen=True):
    """What was looked at, and what was found. ``fail`` decides the verdict, ``warn`` does not."""

    mark: Literal["ok", "warn", "fail", "skip"]
    subject: str
    found: str

    def __str__(self) -> str:
        return f"{_MARKS[self.mark]}  {self.subject:<18} {self.found}"


async def run_checks(
    environ: Mapping[str, str],
    config_path: str | None,
    *,
    say: Say,
    transport: Transport | None = None,
) -> bool:
    """Say a line for each check; return whether none failed."""
    passed = True
    async for line in _checks(environ, config_path, transport):
        say(str(line))
        passed = passed and line.mark != "fail"
    well, ill = "The proxy can do its work.", "Something is not as it should be; see the lines marked FAIL."
    say(well if passed else ill)
    return passed


async def _checks(
    environ: Mapping[str, str], config_path: str | None, transport: Transport | None
) -> AsyncIterator[CheckResult]:
    try:
        loaded = sources.load(environ, config_path, *TO_SERVE)
    except sources.SettingsError as error:
        for fault in error.faults:
            yield CheckResult("fail", "settings", fault)
        for warning in error.warnings:
            yield CheckResult("warn", "settings", warning)
        return
    for warning in loaded.warnings:
        yield CheckResult("warn", "settings", warning)
    yield CheckResult("ok", "settings", f"hub {loaded.settings.hub.url}")
    async for line in _hub_checks(loaded.settings, transport):
        yield line
    if loaded.settings.jwt.jwks_url is not None:
        yield await _jwks_check(loaded.settings.jwt, loaded.settings.jwt.jwks_url)
    yield await _redis_check(loaded.settings)


async def _hub_checks(settings: Settings, transport: Transport | None) -> AsyncIterator[CheckResult]:
    first, *others = Credentials(settings.hub).all
    async for line in _credential_checks(settings, first, _QUERY, transport):
        yield line
    for credential, one in zip(others, settings.hub.credentials, strict=True):
        query = msgspec.structs.replace(_QUERY, namespace=one.namespaces[0])
        async for line in _credential_checks(settings, credential, query, transport):
            yield msgspec.structs.replace(line, subject=f"{one.name}: {line.subject}")


async def _credential_checks(
    settings: Settings, credential: Credential, query: ListQuery, transport: Transport | None
) -> AsyncIterator[CheckResult]:
    hub = Hub(settings.hub, credential, transport=transport)
    question = page_question(credential.id, query)
    began = time.perf_counter()
    try:
        body = await hub.get(question.path, question.query)
    except (errors.HubUnreachable, errors.HubTimeout) as error:
        yield CheckResult("fail", "hub reachable", f"{error.explained()}. Is OXEN_HUB_URL right ({settings.hub.url})?")
        return
    except errors.ProxyError as error:
        yield CheckResult("ok", "hub reachable", _took(began))
        refused = isinstance(error, errors.HubRefusedCredential)
        yield CheckResult("fail", "credential" if refused else "list answer", error.detail)
        return
    finally:
        await hub.aclose()
    yield CheckResult("ok", "hub reachable", _took(began))
    yield CheckResult("ok", "credential", "accepted")
    for line in _judge_answer(question, body):
        yield line
    yield await _events_check(settings, credential, transport)


def _judge_answer(question: Question, body: bytes) -> list[CheckResult]:
    """Hold an answer against what the proxy rests on."""
    try:
        parse_page(question, body, time.time())
    except errors.HubError as error:
        return [CheckResult("fail", "list answer", error.detail)]
    lines = []
    try:
        answer = decode_leniently(_decode_answer, body)
        lines.append(
            CheckResult("ok", "list answer", f"matches the contract ({answer.count} of {answer.total_entries} rows)")
        )
    except msgspec.DecodeError as error:
        lines.append(
            CheckResult(
                "warn",
                "list answer",
                f"is served, but differs from the contract (statuses: {', '.join(STATUSES)}): {error}",
            )
        )
    times = _times(body)
    misplaced = sum(later > earlier for earlier, later in pairwise(times))
    if len(times) < 2:
        lines.append(CheckResult("skip", "newest first", f"cannot be seen with {len(times)} row(s)"))
    elif misplaced:
        lines.append(
            CheckResult(
                "warn", "newest first", f"does not hold: {misplaced} of {len(times)} rows are newer than the one before"
            )
        )
    else:
        lines.append(CheckResult("ok", "newest first", f"holds over {len(times)} rows"))
    return lines


class _EnqueuedRow(Struct):
    enqueued_at: msgspec.Raw = msgspec.Raw(b"null")


class _Enqueued(Struct):
    generations: list[_EnqueuedRow]


_decode_answer = msgspec.json.Decoder(GenerationsListResponse).decode
_decode_times = msgspec.json.Decoder(_Enqueued).decode


def _times(body: bytes) -> list[float]:
    """When the rows were enqueued; without those that say it in no number, if at all."""
    times = []
    for row in decode_leniently(_decode_times, body).generations:
        with contextlib.suppress(ValueError):
            times.append(float(bytes(row.enqueued_at)))
    return times


async def _events_check(settings: Settings, credential: Credential, transport: Transport | None) -> CheckResult:
    """Whether there is a stream to listen to; the proxy does its work without, and news come later."""
    if settings.events.mode == "off":
        return CheckResult("skip", "events", "not listened to, as events.mode is off")
    stream = HubStream(settings.hub, credential, silence=settings.hub.read_timeout, transport=transport)
    try:
        connection = await stream.open()
    except NoStream as none:
        return CheckResult("skip" if none.absent else "warn", "events", f"none to listen to: {none}")
    except errors.HubError as error:
        return CheckResult("warn", "events", error.explained())
    await connection.aclose()
    return CheckResult("ok", "events", "the hub offers its stream")


async def _jwks_check(settings: JwtSettings, url: str) -> CheckResult:
    keys = KeySet(settings)
    try:
        found, fault = await keys.fetch(), f"none of its keys verifies {settings.algorithm}"
    except KeyFault as error:
        found, fault = (), str(error)
    finally:
        await keys.aclose()
    if found:
        return CheckResult("ok", "JWK set", f"{len(found)} of its keys verify {settings.algorithm}")
    where = urlsplit(url).netloc
    return CheckResult(
        "fail", "JWK set", f"{fault}. Is PROXY_JWT_JWKS_URL right ({where})? No token would be accepted."
    )


async def _redis_check(settings: Settings) -> CheckResult:
    if settings.redis.url is None:
        return CheckResult("skip", "Redis", "REDIS_URL is not set: memory only, nothing is shared between processes")
    try:
        version, policy, memory = await describe(settings.redis.url)
        refused = await rehearse(settings.redis.url)
    except ConnectionError as error:
        where = redacted(settings.redis.url)
        found = f"{error}. Is REDIS_URL right ({where})? The proxy would run without it, and share nothing."
        return CheckResult("fail", "Redis", found)
    found = f"version {version}, eviction policy {policy}, maxmemory {memory or 'unlimited'}"
    if refused:
        return CheckResult("fail", "Redis", f"{found}; it refuses what serving needs: {'; '.join(refused)}")
    if policy == "noeviction":
        return CheckResult(
            "warn", "Redis", f"{found}; when full it refuses new pages: set maxmemory-policy allkeys-lru"
        )
    return CheckResult("ok", "Redis", found)


def _took(began: float) -> str:
    return f"answered in {(time.perf_counter() - began) * 1000:.0f} ms"
