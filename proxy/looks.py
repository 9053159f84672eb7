"""Looks into Redis, each for all who ask the same: one that finds nothing of use begins the fetch at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from proxy.answer.directives import Directives
from proxy.answer.freshness import oldest_fresh
from proxy.at_hand import AtHand
from proxy.known.knowledge import Knowledge
from proxy.line import Begun, Line
from proxy.questions.question import Question
from proxy.settings import CacheSettings
from proxy.tasks.flight import Flights


class Looked(Struct, frozen=True):
    """What a look into Redis led to: whether Redis answered, and the fetch that it began."""

    answered: bool
    begun: Begun | None


class Looks:
    """Has memory know what Redis has.

    Args:
        to_ask: the question to the hub whose answer serves this one.
        clock: Unix seconds.
    """

    def __init__(
        self,
        cache: CacheSettings,
        knowledge: Knowledge,
        line: Line,
        at_hand: AtHand,
        to_ask: Callable[[Question], Question],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = cache
        self._known = knowledge
        self._line = line
        self._at_hand = at_hand
        self._to_ask = to_ask
        self._clock = clock
        self._flights: Flights[Looked] = Flights()

    async def look(self, question: Question, wishes: Directives | None = None) -> tuple[Looked, bool]:
        """Look into Redis, or join who does; return what that led to, and whether another had begun it.

        ``wishes``: of a caller. If nothing in Redis can be what it wishes, as nothing in memory was, a fetch is begun.
        """
        return await self._flights.share(question.key, partial(self._look, question, wishes))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the looks under way; return how many go on."""
        return await self._flights.drain(timeout)

    async def _look(self, question: Question, wishes: Directives | None) -> Looked:
        claim = None
        if wishes is not None and self._known.trust.together and not (wishes.only_if_cached or self._line.full):
            useless = oldest_fresh(self._clock(), self._settings, single=question.single)
            claim = self._line.claim(self._to_ask(question), useless if wishes.max_stale <= 0 else (0.0, 0.0))
        since = self._known.judging.vouched(question)
        found = await self._known.look(question, claim)
        if found is not None:
            self._at_hand.looked(question)
        if claim is None or (found is not None and not found.leased):
            return Looked(found is not None, None)
        claim = claim.unanswered() if found is None else claim.taken(found.turn)
        return Looked(found is not None, self._line.begin(claim, since=since))
