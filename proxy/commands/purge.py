"""``purge``: has a running proxy, and all its replicas, serve nothing any more that was kept before."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct

from proxy.commands.terminal import fail
from proxy.hub.credential import TokenFault, check_token, read_token
from proxy.secret import Secret
from proxy.web.admin import PURGE_PATH

ADMIN_KEY: Final = "PROXY_ADMIN_KEY"
ADMIN_KEY_FILE: Final = "PROXY_ADMIN_KEY_FILE"
TIMEOUT: Final = 10.0
"""Seconds for each step of the request."""


class _Purged(Struct):
    everywhere: bool
    redis: str = "away"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the operator's key along, and whoever it leads to could claim success."""

    def redirect_request(self, *_: Any) -> None:
        """Have the redirect be an error."""


def operators_key(environ: Mapping[str, str]) -> Secret:
    """The key in the environment, or in the file that is named there; if it can be none, say why and exit."""
    if not environ.get(ADMIN_KEY):
        try:
            return read_token(Path(environ.get(ADMIN_KEY_FILE, "")))
        except TokenFault as fault:
            fail(f"{ADMIN_KEY_FILE}: {fault}")
    key = Secret(environ[ADMIN_KEY])
    try:
        check_token(key)
    except TokenFault as fault:
        fail(f"{ADMIN_KEY} {fault}")
    return key


def run_purge(url: str, key: Secret, what: Mapping[str, str | bool]) -> None:
    """Ask the proxy at ``url``; if it has not purged in all replicas, say why and exit."""
    headers = {"authorization": f"Bearer {key.reveal()}"}
    # Nor by a proxy from the environment: the key is for the proxy that the operator names.
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(  # noqa: S310  the operator's own URL
            f"{url.rstrip('/')}{PURGE_PATH}", json.dumps(what).encode(), headers, method="POST"
        )
        with opener.open(request, timeout=TIMEOUT) as answer:
            purged = msgspec.json.decode(answer.read(), type=_Purged)
    except urllib.error.HTTPError as error:
        _refused(url, error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        fail(f"the proxy at {url} cannot be asked: {error}")
    if purged.everywhere:
        return
    if purged.redis == "off":
        fail("purged in one process only: there is no Redis to tell the others by: restart them")
    fail("purged in one process only: Redis is away, and that process tells the others when it is back, if it lives on")


def _refused(url: str, error: urllib.error.HTTPError) -> NoReturn:
    if "location" in error.headers:
        fail(f"{url} redirects to {error.headers['location']!r}, where the operator's key is not sent")
    fail(f"the proxy answered {error.code}: {error.read(2000).decode('utf-8', 'replace')}")
