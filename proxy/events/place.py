"""Where a listener is in a log: behind which entry, so that it can come back there, to whichever replica. Pure.

An entry that Redis had when it was told of is named by its id. One that Redis could not be told of has none; it may
get one later, or never. It is named by who heard it, and by the id of the latest entry before it that had one: where
nobody knows of it, what follows that one is not known either.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from msgspec import Struct

_TEXT: Final = re.compile(r"([0-9]{1,20}-[0-9]{1,20})(?:~([0-9a-f]{1,16})\.([0-9]{1,15}))?")


class LocalId(NamedTuple):
    """An entry as the one knows it who has heard it: the ``number``-th of a run in which nothing else came between."""

    run: str
    number: int


class Place(Struct, frozen=True):
    """Behind the entry of an id; with ``own``, behind that entry, which came some time after it."""

    id: str
    own: LocalId | None = None

    def __str__(self) -> str:
        return self.id if self.own is None else f"{self.id}~{self.own.run}.{self.own.number}"


NOWHERE: Final = Place("")
"""In a log that is another's now."""


def read_place(text: str) -> Place:
    """Read a place; what is none is behind no entry."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return NOWHERE
    event_id, run, number = found.groups()
    return Place(event_id, LocalId(run, int(number)) if run else None)
