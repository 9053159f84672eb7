"""What events have made doubtful: answers that were asked for before them are not fresh any more. Pure.

A doubt is a watermark in time, as a purge is, but a softer one: what it covers may still stand in for a hub that
fails or dawdles. Nothing has to be found for it to take effect, in memory or in Redis.
"""

from __future__ import annotations

from msgspec import Struct

from proxy.known.completion import UNKNOWN_ORIGIN, Completion, Origin, Trait, trait_of
from proxy.questions.question import Question

GENERATIONS = 10_000
"""Generations that are doubted apart, for each credential; one more, and everything is doubted."""
TRAITS = 256
"""The same for kinds of listings."""
MAX_REMEMBERED = 16_384
"""Listings whose doubt is remembered, so that only kinds are looked at that were doubted since."""


class _Doubted(Struct):
    """Of one credential: since when what is doubted, Unix seconds.

    ``listings``: in the order in which they were doubted last; with that, what ``Doubts.changes`` was.
    """

    everything: float = 0.0
    generations: dict[str, float] = {}
    listings: dict[Trait, tuple[float, int]] = {}

    def add(self, generation_id: str, trait: Trait, at: float, changes: int) -> None:
        """Doubt a generation, and the listings that it can have changed."""
        self.generations[generation_id] = max(at, self.generations.get(generation_id, 0.0))
        before, _ = self.listings.pop(trait, (0.0, 0))
        self.listings[trait] = max(at, before), changes

    def forget(self, until: float) -> None:
        """Forget what is doubted since then, or since earlier."""
        self.generations = {what: since for what, since in self.generations.items() if since > until}
        self.listings = {what: since for what, since in self.listings.items() if since[0] > until}

    def latest(self) -> float:
        """When there was a doubt last."""
        return max(*self.generations.values(), *(at for at, _ in self.listings.values()))


class Doubts:
    """All doubts that still matter.

    Args:
        keep: seconds after which no answer from before a doubt is fresh anyway, or still under way.

    Attributes:
        changes: how often they may have changed.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._by_credential: dict[str, _Doubted] = {}
        self.changes = 0
        self._remembered: dict[str, tuple[float, int]] = {}

    def add(self, credential: str, completion: Completion, at: float, origin: Origin = UNKNOWN_ORIGIN) -> None:
        """Doubt what the end of a generation, heard of at ``at``, can have changed."""
        doubted = self._of(credential)
        doubted.add(completion.generation_id, trait_of(completion, origin), at, self.changes)
        if _too_many(doubted):
            doubted.forget(at - self._keep)
        if _too_many(doubted):
            self.add_all(credential, doubted.latest())

    def add_all(self, credential: str, at: float) -> None:
        """Doubt everything: events may have been missed until ``at``."""
        doubted = self._of(credential)
        doubted.everything = max(doubted.everything, at)
        doubted.forget(at)

    def since(self, question: Question) -> float:
        """The time before which answers to the question are in doubt; 0 if there is none."""
        doubted = self._by_credential.get(question.credential)
        if doubted is None:
            return 0.0
        if question.single:
            return max(doubted.everything, doubted.generations.get(question.place, 0.0))
        since, known = self._remembered.get(question.listing, (0.0, 0))
        if known != self.changes:
            for trait, (at, changes) in reversed(doubted.listings.items()):
                if changes <= known:
                    break
                if at > since and trait.can_change(question):
                    since = at
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[question.listing] = since, self.changes
        return max(doubted.everything, since)

    def _of(self, credential: str) -> _Doubted:
        """What is doubted of the credential; it is about to change."""
        self.changes += 1
        return self._by_credential.setdefault(credential, _Doubted())


def _too_many(doubted: _Doubted) -> bool:
    return len(doubted.generations) > GENERATIONS or len(doubted.listings) > TRAITS
