"""The latest entries of a log, numbered and within bounds, as listeners read them. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from proxy.events.entry import Entry
from proxy.events.shared_log import KEPT, KEPT_FOR

KEPT_BYTES: Final = 4 * 2**20
"""Bytes of events that a process keeps of one log."""


class Tail:
    """The end of a log.

    Attributes:
        first, end: the entries that can be read are numbered from ``first``, and ``end`` is the next one's number.
        base: the id of what the first entry follows, if that is known.
        own: from that number on entries are this log's; those before are another's.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._known: dict[str, Entry] = {}
        self._bytes = 0
        self.first = self.own = 0
        self.base: str | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number of the next entry."""
        return self.first + len(self._entries)

    @property
    def alone(self) -> bool:
        """Whether the latest entry is one that this process came by without Redis."""
        return bool(self._entries) and self._entries[-1].id is None

    def entry(self, number: int) -> Entry | None:
        """The entry of that number, if it can still be read."""
        return self._entries[number - self.first] if self.first <= number < self.end else None

    def after(self, event_id: str) -> int | None:
        """The number of the entry that follows this one; None: it is not known here (any more)."""
        for offset, entry in enumerate(self._entries):
            if entry.id == event_id:
                return self.first + offset + 1
        return max(self.first, self.own) if event_id == self.base else None

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

    def reopen(self, base: str | None) -> None:
        """What comes now is of another log, in which the ids of this one mean nothing."""
        self.base = base
        for entry in self._entries:
            entry.id = None

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
            len(self._entries) > min(kept, KEPT) or self._bytes > KEPT_BYTES or self._entries[0].at < now - KEPT_FOR
        ):
            gone = self._entries.popleft()
            self.first += 1
            self._bytes -= gone.size
            self.base = gone.id or self.base
            if gone.completion is not None:
                self._known.pop(gone.completion.identity, None)
