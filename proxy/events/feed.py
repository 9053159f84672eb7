"""Events for callers: who listens, from where on, and what each of them may see.

A listener has a place in the log of each credential that may serve it, and reads on from there at its own speed; what
it has not read is kept once for all. So each gets each event once and in order, and one that is too slow falls behind
what is kept, and is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from msgspec import Struct

from proxy.callers.caller import ANONYMOUS, Caller
from proxy.errors import TooManyListeners
from proxy.events.entry import Entry
from proxy.events.log import EventLog
from proxy.events.owners import Owners
from proxy.hub import sse
from proxy.known import completion

GAP: Final = "gap"
"""The type of the event that says: events may have been missed here."""
REMEMBERED: Final = 256
"""Events of each credential, of which a listener of several is not told twice."""
MAX_POSITION: Final = 16 * 1024
"""Characters of a position that are read; a log takes about 30."""
SPARED: Final = 10
"""The last of so many parts of the places is for callers who have not taken as much yet: one who opens connections
without end leaves some to the others. Without callers' authentication, all are one."""
FULL: Final = 5.0
"""Seconds after which those may come again for whom there was no room."""


class Behind(Exception):
    """The listener reads too slowly: what it would read next is not kept any more."""


class Source(Struct, frozen=True):
    """Where the events of one credential are found."""

    log: EventLog
    owners: Owners


class Listener:
    """One caller's place in the logs.

    Args:
        places: by the credential's name: the number of the entry to be read next, and the id of the last one read.

    Attributes:
        wake: set when there may be something new.
    """

    def __init__(
        self, caller: Caller, sources: Mapping[str, Source], places: dict[str, tuple[int, str]], *, gap: bool
    ) -> None:
        self.caller = caller
        self._sources = sources
        self._places = places
        self._gap = gap
        self.wake = asyncio.Event()
        self._blocked: set[str] = set()
        """Logs in which it has read up to an entry of which it was not known whose it is."""
        self._told = self._before() if len(places) > 1 else None

    @property
    def names(self) -> Collection[str]:
        """The credentials whose events it is told of."""
        return self._places.keys()

    @property
    def position(self) -> str:
        """Where it is in all logs: the id of the last event."""
        return ",".join(f"{self._sources[name].log.tag}-{last}" for name, (_, last) in self._places.items())

    def take(self, most: int) -> list[sse.Event]:
        """The next events, of about so many bytes; none if there is nothing new yet.

        Raises:
            Behind: the listener is too slow.
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
        told: dict[str, None] = {}
        for name, (number, _) in self._places.items():
            log = self._sources[name].log
            entries = (log.tail.entry(one) for one in range(max(log.tail.first, number - REMEMBERED), number))
            told |= dict.fromkeys(entry.completion.identity for entry in entries if entry and entry.completion)
        return told

    def _next(self, name: str) -> Entry | None:
        """The next entry of a log, if there is one and it is known whose it is."""
        log, (number, last) = self._sources[name].log, self._places[name]
        if number < log.tail.first:
            raise Behind
        self._blocked.discard(name)
        entry = log.tail.entry(number)
        if entry is None:
            return None
        if not (self.caller.sees_all or entry.settled or entry.completion is None):
            self._blocked.add(name)
            return None
        self._places[name] = number + 1, entry.id or last
        return entry

    def _skip(self, name: str) -> sse.Event:
        """Go on where the log begins: what is not kept any more had to wait for look-ups, not for the listener."""
        self._places[name] = self._sources[name].log.tail.first, self._places[name][1]
        return self._missed()

    def _is_for_them(self, entry: Entry) -> bool:
        return self.caller.sees_all or (entry.namespace is not None and self.caller.sees(entry.namespace))

    def _is_new(self, identity: str) -> bool:
        """Whether no other credential's log has told of it."""
        if self._told is None:
            return True
        if identity in self._told:
            return False
        self._told[identity] = None
        if len(self._told) > len(self._places) * REMEMBERED:
            del self._told[next(iter(self._told))]
        return True

    def _missed(self) -> sse.Event:
        return sse.Event(GAP, "{}", self.position)


class Feed:
    """All listeners of this process.

    Args:
        limit: of their number.
    """

    def __init__(self, sources: Mapping[str, Source], limit: int) -> None:
        self._sources = sources
        self._limit = limit
        self._listeners: set[Listener] = set()
        self.closing = False
        for name, source in sources.items():
            source.log.on_entry.append(self._told_by(name))

    def __len__(self) -> int:
        return len(self._listeners)

    async def join(self, caller: Caller, names: Iterable[str], last: str | None) -> Listener:
        """Begin to listen to the events of these credentials, after the position ``last`` if there is one.

        Raises:
            TooManyListeners: there is no room for another.
        """
        places: dict[str, tuple[int, str]] = {}
        gap = False
        known = _read(last or "")
        for name in names:
            log = self._sources[name].log
            event_id = known.get(log.tag, "")
            number = await _found(log, event_id) if event_id else None
            gap = gap or (last is not None and number is None)
            places[name] = (log.tail.end, log.last) if number is None else (number, event_id)
        self._make_sure_of_room(caller)
        listener = Listener(caller, self._sources, places, gap=gap)
        self._listeners.add(listener)
        if not caller.sees_all:
            for name, (number, _) in places.items():
                source = self._sources[name]
                for one in range(number, source.log.tail.end):
                    if (entry := source.log.tail.entry(one)) is not None:
                        source.owners.find(entry)
        return listener

    def _make_sure_of_room(self, caller: Caller) -> None:
        room, spared = self._limit - len(self._listeners), self._limit // SPARED
        if room <= 0:
            raise TooManyListeners(f"{self._limit} listen already (events.listeners).", retry_after=FULL)
        if room <= spared and caller != ANONYMOUS:
            own = sum(one.caller.name == caller.name for one in self._listeners)
            if own >= spared:
                text = f"This caller listens {own} times; what is left (of events.listeners) is for others."
                raise TooManyListeners(text, retry_after=FULL)

    def leave(self, listener: Listener) -> None:
        """Listen no more."""
        self._listeners.discard(listener)

    def ring(self) -> None:
        """There is something new: whoever listens looks."""
        for one in self._listeners:
            one.wake.set()

    def close(self) -> None:
        """All are to leave: this process is about to end."""
        self.closing = True
        self.ring()

    def _told_by(self, name: str) -> Callable[[Entry], None]:
        def tell(entry: Entry) -> None:
            if any(not one.caller.sees_all and name in one.names for one in self._listeners):
                self._sources[name].owners.find(entry)
            self.ring()

        return tell


async def _found(log: EventLog, event_id: str) -> int | None:
    """The number of the entry after this one; another replica may have told of it a moment ago."""
    if log.after(event_id) is None:
        await log.look()
    return log.after(event_id)


def _read(position: str) -> dict[str, str]:
    """Ids by the tags of their logs; what cannot be read is no position in any log."""
    if len(position) > MAX_POSITION:
        return {}
    parts = (part.strip().partition("-") for part in position.split(","))
    return {tag: event_id for tag, _, event_id in parts if event_id}
