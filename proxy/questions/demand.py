"""Which questions callers have asked in the last few seconds, by listing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeAlias

from proxy.questions.question import Question
from proxy.text_cache import MAX_CHARACTERS

DEMAND_SECONDS: Final = 3.0
"""Seconds after which a question that nobody asks again is in demand no more, and not worth a request of its own."""
BATCH_SECONDS: Final = 10.0
"""Seconds for which it counts where the hub is asked anyway, and may be asked so that this page is answered too."""
TICK: Final = 0.1
"""Seconds in which a question that is asked again is not noted again: busy ones are asked thousands of times."""
MAX_LISTINGS: Final = 4096
MAX_PER_LISTING: Final = 32
"""Listings, and questions of each, that are remembered: those asked last."""
MAX_REMEMBERED: Final = 8192
"""Questions that are remembered in all (measured: about 900 bytes each)."""
MAX_IN_DEMAND: Final = 1000
"""Questions that are in demand at the most, as each may want something done."""

PageAndSize: TypeAlias = tuple[int, int]
"""Number and size of a page."""


class Demand:
    """The questions in demand.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: OrderedDict[str, dict[str, tuple[Question, float]]] = OrderedDict()
        self._count = 0

    def busy(self, listing: str, now: float) -> bool:
        """Whether as many questions of a listing as are remembered have just been asked: another is not noted."""
        asked = self._asked.get(listing)
        if asked is None or len(asked) < MAX_PER_LISTING:
            return False
        return 0 <= now - next(iter(asked.values()))[1] < TICK

    def note(self, question: Question) -> None:
        """A caller asks. A question that is longer than anybody's need is in no demand: callers can make up many."""
        now, listing, key = self._clock(), question.listing, question.key
        if self.busy(listing, now) or len(key) > MAX_CHARACTERS:
            return
        asked = self._asked.get(listing)
        if asked is None:
            asked = self._asked[listing] = {}
        elif (before := asked.get(key)) is not None:
            if 0 <= now - before[1] < TICK:
                return
            del asked[key]
            self._count -= 1
        asked[key] = question, now
        self._count += 1
        self._asked.move_to_end(listing)
        if len(asked) > MAX_PER_LISTING:
            del asked[next(iter(asked))]
            self._count -= 1
        while len(self._asked) > MAX_LISTINGS or self._count > MAX_REMEMBERED:
            self._count -= len(self._asked.popitem(last=False)[1])

    def in_demand(self) -> Iterator[Question]:
        """The questions in demand, those of the listing asked for last first."""
        return islice(self._in_demand(), MAX_IN_DEMAND)

    def has(self, question: Question) -> bool:
        """Whether the question is in demand."""
        found = self._asked.get(question.listing, {}).get(question.key)
        return found is not None and found[1] >= self._clock() - DEMAND_SECONDS

    def pages(self, listing: str) -> list[PageAndSize]:
        """The pages of a listing that are worth to be answered by one answer of the hub."""
        oldest = self._clock() - BATCH_SECONDS
        asked = self._asked.get(listing, {}).values()
        return [(question.page, question.page_size) for question, at in asked if at > oldest]

    def _in_demand(self) -> Iterator[Question]:
        oldest = self._clock() - DEMAND_SECONDS
        for asked in list(reversed(self._asked.values())):
            recent = [question for question, at in reversed(asked.values()) if at >= oldest]
            if not recent:
                return  # the others were asked for before this one
            yield from recent
