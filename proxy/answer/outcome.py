"""What became of a question: what the hub, or another replica, answered; and what the caller gets."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from msgspec import Struct

from proxy.answer.page import Page
from proxy.answer.record import Learned


class Landed(Struct, frozen=True):
    """An answer of the hub, taken in.

    Attributes:
        vouched_at: when the hub was asked with the latest answer that vouches for the page, Unix seconds.
        ttl: for how long it is fresh.
        announced: those who wait for it in other replicas know of it.
        collapsed: another had asked, here or in another replica.
        hub_seconds: that the hub took, if this process asked it.
    """

    page: Page
    learned: Learned
    vouched_at: float
    ttl: float
    stored: bool
    announced: bool = False
    collapsed: bool = False
    hub_seconds: float | None = None


class Leader(Struct, frozen=True):
    """Who asks the hub (see redis.shared.Lease), and what has landed meanwhile."""

    holder: str
    seconds: float
    landed: Landed | None = None


class Hit(Struct, frozen=True, gc=False):
    """Served from a cache, fresh for ``ttl`` more seconds; the hub vouched for it ``age`` seconds ago.

    ``name``, here and below: what logs and metrics call it.
    """

    name: ClassVar[str] = "hit"
    page: Page
    age: float
    ttl: float
    source: Literal["memory", "redis", "composed"]


class StaleHit(Struct, frozen=True, gc=False):
    """Served from a cache though no longer fresh (``ttl`` is 0 or negative).

    ``reason``: an error's type where the hub failed, ``patience`` where it dawdled, ``allowed`` where the
    caller's max-stale allows it.
    """

    name: ClassVar[str] = "stale"
    page: Page
    age: float
    ttl: float
    reason: str


class Miss(Struct, frozen=True):
    """The hub was asked: for this caller, or (``collapsed``) for another who had just asked the same."""

    page: Page
    age: float
    ttl: float
    forward: Literal["uri-miss", "stale", "request"]
    stored: bool
    collapsed: bool = False
    hub_seconds: float | None = None

    @property
    def name(self) -> str:
        """As of the others."""
        return "joined" if self.collapsed else "miss"


Outcome: TypeAlias = Hit | StaleHit | Miss
