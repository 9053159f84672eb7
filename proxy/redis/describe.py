"""What a Redis says of itself, and whether it does what serving needs: for operators."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from redis.exceptions import RedisError, ResponseError

from proxy.redis.client import Client, close, connect, primaries, publish, server_info
from proxy.redis.reasons import in_script, kind, reason
from proxy.redis.scripts import Script
from proxy.redis_keys import NEWS, hash_tag
from proxy.secret import Secret

ANSWER_TIMEOUT: Final = 4.0
"""Seconds in which a Redis has to answer: more than SOCKET_TIMEOUT, as the first Sentinel or node may be gone."""
_REHEARSE: Final = Script("rehearse")


async def describe(url: Secret) -> tuple[str, str, str]:
    """Ask a Redis for its version, eviction policy and memory limit; all primaries of a cluster.

    Raises:
        ConnectionError: saying what failed, without the URL, which may hold a password.
    """
    async with _asked(url) as client:
        server = await server_info(client, "server")
        memory = await server_info(client, "memory")
    limits = [str(one.get("maxmemory_human", "unknown")) if one.get("maxmemory") else "" for one in memory]
    return (
        _all(str(one["redis_version"]) for one in server),
        _all(str(one.get("maxmemory_policy", "unknown")) for one in memory),
        _all(limits) if all(limits) else "",
    )


async def rehearse(url: Secret) -> list[str]:
    """Do once what serving needs, with keys and a channel that nobody else has; return what is refused, and why.

    Raises:
        ConnectionError: as describe.
    """
    refused: list[str] = []
    own = secrets.token_hex(8)
    async with _asked(url) as client:
        for attempt in (_run_script, _subscribe, _publish):
            try:
                refused += await attempt(client, own)
            except ResponseError as error:
                refused.append(reason(error) or type(error).__name__)
    return list(dict.fromkeys(refused))


async def _run_script(client: Client, own: str) -> list[str]:
    keys = [f"{hash_tag(own)}:{number}" for number in range(4)]
    found = [one.decode(errors="replace") for one in await _REHEARSE(client, keys, [f"{NEWS}:{own}"])]
    return [in_script(command, text) for command, text in zip(found[::2], found[1::2], strict=True)]


async def _subscribe(client: Client, own: str) -> list[str]:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(f"{NEWS}:{own}", f"{NEWS}:{own}:own")
        for _ in range(2):
            while (await pubsub.get_message(timeout=ANSWER_TIMEOUT) or {}).get("type") != "subscribe":
                pass
    return []


async def _publish(client: Client, own: str) -> list[str]:
    for name in primaries(client):
        await publish(client, name, f"{NEWS}:{own}", "")
    return []


@asynccontextmanager
async def _asked(url: Secret) -> AsyncIterator[Client]:
    """A client for a short while; its faults are a ConnectionError."""
    client = connect(url)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            yield client
    except TimeoutError:
        raise ConnectionError(f"no answer within {ANSWER_TIMEOUT:g} s") from None
    except (RedisError, OSError) as error:
        raise ConnectionError(kind(error)) from None
    finally:
        await close(client)


def _all(texts: Iterable[str]) -> str:
    """What one says, or several that agree; else all that they say."""
    return " / ".join(sorted(set(texts)))
