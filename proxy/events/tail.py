"""The latest entries of a log, numbered and within bounds, as listeners read them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.events.entry import BEGINNING, Entry
from proxy.events.place import Place
from proxy.events.shared_log import EVENT_SECONDS, MAX_EVENTS

MAX_BYTES: Final = 4 * 2**20
"""Bytes of events that a process keeps of one log."""


class Tail:
    """The end of a log.

    Attributes:
        first, end: the entries that can be read are numbered from ``first``, and ``end`` is the next one's number.
        base: what the first entry follows; it cannot be read (any more).
        own: from that number on entries are this log's; those before are another's.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._known: dict[str, Entry] = {}
        self._bytes = 0
        self.first = self.own = 0
        self.base = Entry(0.0, None, id=BEGINNING)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number of the next entry."""
        return self.first + len(self._entries)

    @property
    def place(self) -> Place:
        """Where a listener is that has read all."""
        return (self._entries[-1] if self._entries else self.base).place

    def entry(self, number: int) -> Entry | None:
        """The entry of that number, if it can still be read."""
        return self._entries[number - self.first] if self.first <= number < self.end else None

    def after(self, place: Place) -> int | None:
        """The number of the entry that follows; None: what follows is not known here (any more).

        Others may have had more before an entry that they had told to Redis late: of one that somebody else has
        heard without Redis it is known what precedes it only if nobody but them has heard that either.
        """
        behind = self._behind(lambda entry: entry.id == place.id)
        if place.own is None:
            return None if behind is None else behind[0]
        own = self._behind(lambda entry: entry.own == place.own)
        if own is None or own[1].follows is not None:
            return None if own is None else own[0]
        between = None if behind is None else [self._entries[one - self.first] for one in range(behind[0], own[0])]
        theirs = between is not None and all(one.own and one.own.run == place.own.run for one in between)
        return own[0] if theirs else None

    def _behind(self, wanted: Callable[[Entry], bool]) -> tuple[int, Entry] | None:
        """The latest of this log's entries that is wanted, and the number of what follows it."""
        for number in range(self.end, max(self.first, self.own), -1):
            entry = self._entries[number - 1 - self.first]
            if wanted(entry):
                return number, entry
        return (max(self.first, self.own), self.base) if wanted(self.base) else None

    def holds(self, entry: Entry) -> bool:
        """Whether this very entry can be read."""
        return any(one is entry for one in self._entries)

    def known(self, entry: Entry) -> Entry | None:
        """The entry that tells of the same event."""
        return None if entry.completion is None else self._known.get(entry.completion.identity)

    def covers(self, entry: Entry) -> bool:
        """Whether a gap says that this one may have been missed."""
        return any(one.gap and one.at >= entry.at for one in self._entries)

    def overtakes(self, entry: Entry) -> bool:
        """Whether a newer event than this one of the log in Redis has been told already.

        Clocks are compared only where one of the two was heard without Redis; else the log has them in order.
        """
        own = (self._entries[number - self.first] for number in range(self.end - 1, max(self.first, self.own) - 1, -1))
        newest = next((one for one in own if one.completion is not None), None)
        return newest is not None and (entry.late or newest.id is None) and entry.at < newest.at

    def disown(self) -> None:
        """What comes now is of another log, in which the places of this one mean nothing."""
        for entry in self._entries:
            entry.id = entry.own = entry.follows = None

    def begin(self, base: Entry) -> None:
        """The log begins here, after ``base``; what comes before is read on from only by who was there."""
        self.base, self.own = base, self.end

    def add(self, entry: Entry, now: float) -> None:
        """Add an entry, and forget what is too old or too much."""
        if entry.completion is not None:
            self._known[entry.completion.identity] = entry
        self._entries.append(entry)
        self._bytes += entry.size
        self.forget(now)

    def forget(self, now: float) -> None:
        """Drop what is too old, or too much, or holds a dead link; and what came before that."""
        dead = [number for number, one in enumerate(self._entries) if one.dead_at is not None and one.dead_at <= now]
        kept = len(self._entries) - (dead[-1] + 1 if dead else 0)
        while self._entries and (
            len(self._entries) > min(kept, MAX_EVENTS)
            or self._bytes > MAX_BYTES
            or self._entries[0].at < now - EVENT_SECONDS
        ):
            gone = self._entries.popleft()
            self.first += 1
            self._bytes -= gone.size
            if self.first > self.own:
                self.base = gone
            if gone.completion is not None:
                self._known.pop(gone.completion.identity, None)
