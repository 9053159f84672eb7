"""One listener: its place in the logs, and what it is told of.

It reads on at its own speed; what it has not read is kept once for all. So each gets each event once and in order, and
one that is too slow falls behind what is kept, and is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from proxy.callers.caller import Caller
from proxy.events.entry import Entry
from proxy.events.log import EventLog
from proxy.events.owners import Owners
from proxy.events.place import NOWHERE, Place
from proxy.hub import sse
from proxy.known import completion

GAP: Final = "gap"
"""The type of the event that says: events may have been missed here."""
MAX_REMEMBERED: Final = 256
"""Events of each credential, of which a listener of several is not told twice."""


class TooSlow(Exception):
    """The listener reads too slowly: what it would read next is not kept any more."""


class Source(Struct, frozen=True):
    """Where the events of one credential are found."""

    log: EventLog
    owners: Owners


class Listener:
    """One caller's place in the logs.

    Args:
        places: by the credential's name: the number of the entry to be read next, and the place that it follows.
        had: by the credential's name: a place that is not known here, up to which it has had what is heard of later.

    Attributes:
        wake: set when there may be something new.
    """

    def __init__(
        self,
        caller: Caller,
        sources: Mapping[str, Source],
        places: dict[str, tuple[int, Place]],
        had: Mapping[str, Place],
        *,
        gap: bool,
    ) -> None:
        self.caller = caller
        self._sources = sources
        self._places = places
        self._had = had
        self._gap = gap
        self.wake = asyncio.Event()
        self._blocked: set[str] = set()
        """Logs in which it has read up to an entry of which it was not known whose it is."""
        self._sent = self._before() if len(places) > 1 else None

    @property
    def names(self) -> Collection[str]:
        """The credentials whose events it is told of."""
        return self._places.keys()

    @property
    def position(self) -> str:
        """Where it is in all logs: the id of the last event, and the ``Last-Event-ID`` to come back with."""
        return ",".join(f"{self._sources[name].log.tag}-{last}" for name, (_, last) in self._places.items())

    @property
    def greeting(self) -> str:
        """Where it begins. Empty while a gap is to be told first: who took that on would come back without the gap."""
        return "" if self._gap else self.position

    def take(self, most: int) -> list[sse.Event]:
        """The next events, of about so many bytes; none if there is nothing new yet.

        Raises:
            TooSlow: what it would read next is not kept any more.
        """
        events = [self._missed()] if self._gap else []
        self._gap = False
        for name in self._places:
            if name in self._blocked and self._places[name][0] < self._sources[name].log.tail.first:
                events.append(self._skip(name))
            while sum(len(event.data) for event in events) < most and (entry := self._next(name)) is not None:
                done = entry.completion
                if entry.gap or (entry.lost and not self.caller.sees_all):
                    events.append(self._missed())
                elif done is not None and self._is_for_them(entry) and self._is_new(done.identity):
                    events.append(sse.Event(completion.TYPE, done.data, self.position))
        return events

    def _before(self) -> dict[str, None]:
        """What it has been told of, or had not been when it began: each log may tell of it once more."""
        sent: dict[str, None] = {}
        for name, (number, _) in self._places.items():
            log = self._sources[name].log
            entries = (log.tail.entry(one) for one in range(max(log.tail.first, number - MAX_REMEMBERED), number))
            sent |= dict.fromkeys(entry.completion.identity for entry in entries if entry and entry.completion)
        return sent

    def _next(self, name: str) -> Entry | None:
        """The next entry of a log, if there is one and it is known whose it is."""
        log, (number, place) = self._sources[name].log, self._places[name]
        if number < log.tail.first:
            raise TooSlow
        self._blocked.discard(name)
        had = self._had.get(name, NOWHERE)
        while (entry := log.tail.entry(number)) is not None and entry.comes_before(had):
            number += 1
            self._places[name] = number, place
        if entry is None:
            return None
        if not (self.caller.sees_all or entry.settled or entry.completion is None):
            self._blocked.add(name)
            return None
        self._places[name] = number + 1, entry.place
        return entry

    def _skip(self, name: str) -> sse.Event:
        """Go on where the log begins: what is not kept any more had to wait for look-ups, not for the listener."""
        self._places[name] = self._sources[name].log.tail.first, self._places[name][1]
        return self._missed()

    def _is_for_them(self, entry: Entry) -> bool:
        return self.caller.sees_all or (entry.namespace is not None and self.caller.sees(entry.namespace))

    def _is_new(self, identity: str) -> bool:
        """Whether no other credential's log has told of it."""
        if self._sent is None:
            return True
        if identity in self._sent:
            return False
        self._sent[identity] = None
        if len(self._sent) > len(self._places) * MAX_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return True

    def _missed(self) -> sse.Event:
        return sse.Event(GAP, "{}", self.position)
