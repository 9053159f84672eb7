"""Clients for what is asked beside questions, with the precautions of ``client``; and which URLs may be asked."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx

from proxy import NAME


def bare_client(transport: httpx.AsyncBaseTransport, accept: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client that keeps no cookie, follows no redirect, and whose way no environment variable changes."""
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        headers={"accept": accept, "accept-encoding": "identity", "user-agent": NAME},
        timeout=timeout,
    )


def url_is_usable(url: str) -> bool:
    """Whether the hub, or a JWK set, may be asked there: HTTP(S), and nothing secret or useless in it."""
    try:
        parts = urlsplit(url)
        asked = httpx.URL(url)
        # httpx' host is read, too: for each request it decodes international names (xn--…), which can fail.
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname and asked.host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False
    # What is asked for is what is written: httpx resolves dots and escapes blanks, urlsplit drops what is empty.
    written = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return valid and asked.raw_path.decode() == written and parts.username is None and not {" ", "#"} & set(url)
