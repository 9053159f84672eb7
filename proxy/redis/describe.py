"""What a Redis says of itself, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from redis.exceptions import RedisError

from proxy.redis.client import close, connect, info
from proxy.redis.reasons import kind
from proxy.secret import Secret

ANSWERED: Final = 4.0
"""Seconds in which a Redis has to describe itself: more than GIVEN_UP, as the first Sentinel or node may be gone."""


async def describe(url: Secret) -> tuple[str, str, str]:
    """Ask a Redis for its version, eviction policy and memory limit; all primaries of a cluster.

    Raises:
        ConnectionError: saying what failed, without the URL, which may hold a password.
    """
    client = connect(url)
    try:
        async with asyncio.timeout(ANSWERED):
            server = await info(client, "server")
            memory = await info(client, "memory")
    except TimeoutError:
        raise ConnectionError(f"no answer within {ANSWERED:g} s") from None
    except (RedisError, OSError) as error:
        raise ConnectionError(kind(error)) from None
    finally:
        await close(client)
    limits = [str(one.get("maxmemory_human", "unknown")) if one.get("maxmemory") else "" for one in memory]
    return (
        _all(str(one["redis_version"]) for one in server),
        _all(str(one.get("maxmemory_policy", "unknown")) for one in memory),
        _all(limits) if all(limits) else "",
    )


def _all(texts: Iterable[str]) -> str:
    """What one says, or several that agree; else all that they say."""
    return " / ".join(sorted(set(texts)))
