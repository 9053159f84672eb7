"""TLS towards the hub, and towards who has the keys of callers' tokens: whose word counts."""

from __future__ import annotations

import functools
import ssl
from typing import Final

import httpx

from proxy.causes import reason

RULES: Final = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
"""What Python itself asks for from 3.13 on: a certificate of the file is enough, though who signed it is not known, and
all have to be as RFC 5280 wants them. Asked for of every version, so that none trusts what another does not."""


@functools.cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust the usual authorities, as ``certifi`` has them, and those of the file; nothing of the environment.

    All who ask with the same file share what is read once: it takes 20 ms.

    Raises:
        ValueError: there is no certificate in it that can be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.verify_flags |= RULES
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"{ca_file} cannot be used: {reason(error)}") from None
    return context
