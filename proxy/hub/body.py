"""Bodies of the hub's answers: read within bounds, and looked through for the token."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import msgspec

from proxy import errors
from proxy.secret import Secret

MAX_ERROR_BODY: Final = 64 * 1024
"""Bytes of a hub's error body that are read and passed on."""
MIN_ECHO: Final = 16
"""Bytes of a token that is looked for in pages."""
_ESCAPED: Final = re.compile(rb"\\(?:u00([0-7][0-9a-fA-F])|(/))")
"""A character of a token, as JSON may spell it."""


async def read_body(response: httpx.Response, limit: int, until: float) -> bytes:
    """Read a body of at most ``limit`` bytes, counted as they are after decoding.

    Until the loop's time ``until``: nobody waits for it any more, but each byte of one that drips is in time for httpx.
    """
    loop = asyncio.get_running_loop()
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise errors.HubAnswerEncoded(
            "The hub used a content coding other than identity and gzip.", hub_status=response.status_code
        )
    # A transport that answers from memory, as httpx.MockTransport, has read and decoded the body already.
    from_memory = response.is_stream_consumed
    inflate = None if from_memory or coding == "identity" else zlib.decompressobj(wbits=31)
    body, after = bytearray(), 0
    async for chunk in _once(response.content) if from_memory else response.aiter_raw():
        if loop.time() > until:
            raise errors.HubTimeout("The hub's answer did not end in time.", hub_status=response.status_code)
        room = limit - len(body) + 1
        try:
            if inflate is not None and inflate.eof:
                after += len(chunk)
            else:
                body += chunk if inflate is None else inflate.decompress(chunk, room)
        except zlib.error:
            raise errors.HubAnswerEncoded("The hub's gzip is broken.", hub_status=response.status_code) from None
        if len(body) + after > limit:
            text = f"The hub's answer is longer than {limit} bytes (hub.answer_bytes)."
            raise errors.HubAnswerTooLarge(text, hub_status=response.status_code)
    if inflate is not None and not inflate.eof:
        raise errors.HubAnswerCutOff("The hub's gzip ends in its middle.", hub_status=response.status_code)
    return bytes(body)


async def read_error(response: httpx.Response, token: Secret, until: float) -> bytes | None:
    """The hub's error body as it may be passed on: a JSON object that does not hold the token."""
    try:
        body = await read_body(response, MAX_ERROR_BODY, until)
        plain = msgspec.json.encode(msgspec.json.decode(body, type=dict[str, Any]))  # without needless escapes
    except (errors.HubError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return None if msgspec.json.encode(token.reveal())[1:-1] in plain else body


def echoes(token: Secret, body: bytes) -> bool:
    """Whether a page holds the token, however JSON spells it; a short one may stand there by chance."""
    text = token.encoded()
    if len(text) < MIN_ECHO:
        return False
    return text in body or (b"\\" in body and text in _ESCAPED.sub(_character, body))


def _character(escaped: re.Match[bytes]) -> bytes:
    return escaped[2] or bytes((int(escaped[1], 16),))


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
