"""What has happened in the last minutes, as the status page shows it: a ring of samples, busy listings, faults.

Of bounded size whatever callers send, and cheap: a request costs two look-ups.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.hub.client import HubCall
from proxy.web.telemetry.event import RequestEvent

INTERVAL: Final = 5
"""Seconds of a sample. They begin at multiples of it, so that those of all replicas can be added up."""
SAMPLES: Final = 120
MINUTE: Final = 60 // INTERVAL
"""Samples over which listings' requests are counted."""
LISTINGS: Final = 300
"""Listings that are told apart at once; requests for further ones are counted, but not by listing."""
MAX_SHOWN: Final = 20
"""Listings and faults that are told."""
QUESTIONS: Final = frozenset({"list", "generation", "queue", "queued"})


class Sample(Struct):
    """What was counted from ``at`` (Unix seconds) on, for INTERVAL seconds.

    Attributes:
        requests: by ``hit``, ``stale``, ``joined``, ``miss``, ``refused`` (4xx) and ``failed`` (5xx).
        hub: by status; ``none`` where there was no answer.
        slowest: seconds of the slowest answer to a caller.
    """

    at: int
    requests: dict[str, int]
    hub: dict[str, int]
    slowest: float = 0.0


class ListingActivity(Struct):
    """A listing that was asked for in the last minute.

    Attributes:
        asked: how often.
        age: seconds since the hub vouched for what was served last.
        outcome: of that.
        asked_at: when that was, Unix seconds.
    """

    listing: str
    endpoint: str
    filters: str
    asked: int
    age: float
    outcome: str
    asked_at: float


class FaultActivity(Struct):
    """Something that went wrong, how often since the start, and when last. ``where``: ``hub`` or ``callers``."""

    where: str
    what: str
    times: int
    last_at: float


class Totals(Struct):
    """Since the start: pages served, and requests to the hub."""

    pages: int = 0
    hub: int = 0


class Activity(Struct):
    """All of it, of one process."""

    samples: list[Sample]
    listings: list[ListingActivity]
    faults: list[FaultActivity]
    totals: Totals


class Samples:
    """Two sinks, and what they have taken in.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ring: deque[Sample] = deque(maxlen=SAMPLES - 1)
        self._current = Sample(0, {}, {})
        self._until = 0.0
        self._asked: deque[Counter[str]] = deque([Counter()], maxlen=MINUTE)
        self._last: dict[str, tuple[RequestEvent, float]] = {}
        self._faults: dict[tuple[str, str], FaultActivity] = {}
        self._totals = Totals()

    def note(self, events: Sequence[RequestEvent]) -> None:
        """Take in requests."""
        for event in events:
            self._note(event)

    def _note(self, event: RequestEvent) -> None:
        if event.info.endpoint not in QUESTIONS:
            return
        now, outcome = self._clock(), event.outcome
        current = self._sample(now)
        if event.age is None:
            outcome = "failed" if event.status >= 500 or not event.status else "refused"
            if outcome == "failed":
                self._fault("callers", event.outcome)
        else:
            self._totals.pages += 1
            if event.info.listing in self._last or len(self._last) < LISTINGS:
                self._asked[-1][event.info.listing] += 1
                self._last[event.info.listing] = (event, now)
        current.requests[outcome] = current.requests.get(outcome, 0) + 1
        current.slowest = max(current.slowest, event.seconds)

    def note_hub(self, call: HubCall) -> None:
        """Take in a request to the hub."""
        current, status = self._sample(self._clock()), str(call.status or "none")
        current.hub[status] = current.hub.get(status, 0) + 1
        self._totals.hub += 1
        if call.failure and call.status != 404:
            self._fault("hub", call.failure)

    def activity(self) -> Activity:
        """Everything up to now; the sample that is being taken is the last one."""
        samples = [*self._ring, self._sample(self._clock())]
        asked: Counter[str] = sum(self._asked, Counter())
        listings = [
            ListingActivity(
                name, event.info.endpoint, event.info.filters, asked[name], event.age or 0.0, event.outcome, at
            )
            for name, (event, at) in self._last.items()
        ]
        return Activity(samples, _busiest(listings), _latest(self._faults.values()), self._totals)

    def _sample(self, now: float) -> Sample:
        """The sample that ``now`` belongs to."""
        if now >= self._until:
            begins = int(now // INTERVAL) * INTERVAL
            if self._current.at:
                self._ring.append(self._current)
            for _ in range(min(MINUTE, int(begins - self._until) // INTERVAL + 1)):
                self._asked.append(Counter())
            self._last = {name: last for name, last in self._last.items() if any(name in one for one in self._asked)}
            self._current = Sample(begins, {}, {})
            self._until = begins + INTERVAL
        return self._current

    def _fault(self, where: str, what: str) -> None:
        known = self._faults.setdefault((where, what), FaultActivity(where, what, 0, 0.0))
        known.times += 1
        known.last_at = self._clock()


def merged(activities: list[Activity]) -> Activity:
    """What several processes tell, as one."""
    samples: dict[int, Sample] = {}
    listings: dict[str, ListingActivity] = {}
    faults: dict[tuple[str, str], FaultActivity] = {}
    totals = Totals()
    for one in activities:
        for sample in one.samples:
            into = samples.setdefault(sample.at, Sample(sample.at, {}, {}))
            into.requests = dict(Counter(into.requests) + Counter(sample.requests))
            into.hub = dict(Counter(into.hub) + Counter(sample.hub))
            into.slowest = max(into.slowest, sample.slowest)
        for listing in one.listings:
            known = listings.get(listing.listing, listing)
            later = max(listing, known, key=lambda one: one.asked_at)
            asked = listing.asked + (0 if known is listing else known.asked)
            listings[listing.listing] = replace(later, asked=asked)
        for fault in one.faults:
            seen = faults.setdefault((fault.where, fault.what), FaultActivity(fault.where, fault.what, 0, 0.0))
            seen.times += fault.times
            seen.last_at = max(seen.last_at, fault.last_at)
        totals.pages += one.totals.pages
        totals.hub += one.totals.hub
    in_order = sorted(samples.values(), key=lambda one: one.at)[-SAMPLES:]
    return Activity(in_order, _busiest(listings.values()), _latest(faults.values()), totals)


def _busiest(listings: Iterable[ListingActivity]) -> list[ListingActivity]:
    return sorted(listings, key=lambda one: one.asked, reverse=True)[:MAX_SHOWN]


def _latest(faults: Iterable[FaultActivity]) -> list[FaultActivity]:
    return sorted(faults, key=lambda one: one.last_at, reverse=True)[:MAX_SHOWN]
