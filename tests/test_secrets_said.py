"""No secret in what settings, commands and processes say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import pytest

from proxy.callers.caller import digest
from proxy.commands import check
from proxy.commands.sockets import LOOPBACK
from proxy.config import sources
from proxy.simulator import Fault
from tests import processes
from tests.secret_search import (
    CALLER,
    CLAIMS,
    EVERY_SORT,
    FARM,
    FAULTS,
    HUB,
    OPERATOR,
    PASSWORD,
    SIGNING,
    Hub,
    ask,
    captured,
    found,
    inside,
    made,
)
from tests.support import RedisServer, free_port, tcp_server

SHOWING: Final[list[Callable[[Any], object]]] = [
    str,
    repr,
    lambda it: f"{it}",
    lambda it: f"{it!r:>9}",
    lambda it: "%s %r" % (it, it),  # noqa: UP031
    lambda it: json.dumps(it, default=str),
    msgspec.json.encode,
    msgspec.msgpack.encode,
    msgspec.to_builtins,
    msgspec.structs.asdict,
    msgspec.structs.astuple,
    lambda it: [value for value in inside(it)],  # noqa: C416
]


@pytest.mark.parametrize("show", SHOWING)
def test_settings_show_no_secret_in_whatever_way(show: Callable[[Any], object]) -> None:
    url = f"redis://:{quote(PASSWORD, safe='')}@redis.test"
    settings = made("http://hub.test", url)
    for one in (
        settings,
        *[getattr(settings, name) for name in settings.__struct_fields__],
        settings.hub.credentials[0],
    ):
        shown: list[str | bytes] = []
        with contextlib.suppress(TypeError):  # it cannot be encoded at all
            done = show(one)
            shown = [done if isinstance(done, str | bytes) else repr(done)]
        assert found(shown) == []


WRONG: Final[dict[str, tuple[dict[str, str], str]]] = {
    "a token with a space": ({"OXEN_API_KEY": f"{HUB} {HUB}"}, "OXEN_API_KEY"),
    "a token of other letters": ({"OXEN_API_KEY": f"{HUB}\u00e9"}, "OXEN_API_KEY"),
    "an operator's key of two lines": ({"PROXY_ADMIN_KEY": f"{OPERATOR}\n{OPERATOR}"}, "PROXY_ADMIN_KEY"),
    "a token in the hub's URL": ({"OXEN_HUB_URL": f"https://{quote(HUB, safe='')}@hub.test"}, "OXEN_HUB_URL"),
    "a Redis of another scheme": ({"REDIS_URL": f"http://:{quote(PASSWORD)}@redis.test"}, "REDIS_URL"),
    "a password with a slash": ({"REDIS_URL": f"redis://:{PASSWORD}@redis.test"}, "REDIS_URL"),
    "a password as the port": ({"REDIS_URL": f"redis://redis.test:{PASSWORD.replace('/', '')}"}, "REDIS_URL"),
    "a password as an option": ({"REDIS_URL": f"redis://redis.test?passwort={quote(PASSWORD)}"}, "REDIS_URL"),
    "a password as a number": ({"REDIS_URL": f"redis://redis.test?db={quote(PASSWORD)}"}, "REDIS_URL"),
    "a key in place of its digest": (
        {"PROXY_AUTH_CALLERS": json.dumps([{"name": "a", "keys": [CALLER]}])},
        "PROXY_AUTH_CALLERS",
    ),
    "a key in place of the list": (
        {"PROXY_AUTH_CALLERS": json.dumps([{"name": "a", "keys": CALLER}])},
        "PROXY_AUTH_CALLERS",
    ),
    "a key alone": ({"PROXY_AUTH_CALLERS": CALLER}, "PROXY_AUTH_CALLERS"),
    "a key behind a digest's prefix": (
        {"PROXY_AUTH_CALLERS": json.dumps([{"name": "a", "keys": [f"sha256:{CALLER}"]}])},
        "PROXY_AUTH_CALLERS",
    ),
    "a bad token for a namespace": (
        {"PROXY_HUB_CREDENTIALS": json.dumps([{"name": "a", "namespaces": ["x"], "api_key": f"{FARM} {FARM}"}])},
        "PROXY_HUB_CREDENTIALS",
    ),
    "tokens in a list": (
        {"PROXY_HUB_CREDENTIALS": json.dumps([{"name": "a", "namespaces": ["x"], "api_key": [FARM]}])},
        "PROXY_HUB_CREDENTIALS",
    ),
    "a token in JSON that is none": (
        {"PROXY_HUB_CREDENTIALS": f'[{{"name": "a", "api_key": "{FARM}"'},
        "PROXY_HUB_CREDENTIALS",
    ),
    "a signing key that is too short": (
        {"PROXY_JWT_ALGORITHM": "HS256", "PROXY_JWT_KEY": SIGNING[:31]},
        "PROXY_JWT_KEY",
    ),
    "a signing key where a public one belongs": (
        {"PROXY_JWT_ALGORITHM": "RS256", "PROXY_JWT_KEY": SIGNING},
        "PROXY_JWT_KEY",
    ),
    "a signing key without an algorithm": ({"PROXY_JWT_KEY": SIGNING}, "PROXY_JWT_ALGORITHM"),
    "a password in the URL of keys": (
        {"PROXY_JWT_ALGORITHM": "RS256", "PROXY_JWT_JWKS_URL": f"https://a:{quote(PASSWORD, safe='')}@login.test"},
        "PROXY_JWT_JWKS_URL",
    ),
    "a token as the name of a field": (
        {"PROXY_HUB_CREDENTIALS": json.dumps([{FARM: ["bessie"]}])},
        "PROXY_HUB_CREDENTIALS",
    ),
    "a key as the name of a field": (
        {"PROXY_AUTH_CALLERS": json.dumps([{CALLER: ["ox"]}])},
        "PROXY_AUTH_CALLERS",
    ),
}


@pytest.mark.parametrize(("given", "variable"), WRONG.values(), ids=WRONG)
async def test_no_fault_of_settings_shows_a_secret(given: dict[str, str], variable: str) -> None:
    with pytest.raises(sources.SettingsError) as caught:
        sources.load(given)
    lines: list[str] = []
    assert not await check.run_checks(given, None, say=lambda line: lines.append(str(line)))
    said = [str(caught.value), repr(caught.value), *lines]
    assert any(fault.startswith(f"{variable}: ") for fault in caught.value.faults)
    assert found(said) == []
    assert SIGNING[:31] not in "".join(said)


@pytest.mark.parametrize(
    "line",
    [
        'hub.api_key = ["{}"]',
        'hub.api_key = {{ "x" = "{}" }}',
        'hub.api_key = "{} two"',
        'hub.api_key = "{}',
        "hub.api_key = {}",
        'api_key = "{}"',
        'redis.url = ["{}"]',
        'admin.key = {{ "x" = "{}" }}',
        'jwt.key = ["{}"]',
        'hub.credentials = "{}"',
        'hub.credentials = ["{}"]',
        'auth.callers = "{}"',
        'auth.callers = [{{ name = "a", keys = ["{}"] }}]',
    ],
)
def test_no_fault_of_a_file_of_settings_shows_a_secret(tmp_path: Path, line: str) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(line.format(HUB) + "\n")
    with pytest.raises(sources.SettingsError) as caught:
        sources.load({}, str(file))
    assert found([str(caught.value), repr(caught.value)]) == []


def environment(hub: str, redis_url: str, **given: str) -> dict[str, str]:
    callers = [{"name": "ox", "keys": [digest(CALLER)], "namespaces": ["ox", "bessie"]}]
    return {
        "OXEN_HUB_URL": hub,
        "OXEN_API_KEY": HUB,
        "REDIS_URL": redis_url,
        "PROXY_ADMIN_KEY": OPERATOR,
        "PROXY_AUTH_CALLERS": json.dumps(callers),
        "PROXY_HUB_CREDENTIALS": json.dumps([{"name": "farm", "namespaces": ["bessie"], "api_key": FARM}]),
        "PROXY_JWT_ALGORITHM": "HS256",
        "PROXY_JWT_KEY": SIGNING,
        "PROXY_JWT_ISSUER": str(CLAIMS["iss"]),
        "PROXY_JWT_AUDIENCE": "proxy",
        "PROXY_CACHE_SETTLED_TTL": "0",
        "PROXY_SERVER_DRAIN_DELAY": "0",
        **given,
    }


def with_password(server: RedisServer) -> str:
    server.command("CONFIG", "SET", "requirepass", PASSWORD)
    return f"redis://:{quote(PASSWORD, safe='')}@{LOOPBACK}:{server.port}"


@pytest.mark.parametrize("fault", [None, *FAULTS[:4], Fault(content="<html>")])
async def test_check_says_no_secret(own_redis: RedisServer, fault: Fault | None) -> None:
    hub, lines, url = Hub(), [], with_password(own_redis)
    if fault is not None:
        hub.simulator.faults.set(fault)
    with captured() as capture:
        for given in (url, url.replace("redis://:", "redis://nobody:"), url.replace(str(own_redis.port), "1")):
            env = environment("http://hub.test/0", given, PROXY_EVENTS_MODE="off")  # ASGITransport has no streams
            passed = await check.run_checks(
                env, None, say=lambda line: lines.append(str(line)), transport=httpx.ASGITransport(hub)
            )
            assert passed == (fault is None and given == url)
    assert len(lines) >= 9
    assert found([*lines, *capture.lines]) == []


def test_the_processes_say_no_secret(own_redis: RedisServer) -> None:
    """Not on their command lines either, nor when everything about them fails."""
    hub_port, said, lines = free_port(), list[str | bytes](), list[bytes]()
    hub = f"http://{LOOPBACK}:{hub_port}"
    given: dict[str, Any] = environment(hub, with_password(own_redis))
    with processes.running("simulate", "--port", str(hub_port), "--api-key", HUB, "--speed", "0"):
        processes.eventually(lambda: processes.get(f"{hub}/_simulator/requests")[0] == 200)
        with processes.serving(hub, **given) as (url, process):
            port = int(url.rpartition(":")[2])
            command = Path(f"/proc/{process.pid}/cmdline")
            lines += [command.read_bytes()] if command.exists() else []
            for _ in range(2):
                for method, target, headers in EVERY_SORT:
                    said.append(asyncio.run(ask(port, method, target, headers.items())))
                own_redis.kill()
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            output = process.stdout.read()
            assert process.wait(processes.PATIENCE) == 0
    assert output.count('"caller":"ox"') > 5
    assert "Redis fault" in output
    assert found([*said, *lines, output]) == []


def test_a_process_that_cannot_start_says_no_secret() -> None:
    broken = environment(
        "http://hub.test", f"redis://:{PASSWORD}@h", OXEN_API_KEY=f"{HUB} x", PROXY_JWT_KEY=SIGNING[:9]
    )
    for command in ("serve", "check"):
        done = processes.run(command, **broken)
        assert done.returncode in (1, 2)
        assert "OXEN_API_KEY" in done.stdout + done.stderr
        assert found([done.stdout, done.stderr]) == []


async def test_check_before_a_redis_that_does_not_know_hello() -> None:
    """Redis before 6, and stand-ins for it, quote what they were sent."""
    lines: list[str] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(f"-ERR unknown command `HELLO`, with args beginning with: `3`, `{PASSWORD}`\r\n".encode())
        writer.close()

    async with tcp_server(server) as port:
        env = environment(
            "http://hub.test/0", f"redis://:{quote(PASSWORD, safe='')}@{LOOPBACK}:{port}", PROXY_EVENTS_MODE="off"
        )
        behind = httpx.ASGITransport(Hub())
        await check.run_checks(env, None, say=lambda line: lines.append(str(line)), transport=behind)
    assert "ResponseError" in "".join(lines)
    assert "The proxy would run without it" in "".join(lines)
    assert found(lines) == []
