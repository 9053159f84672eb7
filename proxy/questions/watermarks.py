"""Times before which answers of the hub no longer count, over some of the questions. Pure.

What an operator has *purged* is not served any more; where a right to see something may have been *withdrawn*, as the
hub has refused to show it, what it was asked for before stands in for nothing. Nothing has to be found or deleted for
a watermark to take effect, in memory or in Redis; what it covers is passed over when judged, and goes when its time
comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from proxy.questions.question import Question

MAX_WATERMARKS: Final = 1000
"""Watermarks that are kept apart; one more, and all become one over everything."""
Scope: TypeAlias = Literal["page", "listing", "namespace", "credential", "everything"]


class Extent(Struct, frozen=True):
    """What a watermark covers.

    The canonical query of a page, the canonical filters of a listing, a namespace, or the id of a credential.
    """

    scope: Scope
    what: str = ""


class Watermarks:
    """All that still matter; ``changes``: how often there was another."""

    def __init__(self) -> None:
        self._since: dict[Extent, float] = {}
        self.changes = 0

    def __bool__(self) -> bool:
        return bool(self._since)

    def add(self, extent: Extent, at: float) -> None:
        """What was asked for before ``at`` (Unix seconds) no longer counts."""
        known = self._since.get(extent, 0.0)
        if at <= known:
            return
        self._since[extent] = at
        self.changes += 1
        if len(self._since) > MAX_WATERMARKS:
            self._since = {Extent("everything"): max(self._since.values())}

    def forget(self, before: float) -> None:
        """Forget those that are older than anything that is kept."""
        self._since = {extent: at for extent, at in self._since.items() if at >= before}

    @property
    def times(self) -> dict[Extent, float]:
        """All and their times, as they are now."""
        return self._since.copy()

    def drop(self, extent: Extent, at: float) -> None:
        """Forget one, unless there was another of this extent after ``at``."""
        if self._since.get(extent) == at:
            del self._since[extent]

    def since(self, question: Question) -> float:
        """The time before which answers to the question do not count; 0 if there is none.

        A listing that names no namespace is that of the token's user, whose name is not known here: a watermark over
        any namespace covers it.
        """
        if not self._since:
            return 0.0
        covering = [
            Extent("everything"),
            Extent("credential", question.credential_id),
            Extent("listing", question.filters),
            Extent("page", question.query),
        ]
        if question.namespace is None:
            covering += [extent for extent in self._since if extent.scope == "namespace"]
        else:
            covering.append(Extent("namespace", question.namespace))
        return max(self._since.get(extent, 0.0) for extent in covering)


def write(extent: Extent) -> str:
    """An extent as text."""
    return f"{extent.scope} {extent.what}"


def read(texts: Mapping[bytes, bytes]) -> dict[Extent, float]:
    """Extents and their times, from Redis; what cannot be read is passed over."""
    found: dict[Extent, float] = {}
    for text, at in texts.items():
        with contextlib.suppress(ValueError):
            found[_extent(text)] = float(at)
    return found


def read_news(news: bytes) -> tuple[Extent, float]:
    """One and its time, from news of it: ``<at> <scope> <what>``.

    Raises:
        ValueError: it cannot be read.
    """
    at, _, text = news.partition(b" ")
    return _extent(text), float(at)


def _extent(text: bytes) -> Extent:
    scope, _, what = text.decode("utf-8", "replace").partition(" ")
    return msgspec.convert({"scope": scope, "what": what}, Extent)  # its errors are ValueErrors too
