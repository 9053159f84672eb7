"""An entry in the log of a credential's events: what was heard, and how Redis has it. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from proxy.answer import links
from proxy.events.place import NOWHERE, LocalId, Place
from proxy.known import completion
from proxy.known.completion import Completion

BEGINNING: Final = "0-0"
"""What the first event follows."""


class Entry(Struct):
    """A place in the log.

    Attributes:
        at: when it was heard of, Unix seconds.
        completion: None: events may have been missed before this, unless it is where the log ``begins``.
        dead_at: from when on a link in it is dead.
        id: in the log in Redis; None while it is this process' own.
        own: by which the one knows it who has heard it.
        follows: the id of the latest entry of the log in Redis when it came, if it had none itself by then. What has an
            id by then comes before it, or a gap for it; its own id, given later, says nothing of that.
        namespace: of the generation, once ``settled``; None if it has none, or if it could not be found out.
        lost: it could not.
        late: when it was heard, Redis could not be told; others may have been told of newer ones before it.
    """

    at: float
    completion: Completion | None
    dead_at: float | None = None
    id: str | None = None
    own: LocalId | None = None
    follows: str | None = None
    namespace: str | None = None
    settled: bool = False
    lost: bool = False
    begins: bool = False
    late: bool = False

    @property
    def size(self) -> int:
        """Characters of the event's data."""
        return 0 if self.completion is None else len(self.completion.data)

    @property
    def place(self) -> Place:
        """Where a listener is that has read up to this."""
        if self.follows is not None:
            return Place(self.follows, self.own)
        return NOWHERE if self.id is None else Place(self.id)

    def comes_before(self, place: Place) -> bool:
        """Whether who is there has read this, or a gap for it; it is not known of all that it has read."""
        if self.own is not None and place.own is not None and self.own.run == place.own.run:
            return self.own <= place.own
        return self.id is not None and place != NOWHERE and order(self.id) <= order(place.id)

    @property
    def gap(self) -> bool:
        """Whether events may have been missed before this."""
        return self.completion is None and not self.begins


class _Value(Struct, frozen=True, array_like=True):
    at: float
    data: str | None
    late: bool = False
    own: LocalId | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


def write_entry(entry: Entry) -> bytes:
    """An entry as the log in Redis has it."""
    data = None if entry.completion is None else entry.completion.data
    return _encode(_Value(entry.at, data, entry.late, entry.own))


def read_entry(value: bytes, lead: float = 0.0) -> Entry:
    """Read an entry as the log in Redis has it; ``lead``: as of ``links.dead_at``.

    Raises:
        ValueError: it is none.
    """
    try:
        found = _decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError("no entry of the log") from error
    entry = entry_of(found.at, None if found.data is None else completion.read(found.data), lead)
    entry.late, entry.own = found.late, found.own
    return entry


def entry_after(before: str, value: bytes, now: float, lead: float = 0.0) -> Entry:
    """Read the entry that follows the one of an id; what cannot be read is a gap.

    It may be another release's, and is no reason to read nothing of what comes after it.
    """
    try:
        entry = read_entry(value, lead)
    except ValueError:
        return Entry(now, None)
    entry.begins = before == BEGINNING
    return entry


def entry_of(at: float, received: Completion | None, lead: float = 0.0) -> Entry:
    """The entry of what was heard at that time."""
    return Entry(at, received, None if received is None else links.dead_at(received.data.encode(), at, lead))


def order(event_id: str) -> tuple[int, int]:
    """An id as its place in the order (Redis: milliseconds and a number within them)."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)
