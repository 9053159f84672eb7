"""Completions, what a log of events holds of them, and a log that is in Redis's place."""

from __future__ import annotations

import uuid

from proxy.events.entry import Entry, order
from proxy.events.log import EventLog
from proxy.events.shared_log import Appended, SharedLog
from proxy.known import completion
from proxy.known.completion import Completion


def done(number: int = 0, url: str = "https://x") -> Completion:
    generation = uuid.UUID(int=number)
    return completion.read(f'{{"generation_id": "{generation}", "status": "succeeded", "url": "{url}"}}')


def ids(log: EventLog) -> list[int | None]:
    entries = [log.tail.entry(number) for number in range(log.tail.first, log.tail.end)]
    return [None if one.completion is None else uuid.UUID(one.completion.generation_id).int for one in entries if one]


class Redis(SharedLog):
    """A log in memory that is told as one in Redis is, and can be away. Its news goes nowhere by itself."""

    def __init__(self, entries: list[tuple[str, bytes]], seen: set[str], news: list[bytes]) -> None:
        self.name = "log"
        self.entries, self.seen, self.news = entries, seen, news
        self.away = False
        self.trimmed = 0

    async def append(self, value: bytes, identity: str | None) -> Appended | None:
        if self.away:
            return None
        if identity is not None and identity in self.seen:
            return Appended(None, None)
        self.seen |= {identity} if identity else set()
        before = self.entries[-1][0] if self.entries else "0-0"
        event_id = f"{max(order(before)[0], len(self.news)) + 1}-0"
        self.entries.append((event_id, value))
        self.news.append(b"%b %b %b" % (before.encode(), event_id.encode(), value))
        return Appended(before, event_id)

    async def since(self, last: str) -> list[tuple[str, bytes]] | None:
        if self.away:
            return None
        found = self.entries[self.trimmed :]
        return found if last == "-" else [one for one in found if order(one[0]) >= order(last)]


class NoOwners:
    """Finds out nothing."""

    def find(self, entry: Entry) -> None:
        pass
