"""The first line of the log: what runs, and none of its secrets."""

from __future__ import annotations

import pytest

from proxy import __version__
from proxy.callers.caller import digest
from proxy.commands.summary import summary
from proxy.secret import Secret
from proxy.settings import (
    AuthSettings,
    CallerSettings,
    HubSettings,
    JwtSettings,
    RedisSettings,
    ServerSettings,
    Settings,
)
from tests.secret_search import found, made

CALLERS = (CallerSettings(name="a", keys=(digest("a"),)), CallerSettings(name="b", keys=(digest("b"),)))


def test_what_runs_is_said() -> None:
    settings = Settings(hub=HubSettings(url="https://hub.test/prefix"), server=ServerSettings(workers=3))
    start = (
        f"generations-proxy {__version__} on http://127.0.0.1:8080, 3 worker(s), process 7: hub https://hub.test/prefix"
    )
    assert summary(settings, "http://127.0.0.1:8080", 7) == f"{start}, Redis none, callers anybody"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pa55@redis.test:6379/2?ssl_cert_reqs=pa55", "redis://redis.test:6379/2"),
        (
            "rediss+sentinel://:pa55@one.test,two.test/main/1?sentinel_password=pa55",
            "rediss+sentinel://one.test,two.test/main/1",
        ),
        ("unix://:pa55@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_redis_is_shown_without_passwords_and_options(url: str, shown: str) -> None:
    line = summary(Settings(redis=RedisSettings(url=Secret(url))), "http://h", 1)
    assert f"Redis {shown}, " in line
    assert "pa55" not in line


@pytest.mark.parametrize(
    ("callers", "algorithm", "shown"),
    [
        (CALLERS, None, "callers 2 with keys"),
        ((), "EdDSA", "callers JWT (EdDSA)"),
        (CALLERS, "RS256", "callers 2 with keys, JWT (RS256)"),
    ],
)
def test_who_may_ask_is_said(callers: tuple[CallerSettings, ...], algorithm: str | None, shown: str) -> None:
    settings = Settings(auth=AuthSettings(callers=callers), jwt=JwtSettings(algorithm=algorithm))  # type: ignore[arg-type]
    assert summary(settings, "http://h", 1).endswith(shown)


def test_it_says_no_secret() -> None:
    assert (
        found([summary(made("http://hub.test", "redis://:r3dis%2FPa55%2BWm4Ek7qYtRb%3D%3D@redis.test"), "http://h", 1)])
        == []
    )
