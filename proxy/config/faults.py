"""Faults of settings that no type or range can say."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from proxy.callers.caller import EVERY
from proxy.config.redis_password import read_password
from proxy.hub.clients import url_is_usable
from proxy.hub.credential import DEFAULT_NAME, Credential, check_token, read_token
from proxy.hub.tls import tls_context
from proxy.redis.client import check_redis_url
from proxy.settings import CredentialSettings, Settings


def _check_hub_url(url: str) -> None:
    if not url_is_usable(url) or "?" in url:
        # A user part may be a secret: the value is not shown.
        raise ValueError("not a usable URL")


def _check_host(host: str) -> None:
    if "[" in host:
        raise ValueError(f"{host!r} has brackets, which belong into URLs")


def _check_token_file(path: str) -> None:
    read_token(Path(path))


def _check_credentials(given: tuple[CredentialSettings, ...]) -> None:
    for one in given:
        if (one.api_key is None) == (one.api_key_file is None):
            raise ValueError(f"{one.name} wants exactly one of api_key and api_key_file")
        if EVERY in one.namespaces:
            raise ValueError(f"{one.name} is for the namespaces that it names; OXEN_API_KEY serves all others")
        try:
            Credential(one, "")
        except ValueError as fault:
            raise ValueError(f"the token of {one.name}: {fault}") from None


CHECKS: Final[dict[tuple[str, str], Any]] = {
    ("hub", "url"): _check_hub_url,
    ("server", "host"): _check_host,
    ("hub", "api_key"): check_token,
    ("admin", "key"): check_token,
    ("admin", "key_file"): _check_token_file,
    ("status", "key"): check_token,
    ("status", "key_file"): _check_token_file,
    ("hub", "credentials"): _check_credentials,
    ("hub", "api_key_file"): _check_token_file,
    ("hub", "ca_file"): tls_context,
    ("jwt", "jwks_ca_file"): tls_context,
    ("redis", "url"): check_redis_url,
    ("redis", "password_file"): read_password,
}
"""What to call with a value of its type; ValueError if it cannot be used."""


def contradictions(settings: Settings, faulty: set[str]) -> list[str]:
    """What does not go together; nothing is said of what is ``faulty`` itself."""
    faults = [
        f"{name}: {name}_FILE is set too; set one of the two"
        for name, key, file in (
            ("OXEN_API_KEY", settings.hub.api_key, settings.hub.api_key_file),
            ("PROXY_ADMIN_KEY", settings.admin.key, settings.admin.key_file),
            ("PROXY_STATUS_KEY", settings.status.key, settings.status.key_file),
        )
        if key is not None and file is not None
    ]
    if settings.redis.password_file is not None and settings.redis.url is None and "REDIS_URL" not in faulty:
        faults.append("PROXY_REDIS_PASSWORD_FILE: REDIS_URL is not set, so that it would do nothing; set both or none")
    callers, credentials = settings.auth.callers, settings.hub.credentials
    for what, given in (
        ("PROXY_AUTH_CALLERS: the name {}", [caller.name for caller in callers]),
        ("PROXY_AUTH_CALLERS: the key {}", [key for caller in callers for key in caller.keys]),
        ("PROXY_HUB_CREDENTIALS: the name {}", [DEFAULT_NAME, *(one.name for one in credentials)]),
        ("PROXY_HUB_CREDENTIALS: the namespace {}", [name for one in credentials for name in one.namespaces]),
    ):
        twice = sorted(one for one, times in Counter(given).items() if times > 1)
        faults += [f"{what.format(one)} is there twice, and can be only once" for one in twice]
    return faults


def cautions(settings: Settings) -> list[str]:
    """What can be run, and is hardly what was meant."""
    workers = settings.server.workers
    if workers == 1 or settings.redis.url is not None:
        return []
    alone = "each worker keeps a cache of its own, and asks the hub for itself, within its share of the budget"
    return [f"PROXY_WORKERS: {workers}, and REDIS_URL is not set: {alone}"]


Requirement = Callable[[Settings, set[str]], list[str]]
"""What a command needs of the settings beyond their being usable: the faults that are left.

It is also given the variables that are faulty themselves, which are as if they were not set: nothing is said of those.
"""


def require_credential(settings: Settings, faulty: set[str]) -> list[str]:
    """That there is a token for the hub."""
    given = settings.hub.api_key is not None or settings.hub.api_key_file is not None
    if given or faulty & {"OXEN_API_KEY", "OXEN_API_KEY_FILE"}:
        return []
    return ["OXEN_API_KEY: not set; set it to the hub's token, or OXEN_API_KEY_FILE to a file that holds it"]


def require_safe_address(settings: Settings, faulty: set[str]) -> list[str]:
    """That no stranger can read the hub's data by reaching the port."""
    host = settings.server.host
    known = settings.auth.callers or settings.jwt.algorithm is not None or settings.auth.allow_anonymous
    if is_loopback(host) or known:
        return []
    if faulty & {"PROXY_AUTH_CALLERS", "PROXY_AUTH_ALLOW_ANONYMOUS", "PROXY_JWT_ALGORITHM"}:
        return []
    fault = (
        f"PROXY_HOST: {host!r} is beyond loopback, and callers are not authenticated; set [auth] callers or [jwt],"
        " listen on 127.0.0.1, or set PROXY_AUTH_ALLOW_ANONYMOUS=true if only those who may see everything can"
        " reach the port"
    )
    return [fault]


TO_SERVE: Final = (require_credential, require_safe_address)
"""What it takes to run the proxy."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def missing_extras(settings: Settings) -> list[str]:
    """What is switched on and not installed."""
    if settings.tracing.enabled and not all(map(_installed, ("opentelemetry.sdk", "opentelemetry.exporter"))):
        return ["PROXY_TRACING_ENABLED: OpenTelemetry is not installed; pip install 'generations-proxy[otel]'"]
    return []


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
