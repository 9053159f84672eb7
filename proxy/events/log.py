"""What was heard of one credential's events: the latest of them, in the order of the log that all replicas share.

Each event in the log names what it follows. Who has not heard of that one has missed something, and reads the log
anew; so news that is lost or comes twice does no harm. Without Redis, and while it cannot be asked, a process goes on
with what it hears by itself; what others may have missed of that is told when Redis is back. Some of them then have
newer events already, after a gap: they leave out what comes too late.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.clock import no_lead
from proxy.events.entry import BEGINNING, Entry, entry_after, entry_of, order, write_entry
from proxy.events.place import LocalId, Place
from proxy.events.shared_log import SharedLog
from proxy.events.tail import Tail
from proxy.known.completion import Completion
from proxy.tasks.detached import Detached, wait_until_done

MAX_PENDING: Final = 1000
"""Events that are kept for others until Redis is back."""


class EventLog:
    """The log, as this process knows it.

    Args:
        clock: Unix seconds that do not step back; ``lead``: by how much they are ahead of the machine's.

    Attributes:
        on_entry: called with each new entry, after it can be read.
        tail: the entries that can be read.
        tag: what positions in this log begin with, so that those in another are not taken for them.
    """

    def __init__(self, clock: Callable[[], float], lead: Callable[[], float] = no_lead) -> None:
        self._clock = clock
        self._lead = lead
        self._shared: SharedLog | None = None
        self._last: str | None = None
        self._pending: deque[Entry] = deque()
        self._catching_up = Detached()
        self._task: asyncio.Task[None] | None = None
        self._behind = self._alone = False
        self._own = LocalId("", 0)
        self.on_entry: list[Callable[[Entry], None]] = []
        self.tail = Tail()
        self.tag = ""
        self.open(None)

    def open(self, shared: SharedLog | None) -> None:
        """Go over to a log in Redis, or to one of this process alone; what was known belongs to another."""
        self._shared = shared
        self._last = BEGINNING if shared is None else None
        self._behind = shared is not None
        self._pending.clear()
        self.tag = hashlib.blake2b((secrets.token_hex(8) if shared is None else shared.name).encode()).hexdigest()[:8]
        self._begin_run()
        base = Entry(self._clock(), None, id=self._last, own=self._own, follows=None if self._last else BEGINNING)
        self.tail.disown()
        if self.tail:
            self._add(base)
        self.tail.begin(base)

    @property
    def name(self) -> str:
        """Of the log in Redis; empty if there is none."""
        return "" if self._shared is None else self._shared.name

    @property
    def last(self) -> str:
        """The id of the latest entry."""
        return self._last or BEGINNING

    def after(self, place: Place) -> int | None:
        """The number of the entry that follows; None: what follows is not known here (any more)."""
        self.tail.forget(self._clock())
        return self.tail.after(place)

    async def append(self, completion: Completion | None) -> None:
        """This process has heard something of the hub, or that it may have missed something (None)."""
        entry = entry_of(self._clock(), completion, self._lead())
        entry.own = self._own = LocalId(self._own.run, self._own.number + 1)
        waiting = bool(self._pending)  # Redis may be back, but what comes before this is to be told before it
        if not waiting and await self._append_shared(entry):
            if self._behind:  # Redis has it, and it is to be read here first: who reads on here may not have had it
                self._begin_run()
            return
        if self._shared is None:
            entry.begins, event_id = self._last == BEGINNING, f"{self._own.number}-0"
            self._last = event_id if self._take(entry, event_id) else self._last
            return
        entry.late = waiting or completion is not None  # no gap that comes first: others have theirs
        if self._take(entry) and entry.late:
            self._pending.append(entry)
            if len(self._pending) > MAX_PENDING:
                self._trim_pending()
        self._alone = True
        if waiting:
            self._catch_up()

    def on_news(self, news: bytes) -> None:
        """Take in news of the log: ``<before> <id> <value>``.

        Raises:
            ValueError: it cannot be read.
        """
        before, event_id, value = news.split(b" ", 2)
        entry = entry_after(before.decode(), value, self._clock(), self._lead())
        self._arrive(before.decode(), event_id.decode(), entry)

    async def catch_up(self) -> None:
        """Read what may have been missed, if Redis can be asked; and tell what others may have missed."""
        task = self._catch_up()
        await wait_until_done(task)
        task.result()

    async def reread(self) -> None:
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

    def _catch_up(self) -> asyncio.Task[None]:
        """One for all who ask for it, so that nothing is told twice; it goes on until nothing is to be done."""
        if self._task is None or self._task.done():
            self._task = self._catching_up.spawn(self._read_and_append())
        return self._task

    async def _read_and_append(self) -> None:
        while self._shared is not None and (self._behind or self._pending):
            if not await (self._read(self._shared) if self._behind else self._append_pending()):
                break

    async def _append_pending(self) -> bool:
        self._trim_pending()
        entry = self._pending[0]
        appended = await self._append_shared(entry)
        if appended and self._pending and self._pending[0] is entry:  # else another log was opened, or it was full
            self._pending.popleft()
        return appended

    def _trim_pending(self) -> None:
        """What is not kept here any more is told to nobody else; a gap stands for it."""
        now, before = self._clock(), len(self._pending)
        self.tail.forget(now)
        while self._pending and not self.tail.holds(self._pending[0]):
            self._pending.popleft()
        if len(self._pending) < before:
            self._pending.appendleft(Entry(now, None, late=True))

    async def _append_shared(self, entry: Entry) -> bool:
        """Append to the log in Redis, and so tell all replicas."""
        if self._shared is None:
            return False
        completion = entry.completion
        appended = await self._shared.append(write_entry(entry), None if completion is None else completion.identity)
        if appended is None:
            return False
        if appended.before is not None and appended.id is not None:
            entry.begins = appended.before == BEGINNING and not entry.late
            self._arrive(appended.before, appended.id, entry)
        elif completion is not None and self.tail.known(entry) is None:
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
            self._last = BEGINNING
            if self.tail.end == self.tail.own:  # else what this process has heard comes before what is read now
                self.tail.base.id, self.tail.base.follows = BEGINNING, None
        elif self._last == last and last != BEGINNING and (not found or found[0][0] != last) and not self._alone:
            # The log was cut short, or is another. Who has heard the hub without it has missed nothing, or said so.
            self._add(Entry(self._clock(), None))
        self._alone = not found
        for event_id, value in found:
            if order(event_id) > order(self.last):
                entry = entry_after(self.last, value, self._clock(), self._lead())
                self._last = event_id
                self._take(entry, event_id)
        return True

    def _arrive(self, before: str, event_id: str, entry: Entry) -> None:
        """Something was appended to the log in Redis, by whomever."""
        if self._last is not None and order(event_id) <= order(self._last):
            return
        if before != self._last:  # or nothing has been read yet: what is being read may be of before this
            self.missed()
            return
        self._last, self._alone = event_id, False
        self._take(entry, event_id)

    def _take(self, entry: Entry, event_id: str | None = None) -> bool:
        """Add an entry, unless it is here already; return whether."""
        known = self.tail.known(entry)
        if event_id is not None:
            (known or entry).id = event_id
        if known is not None or (event_id is not None and self._leaves_out(entry)):
            return False
        self._add(entry)
        return True

    def _leaves_out(self, entry: Entry) -> bool:
        """Whether an entry of the log in Redis comes too late; what is missing for that, a gap tells of."""
        if entry.late and entry.completion is None:
            return self.tail.covers(entry)
        if not self.tail.overtakes(entry):
            return False
        if entry.completion is not None and not self.tail.covers(entry):
            self._add(Entry(self._clock(), None))
        return True

    def _begin_run(self) -> None:
        """What is heard from now on does not follow at once what was heard before."""
        self._own = LocalId(secrets.token_hex(4), 0)

    def _add(self, entry: Entry) -> None:
        if entry.id is None:
            entry.follows = self.last
            entry.own = entry.own or LocalId(secrets.token_hex(4), 0)
        self.tail.add(entry, self._clock())
        for tell in self.on_entry:
            tell(entry)
