"""Lookups in Redis, each for all who ask the same: one that finds nothing of use begins the fetch at once.

What this process knows nothing of waits for room: of such lookups there are few at a time, so that in a flood of new
questions known pages, news and leases have their turn at Redis at once. What Redis knows has the next free place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import Final

from msgspec import Struct

from proxy.answer.directives import Directives
from proxy.answer.freshness import oldest_fresh
from proxy.errors import RETRY_AFTER, TooManyLookups
from proxy.fetch_queue import FetchQueue, StartedFetch, Wait
from proxy.known.knowledge import Knowledge
from proxy.memory_hits import MemoryHits
from proxy.questions.question import Question
from proxy.redis.allotment import unallotted
from proxy.settings import CacheSettings
from proxy.tasks.deadlines import half_left
from proxy.tasks.detached import Detached, drain_all, wait_until_done
from proxy.tasks.flight import Flights
from proxy.tasks.priority_semaphore import PrioritySemaphore

MOST_NEW: Final = 64
"""Lookups at once of what this process knows nothing of: as many as there are calls to Redis at once."""
CHECKED_AT_ONCE: Final = 128
"""Questions of which one call finds out whether Redis has anything of them; Redis does nothing else meanwhile."""


class LookupResult(Struct, frozen=True):
    """What a lookup in Redis led to: whether Redis answered, and the fetch that it began."""

    answered: bool
    started: StartedFetch | None


class Lookups:
    """Has memory know what Redis has.

    Args:
        to_ask: the question to the hub whose answer serves this one.
        clock: Unix seconds.
    """

    def __init__(
        self,
        cache: CacheSettings,
        knowledge: Knowledge,
        queue: FetchQueue,
        memory_hits: MemoryHits,
        to_ask: Callable[[Question], Question],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = cache
        self._known = knowledge
        self._queue = queue
        self._memory_hits = memory_hits
        self._to_ask = to_ask
        self._clock = clock
        self._flights: Flights[LookupResult] = Flights()
        self._room = PrioritySemaphore(MOST_NEW)
        self._waiting: set[str] = set()
        self._unchecked: dict[str, Question] = {}
        self._checks = False
        self._checking = Detached()

    async def look_up(
        self,
        question: Question,
        directives: Directives | None = None,
        wait: Wait | None = None,
    ) -> tuple[LookupResult, bool]:
        """Look a question up in Redis, or join who does; return what that led to, and whether another had begun it.

        ``directives``: a caller's. If nothing in Redis can be what it wants, as nothing in memory was, a fetch begins.
        ``wait``: of a caller, who waits for room where nothing is known of the question here: for half of its time, the
        fetch has the rest; for its patience, if none is to begin. None: it is part of what has been begun.

        Raises:
            TooManyLookups: there was no room in that time.
        """
        look_up = partial(self._look_up, question, directives, math.inf if wait is None else wait.until)
        if wait is not None and not wait.reserved and self._known.judging.best(question, suspect=True)[0] is None:
            seconds = self._settings.patience if directives is None else half_left(wait.until)
            return await self._share_room(question, look_up, seconds)
        if question.key in self._waiting:  # for room, as it is new to whoever asked: not to be waited for here
            return await look_up(), False
        return await self._flights.share(question.key, look_up)

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the lookups under way; return how many go on."""
        return await drain_all(timeout, self._flights, self._checking)

    async def _share_room(
        self, question: Question, look_up: Callable[[], Awaitable[LookupResult]], seconds: float
    ) -> tuple[LookupResult, bool]:
        """Wait for room, or with another who waits for it, who may have less time than this one or more."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while True:
            work = partial(self._in_turn, question, look_up, max(0.0, until - now()))
            task, joined = self._flights.join(question.key, work)
            if not await wait_until_done(task, max(0.0, until - now()) if joined else None):
                if question.key in self._waiting:
                    raise _no_room(seconds)
                await wait_until_done(task)
            try:
                return task.result(), joined
            except TooManyLookups:
                if not joined or now() >= until:
                    raise

    async def _in_turn(
        self, question: Question, look_up: Callable[[], Awaitable[LookupResult]], wait: float
    ) -> LookupResult:
        self._waiting.add(question.key)
        if self._room.locked():
            self._unchecked[question.key] = question
            if not self._checks:  # its task may not be known to have ended
                self._checks = True
                self._checking.spawn(self._check())
        try:
            async with asyncio.timeout(wait):
                await self._room.acquire(question.key)
        except TimeoutError:
            raise _no_room(wait) from None
        finally:
            self._waiting.discard(question.key)
            self._unchecked.pop(question.key, None)
        try:
            return await look_up()
        finally:
            self._room.release()

    async def _check(self) -> None:
        """Have those come first of which Redis has something: else hits there would wait behind all misses.

        That is found out of many with one call.
        """
        unallotted()
        try:
            while some := list(islice(self._unchecked.values(), CHECKED_AT_ONCE)):
                for one in some:
                    del self._unchecked[one.key]
                self._room.prefer(await self._known.kept(some))
        finally:
            self._checks = False

    async def _look_up(self, question: Question, directives: Directives | None, until: float) -> LookupResult:
        claim = None
        if directives is not None and self._known.trust.in_sync and not (directives.only_if_cached or self._queue.full):
            useless = oldest_fresh(self._clock(), self._settings, single=question.single)
            useless = useless if directives.max_stale <= 0 else (0.0, 0.0)
            claim = self._queue.claim(self._to_ask(question), useless, until=until)
        since = self._known.judging.vouched(question)
        found = await self._known.look_up(question, claim)
        if found is not None:
            self._memory_hits.note_lookup(question)
        if claim is None or (found is not None and not found.leased):
            return LookupResult(found is not None, None)
        claim = claim.unanswered() if found is None else claim.taken(found.turn)
        return LookupResult(found is not None, self._queue.begin(claim, since=since, until=until))


def _no_room(seconds: float) -> TooManyLookups:
    text = f"{MOST_NEW} questions that are new to this process were being looked up for {seconds:.3g} s."
    return TooManyLookups(text, retry_after=RETRY_AFTER)
