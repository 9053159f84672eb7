"""What events have made doubtful: answers that were asked for before them are not fresh any more. Pure.

A doubt is a watermark in time, as a purge is, but a softer one: what it covers may still stand in for a hub that
fails or dawdles. Nothing has to be found for it to take effect, in memory or in Redis.
"""

from __future__ import annotations

from msgspec import Struct

from proxy.completion import UNKNOWN, Completion, Origin, Trait, trait_of
from proxy.question import Question

GENERATIONS = 10_000
"""Generations that are doubted apart, for each credential; one more, and everything is doubted."""
TRAITS = 256
"""The same for kinds of listings."""
REMEMBERED = 16_384
"""Questions for which the answer is remembered until there is another doubt."""


class _Doubted(Struct):
    """Of one credential: since when what is doubted, Unix seconds."""

    everything: float = 0.0
    generations: dict[str, float] = {}
    listings: dict[Trait, float] = {}

    def forget(self, until: float) -> None:
        """Forget what is doubted since then, or since earlier."""
        self.generations = {what: since for what, since in self.generations.items() if since > until}
        self.listings = {what: since for what, since in self.listings.items() if since > until}


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
        self._remembered: dict[str, float] = {}

    def add(self, credential: str, completion: Completion, at: float, origin: Origin = UNKNOWN) -> None:
        """Doubt what the end of a generation, heard of at ``at``, can have changed."""
        doubted = self._of(credential)
        generation_id, trait = completion.generation_id, trait_of(completion, origin)
        doubted.generations[generation_id] = max(at, doubted.generations.get(generation_id, 0.0))
        doubted.listings[trait] = max(at, doubted.listings.get(trait, 0.0))
        if _too_many(doubted):
            doubted.forget(at - self._keep)
        if _too_many(doubted):
            self.add_all(credential, max(*doubted.generations.values(), *doubted.listings.values()))

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
        since = self._remembered.get(question.listing)
        if since is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            since = self._remembered[question.listing] = _since(doubted, question)
        return since

    def _of(self, credential: str) -> _Doubted:
        """What is doubted of the credential; it is about to change."""
        self._remembered.clear()
        self.changes += 1
        return self._by_credential.setdefault(credential, _Doubted())


def _too_many(doubted: _Doubted) -> bool:
    return len(doubted.generations) > GENERATIONS or len(doubted.listings) > TRAITS


def _since(doubted: _Doubted, question: Question) -> float:
    if question.single:
        return max(doubted.everything, doubted.generations.get(question.place, 0.0))
    return max([doubted.everything, *(at for trait, at in doubted.listings.items() if trait.can_change(question))])
