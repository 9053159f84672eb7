"""What became of a question: a page, and how it was had."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from proxy.page import Page


class Hit(Struct, frozen=True):
    """Served from a cache, fresh for ``ttl`` more seconds; the hub vouched for it ``age`` seconds ago."""

    page: Page
    age: float
    ttl: float
    source: Literal["memory", "redis"]


class StaleHit(Struct, frozen=True):
    """Served from a cache though no longer fresh (``ttl`` is 0 or negative).

    ``reason``: an error's type where the hub failed, ``patience`` where it dawdled, ``allowed`` where the
    caller's max-stale allows it.
    """

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


Outcome: TypeAlias = Hit | StaleHit | Miss
