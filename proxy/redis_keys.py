"""What everything that Redis holds is called, and the channel of news: all names are made here. Pure.

A *deployment* is all processes that ask one hub over one database of Redis: they share pages and a budget. No other has
any of its names: a credential's id is made of the hub's URL and the token, what belongs to no credential names the hub,
and the channel the database too, as pub/sub knows none.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from proxy.text_cache import text_cache

PREFIX: Final = "gp1"
"""Changes when values of an earlier release must not be read: both releases then run side by side."""
NEWS: Final = f"{PREFIX}:news"
"""What all channels begin with."""
TAGS: Final = 4096
"""Hash tags that are made once for all who need them."""

Kind: TypeAlias = Literal["purged", "withdrawn"]
"""Of watermarks."""


class Names(Struct, frozen=True):
    """The names of what belongs to a deployment, and to no credential.

    Attributes:
        hub: a digest of its URL.
        database: its number; 0 in a cluster, which has but one.
    """

    hub: str = ""
    database: int = 0

    @property
    def news(self) -> str:
        """The channel.

        On it are: ``record <listing> <record>``, ``landed <page> <token> <failure>``, and both in one (``learned``),
        parted by a line's end; ``purged <at> <scope> <what>``, and ``withdrawn`` in the same way; ``room <gate>``;
        ``ends <process>``; ``event <log> <id> <id before> <event>``.
        """
        return f"{NEWS}:{self.database}:{self.hub}"

    @property
    def processes(self) -> str:
        """A sorted set of processes' ids."""
        return f"{PREFIX}:{self.hub}:processes"

    @property
    def clock(self) -> str:
        """The latest time of any process, in the slot of ``processes``."""
        return f"{PREFIX}:clock{{{self.processes}}}"

    @property
    def status(self) -> str:
        """A hash: a process's id → its time (Unix seconds, as text), a space, and what it tells."""
        return f"{PREFIX}:{self.hub}:status"

    def watermarks(self, kind: Kind) -> str:
        """A hash of extents and their times (Unix seconds)."""
        return f"{PREFIX}:{self.hub}:{kind}"

    def quota(self, caller: str) -> str:
        """What a caller may ask."""
        return f"{hash_tag(f'{self.hub} {caller}')}:quota"


NOBODYS: Final = Names()
"""Those of no deployment: for whoever tries a Redis."""


def names(hub_url: str, database: int) -> Names:
    """The names of the deployment that asks this hub over this database."""
    return Names(_digest(hub_url.rstrip("/"), 8), database)


def credential_id(hub_url: str, token: str) -> str:
    """What names what a token may see at a hub; a digest of a random token reveals nothing of it."""
    return _digest(f"{hub_url.rstrip('/')} {token}", 8)


@text_cache(TAGS)
def hash_tag(text: str) -> str:
    """What the keys of a listing, of a gate or of a log begin with, by what it is about.

    The braces keep them in one slot of Redis Cluster. The full key is in each value, so a digest is enough.
    """
    return f"{PREFIX}:{{{_digest(text, 16)}}}"


def record_key(listing: str) -> str:
    """Of a listing's record."""
    return f"{listing}:record"


def rows_keys(listing: str) -> list[str]:
    """Of a listing's rows: the head, the rows, and when each was written."""
    return [f"{listing}:head", f"{listing}:rows", f"{listing}:written"]


def variant_key(page_key: str) -> str:
    """Of a page's gzip variant."""
    return f"{page_key}:gzip"


def lease_keys(page_key: str, token: str) -> tuple[str, str]:
    """Where the token of who asks the question is, and the mark that a token has ended before Redis got it."""
    lease = f"{page_key}:lease"
    return lease, f"{lease}:{token}"


def gate_tag(credential_id: str) -> str:
    """By which a credential's gate is known."""
    return hash_tag(f"{credential_id} gate")


def gate_keys(gate: str) -> list[str]:
    """Of what a gate has granted, and of the slots that are taken."""
    return [f"{gate}:gate", f"{gate}:slots"]


def log_tag(credential_id: str) -> str:
    """By which a credential's log of events is known."""
    return hash_tag(f"{credential_id} events")


def log_key(log: str) -> str:
    """Of the stream of a log's events."""
    return f"{log}:events"


def seen_key(log: str, identity: str) -> str:
    """Of the mark that an event is in the log."""
    return f"{log}:seen:{identity}"


def subscriber_keys(log: str) -> list[str]:
    """Of the lease of who receives a log's events from the hub, and of the mark that nobody is to."""
    return [f"{log}:subscriber", f"{log}:rest"]


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
