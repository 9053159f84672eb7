"""Bodies of the hub's answers: read within bounds, and looked through for the token."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

import httpx
import msgspec

from proxy import errors
from proxy.hub.gunzip import Gunzip
from proxy.secret import Secret

MAX_ERROR_BODY: Final = 64 * 1024
"""Bytes of a hub's error body that are read and passed on."""
MIN_ECHO: Final = 16
"""Bytes of a token that is looked for in pages."""
MAX_NESTING: Final = 3
"""How deep in JSON, as text of a string of other JSON, a token is looked for."""
_ESCAPED: Final = re.compile(rb'\\(?:u00([0-7][0-9a-fA-F])|(["\\/]))')
"""A character of a token, as JSON may spell it; from left to right, as an escaped backslash escapes nothing."""


def codings(headers: httpx.Headers) -> list[str]:
    """The content codings of an answer, in lower case; identity is none, nor is an empty line (RFC 9110 §8.4)."""
    named = (name.strip().lower() for name in headers.get("content-encoding", "").split(","))
    return [name for name in named if name not in ("", "identity")]


async def read_body(response: httpx.Response, limit: int, until: float) -> bytes:
    """Read a body of at most ``limit`` bytes, counted as they are after decoding.

    Until the loop's time ``until``: nobody waits for it any more, but each byte of one that drips is in time for httpx.
    """
    loop = asyncio.get_running_loop()
    coded = codings(response.headers)
    if coded not in ([], ["gzip"], ["x-gzip"]):
        raise errors.HubAnswerEncoded(
            "The hub used a content coding other than identity and gzip.", hub_status=response.status_code
        )
    # A transport that answers from memory, as httpx.MockTransport, has read and decoded the body already.
    from_memory = response.is_stream_consumed
    gunzip = Gunzip() if coded and not from_memory else None
    body = bytearray()
    async for chunk in _once(response.content) if from_memory else _stream(response):
        if loop.time() > until:
            raise errors.HubTimeout("The hub's answer did not end in time.", hub_status=response.status_code)
        try:
            body += chunk if gunzip is None else gunzip.feed(chunk, limit - len(body) + 1)
        except zlib.error:
            raise errors.HubAnswerEncoded("The hub's gzip is broken.", hub_status=response.status_code) from None
        if len(body) + (0 if gunzip is None else gunzip.extra) > limit:
            text = f"The hub's answer is longer than {limit} bytes (hub.answer_bytes)."
            raise errors.HubAnswerTooLarge(text, hub_status=response.status_code)
    if gunzip is not None and not gunzip.complete:
        raise errors.HubAnswerCutOff("The hub's gzip ends in its middle.", hub_status=response.status_code)
    return bytes(body)


async def read_error(response: httpx.Response, token: Secret, until: float) -> bytes | None:
    """The hub's error body as it may be passed on: a JSON object that does not hold the token."""
    try:
        body = await read_body(response, MAX_ERROR_BODY, until)
        plain = msgspec.json.encode(msgspec.json.decode(body, type=dict[str, Any]))  # without needless escapes
    except (errors.HubError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if msgspec.json.encode(token.reveal())[1:-1] in plain or _holds(token.encoded(), body):
        return None  # of repeated members, JSON read and written again has the last only; what is passed on has all
    return body


def echoes(token: Secret, body: bytes) -> bool:
    """Whether a page holds the token, however JSON spells it; a short one may stand there by chance."""
    text = token.encoded()
    return len(text) >= MIN_ECHO and _holds(text, body)


def _holds(text: bytes, body: bytes) -> bool:
    """Whether JSON, or JSON in a string of it, holds a text of ASCII."""
    signs = (b"\\",) if b'"' in text or b"\\" in text else (b"\\u00", b"\\/")
    for _ in range(MAX_NESTING):
        if text in body:
            return True
        if not any(sign in body for sign in signs):
            return False  # what is escaped in it is nothing of the text
        body = _ESCAPED.sub(_character, body)
    return text in body


def _character(escaped: re.Match[bytes]) -> bytes:
    return escaped[2] or bytes((int(escaped[1], 16),))


def _stream(response: httpx.Response) -> AsyncIterable[bytes]:
    """The parts of a body as they come; httpx' own ``aiter_raw`` counts them, and wraps each twice."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport's answers come without a loop")
    return response.stream


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
