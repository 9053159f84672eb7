"""What an operator has purged: nothing that the hub was asked for before is served any more. Pure.

A purge is a watermark in time over a page, a listing or a namespace. Nothing has to be found or deleted for it
to take effect, in memory or in Redis; what it covers is passed over when judged, and goes when its time comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from proxy.questions.question import Question

RULES: Final = 1000
"""Purges that are kept apart; one more, and all become one purge of everything."""
Scope: TypeAlias = Literal["page", "listing", "namespace", "everything"]


class Purge(Struct, frozen=True):
    """What is purged: the canonical query of a page, the canonical filters of a listing, or a namespace."""

    scope: Scope
    what: str = ""


class Purges:
    """All purges that still matter; ``changes``: how often there was another."""

    def __init__(self) -> None:
        self._since: dict[Purge, float] = {}
        self.changes = 0

    def __bool__(self) -> bool:
        return bool(self._since)

    def add(self, purge: Purge, at: float) -> None:
        """Purge what was asked for before ``at`` (Unix seconds)."""
        self._since[purge] = max(at, self._since.get(purge, 0.0))
        self.changes += 1
        if len(self._since) > RULES:
            self._since = {Purge("everything"): max(self._since.values())}

    def forget(self, before: float) -> None:
        """Forget purges older than anything that is kept."""
        self._since = {purge: at for purge, at in self._since.items() if at >= before}

    @property
    def times(self) -> dict[Purge, float]:
        """All purges and their times, as they are now."""
        return self._since.copy()

    def drop(self, purge: Purge, at: float) -> None:
        """Forget a purge, unless the same was purged again after ``at``."""
        if self._since.get(purge) == at:
            del self._since[purge]

    def since(self, question: Question) -> float:
        """The time before which answers to the question are purged; 0 if there is none.

        A listing that names no namespace is that of the token's user, whose name is not known here: a purge of
        any namespace covers it.
        """
        if not self._since:
            return 0.0
        covering = [Purge("everything"), Purge("listing", question.filters), Purge("page", question.query)]
        if question.namespace is None:
            covering += [purge for purge in self._since if purge.scope == "namespace"]
        else:
            covering.append(Purge("namespace", question.namespace))
        return max(self._since.get(purge, 0.0) for purge in covering)


def write(purge: Purge) -> str:
    """A purge as text."""
    return f"{purge.scope} {purge.what}"


def read(texts: Mapping[bytes, bytes]) -> dict[Purge, float]:
    """Purges and their times, from Redis; what cannot be read is passed over."""
    found: dict[Purge, float] = {}
    for text, at in texts.items():
        with contextlib.suppress(ValueError):
            found[_purge(text)] = float(at)
    return found


def heard(news: bytes) -> tuple[Purge, float]:
    """A purge and its time, from news of it: ``<at> <scope> <what>``.

    Raises:
        ValueError: it cannot be read.
    """
    at, _, text = news.partition(b" ")
    return _purge(text), float(at)


def _purge(text: bytes) -> Purge:
    scope, _, what = text.decode("utf-8", "replace").partition(" ")
    return msgspec.convert({"scope": scope, "what": what}, Purge)  # its errors are ValueErrors too
