"""A credential's log of events in Redis, and the lease of the one replica that receives them from the hub.

The log is a stream with bounds on its length and age. What is appended is told to all replicas over the channel of
news, together with the id of what it follows.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Any, Final, cast

from msgspec import Struct

from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.redis_keys import log_key, seen_key, subscriber_keys

SUBSCRIBER_LEASE: Final = 2.0
"""Seconds after which the lease of a replica that does not renew it (killed, frozen, cut off) is another's."""
MAX_EVENTS: Final = 1000
"""Events that are kept."""
EVENT_SECONDS: Final = 600.0
"""Seconds for which they can be read, and for which the same event again is known for one."""
LOG_SECONDS: Final = 86_400.0
"""Seconds for which Redis keeps a log to which nothing is appended: a log that is gone looks like one that was cut."""

_SUBSCRIBER_HOLD: Final = Script("subscriber_hold")
_SUBSCRIBER_RELEASE: Final = Script("subscriber_release")
_EVENT_APPEND: Final = Script("event_append")


class Appended(Struct, frozen=True):
    """What became of an event: its id and the id of what it follows; None: it was there already."""

    before: str | None
    id: str | None


class SharedLog:
    """Reads and writes Redis; None in place of a result: Redis could not be asked.

    Args:
        name: of the log, a hash tag; equal for replicas that share it.
    """

    def __init__(self, link: RedisLink, name: str) -> None:
        self.name = name
        self._link = link
        self._token = secrets.token_hex(8)
        self._log = log_key(name)
        self._lease = subscriber_keys(name)

    async def hold(self) -> tuple[bool, float] | None:
        """Take or keep the lease; return whether it is held, and for how many seconds nobody is to take it."""
        arguments = [self._token, int(SUBSCRIBER_LEASE * 1000)]
        return await self._link.run(
            _SUBSCRIBER_HOLD, "subscriber_hold", self._lease, arguments, lambda one: (bool(one[0]), one[1] / 1000)
        )

    async def give_up(self, backoff: float = 0.0) -> None:
        """Let another have the lease; nobody for ``backoff`` seconds, if the hub has no events."""
        await self._link.run(_SUBSCRIBER_RELEASE, "subscriber_release", self._lease, [self._token, int(backoff * 1000)])

    async def append(self, value: bytes, identity: str | None) -> Appended | None:
        """Append an event and tell all of it, unless one of the same identity is there."""
        keys = [self._log, seen_key(self.name, identity or "")]
        arguments = [
            value,
            MAX_EVENTS,
            int(EVENT_SECONDS * 1000),
            int(LOG_SECONDS * 1000),
            self._link.names.news,
            self.name,
            int(identity is not None),
        ]

        def read(answer: Any) -> Appended:
            return Appended(answer[0].decode(), answer[1].decode()) if answer else Appended(None, None)

        return await self._link.run(_EVENT_APPEND, "event_append", keys, arguments, read)

    async def since(self, last: str) -> list[tuple[str, bytes]] | None:
        """What is kept from the event of that id on, itself included."""
        found = await self._link.call(
            "events",
            lambda: cast(
                "Awaitable[list[tuple[bytes, dict[bytes, bytes]]]]", self._link.client.xrange(self._log, last)
            ),
        )
        return self._link.read(
            "events", found, lambda them: [(one.decode(), fields.get(b"e", b"")) for one, fields in them]
        )
