"""TLS towards the hub, and towards who has the keys of callers' tokens: whose word counts."""

from __future__ import annotations

import ssl

import httpx

from proxy.causes import reason


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust the usual authorities, as ``certifi`` has them, and those of the file; nothing of the environment.

    Raises:
        ValueError: there is no certificate in it that can be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"{ca_file} cannot be used: {reason(error)}") from None
    return context
