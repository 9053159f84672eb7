"""Lookups in Redis, each for all who ask the same: one that finds nothing of use begins the fetch at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from proxy.answer.directives import Directives
from proxy.answer.freshness import oldest_fresh
from proxy.fetch_queue import FetchQueue, StartedFetch
from proxy.known.knowledge import Knowledge
from proxy.memory_hits import MemoryHits
from proxy.questions.question import Question
from proxy.settings import CacheSettings
from proxy.tasks.flight import Flights


class LookupResult(Struct, frozen=True):
    """What a lookup in Redis led to: whether Redis answered, and the fetch that it began."""

    answered: bool
    started: StartedFetch | None


class Lookups:
    """Has memory know what Redis has.

    Args:
        to_ask: the question to the hub whose answer serves this one.
        wait: seconds that a caller's question that is not known here may wait for its turn at Redis.
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
        wait: float,
        clock: Callable[[], float],
    ) -> None:
        self._settings = cache
        self._known = knowledge
        self._queue = queue
        self._memory_hits = memory_hits
        self._to_ask = to_ask
        self._longest_wait = wait
        self._clock = clock
        self._flights: Flights[LookupResult] = Flights()

    async def look_up(self, question: Question, directives: Directives | None = None) -> tuple[LookupResult, bool]:
        """Look a question up in Redis, or join who does; return what that led to, and whether another had begun it.

        ``directives``: a caller's. If nothing in Redis can be what it wants, as nothing in memory was, a fetch begins.

        Raises:
            HubBusy: so much is asked that a caller's question has not had its turn in time.
        """
        return await self._flights.share(question.key, partial(self._look_up, question, directives))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the lookups under way; return how many go on."""
        return await self._flights.drain(timeout)

    async def _look_up(self, question: Question, directives: Directives | None) -> LookupResult:
        claim = None
        if directives is not None and self._known.trust.in_sync and not (directives.only_if_cached or self._queue.full):
            useless = oldest_fresh(self._clock(), self._settings, single=question.single)
            claim = self._queue.claim(self._to_ask(question), useless if directives.max_stale <= 0 else (0.0, 0.0))
        since = self._known.judging.vouched(question)
        known = directives is None or self._memory_hits.cached(question) is not None
        found = await self._known.look_up(question, claim, None if known else self._longest_wait)
        if found is not None:
            self._memory_hits.note_lookup(question)
        if claim is None or (found is not None and not found.leased):
            return LookupResult(found is not None, None)
        claim = claim.unanswered() if found is None else claim.taken(found.turn)
        return LookupResult(found is not None, self._queue.begin(claim, since=since))
