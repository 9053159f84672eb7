"""Events for callers: who listens, and from where on.

A listener comes back with the place that it had in the log of each credential that may serve it, and reads on from
there; where that is not known, it is told of a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from proxy.callers.caller import ANONYMOUS, Caller
from proxy.errors import TooManyListeners
from proxy.events.entry import Entry, order
from proxy.events.listener import Listener, Source
from proxy.events.log import EventLog
from proxy.events.place import NOWHERE, Place, read_place

MAX_POSITION: Final = 16 * 1024
"""Characters of a position that are read; a log takes about 30."""
RESERVE_DIVISOR: Final = 10
"""The last of so many parts of the places is for callers who have not taken as much yet: one who opens connections
without end leaves some to the others. Without callers' authentication, all are one."""
RETRY_AFTER: Final = 5.0
"""Seconds after which those may come again for whom there was no room."""


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
            source.log.on_entry.append(self._notifier(name))

    def __len__(self) -> int:
        return len(self._listeners)

    async def join(self, caller: Caller, names: Iterable[str], last: str | None) -> Listener:
        """Begin to listen to the events of these credentials, after the position ``last`` if there is one.

        Raises:
            TooManyListeners: there is no room for another.
        """
        places: dict[str, tuple[int, Place]] = {}
        had: dict[str, Place] = {}
        gap = False
        known = _read_position(last or "")
        for name in names:
            log = self._sources[name].log
            place = known.get(log.tag)
            number = None if place is None else await _found(log, place)
            gap = gap or (last is not None and number is None)
            if place is not None and number is not None:
                places[name] = number, place
            elif place is not None and _may_come(log, place):
                places[name], had[name] = (log.tail.end, place), place
            else:
                places[name] = log.tail.end, log.tail.place
        self._make_sure_of_room(caller)
        listener = Listener(caller, self._sources, places, had, gap=gap)
        self._listeners.add(listener)
        if not caller.sees_all:
            for name, (number, _) in places.items():
                source = self._sources[name]
                for one in range(number, source.log.tail.end):
                    if (entry := source.log.tail.entry(one)) is not None:
                        source.owners.find(entry)
        return listener

    def _make_sure_of_room(self, caller: Caller) -> None:
        room, reserved = self._limit - len(self._listeners), self._limit // RESERVE_DIVISOR
        if room <= 0:
            raise TooManyListeners(f"{self._limit} listen already (events.listeners).", retry_after=RETRY_AFTER)
        if room <= reserved and caller != ANONYMOUS:
            own = sum(one.caller.name == caller.name for one in self._listeners)
            if own >= reserved:
                text = f"This caller listens {own} times; what is left (of events.listeners) is for others."
                raise TooManyListeners(text, retry_after=RETRY_AFTER)

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

    def _notifier(self, name: str) -> Callable[[Entry], None]:
        def notify(entry: Entry) -> None:
            if any(not one.caller.sees_all and name in one.names for one in self._listeners):
                self._sources[name].owners.find(entry)
            self.ring()

        return notify


async def _found(log: EventLog, place: Place) -> int | None:
    """The number of the entry that follows; another replica may have told of it a moment ago."""
    if log.after(place) is None:
        await log.reread()
    return log.after(place)


def _may_come(log: EventLog, place: Place) -> bool:
    """Whether an entry that is not known here may become so; else it is too old."""
    return place.own is not None or order(place.id) > order(log.last)


def _read_position(position: str) -> dict[str, Place]:
    """Places by the tags of their logs; what cannot be read is no position in any log."""
    if len(position) > MAX_POSITION:
        return {}
    parts = (part.strip().partition("-") for part in position.split(","))
    places = ((tag, read_place(place)) for tag, _, place in parts)
    return {tag: place for tag, place in places if place != NOWHERE}
