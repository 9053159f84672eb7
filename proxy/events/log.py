"""What was heard of one credential's events: the latest of them, in the order of the log that all replicas share.

Each event in the log names what it follows. Who has not heard of that one has missed something, and reads the log
anew; so news that is lost or comes twice does no harm. Without Redis, and while it cannot be asked, a process goes on
with what it hears by itself; what others may have missed of that is told when Redis is back.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.events.entry import BEGINNING, Entry, entry_after, entry_of, order, write_entry
from proxy.events.shared_log import KEPT, KEPT_FOR, SharedLog
from proxy.known.completion import Completion
from proxy.tasks.detached import Detached, ended

KEPT_BYTES: Final = 4 * 2**20
"""Bytes of events that a process keeps of one log."""
UNTOLD: Final = 1000
"""Events that are kept for others until Redis is back."""


class EventLog:
    """The end of a log.

    Args:
        clock: Unix seconds.

    Attributes:
        on_entry: called with each new entry, after it can be read.
        first, end: the entries that can be read are numbered from ``first``, and ``end`` is the next one's number.
        tag: what positions in this log begin with, so that those in another are not taken for them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shared: SharedLog | None = None
        self._entries: deque[Entry] = deque()
        self._known: dict[str, Entry] = {}
        self._last: str | None = None
        self._base: str | None = None
        self._untold: deque[Entry] = deque(maxlen=UNTOLD)
        self._catching_up = Detached()
        self._task: asyncio.Task[None] | None = None
        self._behind = False
        self._bytes = 0
        self._number = self._own = 0
        self.on_entry: list[Callable[[Entry], None]] = []
        self.first = 0
        self.tag = ""
        self.open(None)

    def open(self, shared: SharedLog | None) -> None:
        """Go over to a log in Redis, or to one of this process alone; what was known belongs to another."""
        fresh = not self._entries
        self._shared = shared
        self._last = self._base = BEGINNING if shared is None else None
        self._behind = shared is not None
        self._untold.clear()
        self.tag = hashlib.blake2b((secrets.token_hex(8) if shared is None else shared.name).encode()).hexdigest()[:8]
        for entry in self._entries:
            entry.id = None
        if not fresh:
            self._add(Entry(self._clock(), None))
        self._own = self.end  # what comes before is another log's, and is read on from only by who was there

    @property
    def name(self) -> str:
        """Of the log in Redis; empty if there is none."""
        return "" if self._shared is None else self._shared.name

    @property
    def end(self) -> int:
        """The number of the next entry."""
        return self.first + len(self._entries)

    @property
    def last(self) -> str:
        """The id of the latest entry."""
        return self._last or BEGINNING

    def entry(self, number: int) -> Entry | None:
        """The entry of that number, if it can still be read."""
        return self._entries[number - self.first] if self.first <= number < self.end else None

    def after(self, event_id: str) -> int | None:
        """The number of the entry that follows this one; None: it is not known here (any more)."""
        self._forget()
        if event_id == self._last:
            return self.end
        for offset, entry in enumerate(self._entries):
            if entry.id == event_id:
                return self.first + offset + 1
        return max(self.first, self._own) if event_id == self._base else None

    async def append(self, heard: Completion | None) -> None:
        """This process has heard something of the hub, or that it may have missed something (None)."""
        entry = entry_of(self._clock(), heard)
        if await self._tell(entry):
            return
        if self._shared is None:
            entry.begins = self._last == BEGINNING
            event_id = f"{self._number + 1}-0"
            if self._take(entry, event_id):
                self._number, self._last = self._number + 1, event_id
        elif self._take(entry) and heard is not None:
            self._untold.append(entry)

    def hear(self, news: bytes) -> None:
        """Take in news of the log: ``<before> <id> <value>``.

        Raises:
            ValueError: it cannot be read.
        """
        before, event_id, value = news.split(b" ", 2)
        entry = entry_after(before.decode(), value, self._clock())
        self._arrive(before.decode(), event_id.decode(), entry)

    async def catch_up(self) -> None:
        """Read what may have been missed, if Redis can be asked; and tell what others may have missed."""
        task = self._catch_up()
        await ended(task)
        task.result()

    async def look(self) -> None:
        """Read what Redis has, whatever news there was."""
        self._behind = self._shared is not None
        await self.catch_up()

    def missed(self) -> None:
        """News may have been lost."""
        self._behind = self._shared is not None
        self._catch_up()

    async def aclose(self, timeout: float) -> None:
        """Ask Redis no more, whatever news of a gap the end brings; wait at most ``timeout`` seconds for who does."""
        self._shared = None
        await self._catching_up.drain(timeout)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is being read."""
        return await self._catching_up.drain(timeout)

    def _catch_up(self) -> asyncio.Task[None]:
        """One for all who ask for it, so that nothing is told twice; it goes on until nothing is to be done."""
        if self._task is None or self._task.done():
            self._task = self._catching_up.spawn(self._read_and_tell())
        return self._task

    async def _read_and_tell(self) -> None:
        while self._shared is not None and (self._behind or self._untold):
            if not await (self._read(self._shared) if self._behind else self._tell_others()):
                break

    async def _tell_others(self) -> bool:
        entry = self._untold[0]
        told = await self._tell(entry)
        if told and self._untold and self._untold[0] is entry:  # else another log was opened, or there were too many
            self._untold.popleft()
        return told

    async def _tell(self, entry: Entry) -> bool:
        """Append to the log in Redis, and so tell all replicas."""
        if self._shared is None:
            return False
        heard = entry.completion
        appended = await self._shared.append(write_entry(entry), None if heard is None else heard.identity)
        if appended is None:
            return False
        if appended.before is not None and appended.id is not None:
            entry.begins = appended.before == BEGINNING
            self._arrive(appended.before, appended.id, entry)
        elif heard is not None and heard.identity not in self._known:
            self.missed()  # another has told of it, and it is not known here yet
        return True

    async def _read(self, shared: SharedLog) -> bool:
        """Read what is new; return whether Redis could be asked."""
        last = self._last
        self._behind = False  # before it is asked: what is missed from now on may not be in its answer
        found = await shared.since(last or "-")
        if shared is not self._shared:
            return True
        if found is None:
            self._behind = True
            return False
        if last is None:
            self._last = self._base = BEGINNING
        elif self._last == last and last != BEGINNING and (not found or found[0][0] != last):
            self._add(Entry(self._clock(), None))  # the log was cut short, or is another
        for event_id, value in found:
            if order(event_id) > order(self.last):
                entry = entry_after(self.last, value, self._clock())
                self._last = event_id
                self._take(entry, event_id)
        return True

    def _arrive(self, before: str, event_id: str, entry: Entry) -> None:
        """Something was appended to the log in Redis, by whomever."""
        if self._last is None or order(event_id) <= order(self._last):
            return
        if before != self._last:
            self.missed()
            return
        self._last = event_id
        self._take(entry, event_id)

    def _take(self, entry: Entry, event_id: str | None = None) -> bool:
        """Add an entry, unless it is here already; return whether."""
        known = None if entry.completion is None else self._known.get(entry.completion.identity)
        if event_id is not None:
            (known or entry).id = event_id
        if known is not None:
            return False
        if entry.completion is not None:
            self._known[entry.completion.identity] = entry
        self._add(entry)
        return True

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size
        self._forget()
        for tell in self.on_entry:
            tell(entry)

    def _forget(self) -> None:
        """Drop what is too old, or too much, or holds a dead link; and what came before that."""
        now = self._clock()
        dead = [number for number, one in enumerate(self._entries) if one.dead_at is not None and one.dead_at <= now]
        kept = len(self._entries) - (dead[-1] + 1 if dead else 0)
        while self._entries and (
            len(self._entries) > min(kept, KEPT) or self._bytes > KEPT_BYTES or self._entries[0].at < now - KEPT_FOR
        ):
            gone = self._entries.popleft()
            self.first += 1
            self._bytes -= gone.size
            self._base = gone.id or self._base
            if gone.completion is not None:
                self._known.pop(gone.completion.identity, None)
