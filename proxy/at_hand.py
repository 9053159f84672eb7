"""What can be answered from memory, without waiting for anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from proxy.ahead import Ahead
from proxy.demand import GRAIN, Demand
from proxy.directives import Directives
from proxy.freshness import MANY, Fresh, Gone, Stale
from proxy.kept import Kept
from proxy.knowledge import Knowledge
from proxy.outcome import Hit, StaleHit
from proxy.question import Question
from proxy.settings import CacheSettings


class Place(Protocol):
    """A question, and where memory keeps the page that is its answer, if that is known."""

    question: Question
    kept: Kept | None


class Grounds(Struct, frozen=True, gc=False):
    """What a hit stands on: while that is so, the page may be served again, and all that is said of it is the same.

    From ``since`` until ``until``, Unix seconds, and for as long as ``changes`` have not moved on.
    """

    kept: Kept
    changes: int
    since: float
    until: float


class AtHand:
    """Serves pages that are kept.

    Args:
        demand: is told what callers ask.
        ahead: refreshes pages that are due.
        clock: Unix seconds.

    Attributes:
        repeated: whether the page that ``again`` served last had been asked for in this tick before.
    """

    def __init__(
        self, cache: CacheSettings, knowledge: Knowledge, demand: Demand, ahead: Ahead, *, clock: Callable[[], float]
    ) -> None:
        self._settings = cache
        self._known = knowledge
        self._judging = knowledge.judging
        self._demand = demand
        self._ahead = ahead
        self._clock = clock
        self._tick = 0.0
        self._busy = ""
        self.repeated = False

    def answer(self, question: Question, wishes: Directives) -> Hit | StaleHit | None:
        """The page in memory, if it may be trusted and is what the caller asks for."""
        self._demand.note(question)
        return self.kept(question, wishes, "memory") if self._known.trust.together else None

    def slot(self, question: Question) -> Kept | None:
        """Where memory keeps the page, for ``again``: it empties that when the page goes."""
        return self._known.slot(question.key)

    def again(self, place: Place) -> Hit | None:
        """As ``answer`` without wishes, of a place that was asked for before; None: nothing is sure any more.

        That is what nearly all hits are, and it costs them a third: nothing is looked up, and judged is the time.
        """
        self.repeated = False
        kept = place.kept
        if kept is None or not self._known.trust.together:
            return None
        now = self._clock()
        hit = kept.again(now, self._judging.changes)
        if not 0 <= now - self._tick < GRAIN:
            self._tick, self._busy = now, ""
        if hit is None:
            return None
        # The objects are compared: to compare what they say, and to look at the question, would touch what is cold.
        if kept.noted is self._tick:
            self.repeated = True
        else:
            kept.noted = self._tick
            if kept.listing is not self._busy:
                self._note(place.question, kept.listing, now)
        return hit

    def _note(self, question: Question, listing: str, now: float) -> None:
        """A caller asks, for the first time in this tick."""
        if self._demand.busy(listing, now):
            self._busy = listing  # for the rest of the tick
        else:
            self._demand.note(question)

    def grounds(self, kept: Kept, hit: Hit) -> Grounds:
        """What a hit stands on that ``again`` has just found: for this tick, and while its age and ttl are the same."""
        term, now = kept.term, self._clock()
        next_second = term.vouched_at + int(hit.age) + 1
        until = min(self._tick + GRAIN, term.due_at, next_second, term.fresh_until - math.floor(hit.ttl))
        return Grounds(kept, kept.reckoned, now, until)

    def hold(self, grounds: Grounds) -> bool:
        """Whether the page may be served once more as it was then; it counts as served."""
        kept = grounds.kept
        if not grounds.since <= self._clock() < grounds.until or not self._known.trust.together:
            return False
        if not kept.reckoned == grounds.changes == self._judging.changes or kept.shown == MANY:
            return False
        kept.shown += 1
        return True

    def kept(self, question: Question, wishes: Directives, source: Literal["memory", "redis"]) -> Hit | StaleHit | None:
        """The page that is kept, wherever it came from, if it is what the caller asks for."""
        page, verdict = self._known.kept(question)
        if page is None or not wishes.accept(verdict, self._settings.min_refresh):
            return None
        match verdict:
            case Fresh(ttl, age, due=due):
                if due:
                    self._ahead.start(question, page)
                return Hit(page, age, ttl, "composed" if page.composed else source)
            case Stale(ttl, age):
                return StaleHit(page, age, ttl, "allowed")
            case Gone():
                return None
