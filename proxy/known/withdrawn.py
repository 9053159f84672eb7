"""What the hub has refused to show: pages of before may not stand in, as the right to see them may be gone. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxy.questions.question import Question

REMEMBERED: Final = 16_384
"""Listings whose refusal is remembered; the oldest go first."""
PAUSE: Final = 0.5
"""Seconds for which the hub is left alone at the least after it has refused a token: the first pause, jittered."""


class Withdrawn:
    """When the hub last refused what: a 401 is about the token and all that it shows, a 403 about one listing.

    Attributes:
        changes: how often that may have changed.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._credentials: dict[str, float] = {}
        self._listings: OrderedDict[str, float] = OrderedDict()

    def add(self, question: Question, status: int | None, at: float) -> None:
        """The hub, asked at ``at`` (Unix seconds) or later, has answered the question with this status."""
        self.changes += 1
        if status == 401:
            self._credentials[question.credential] = max(at, self._credentials.get(question.credential, 0.0))
            return
        self._listings[question.listing] = max(at, self._listings.pop(question.listing, 0.0))
        if len(self._listings) > REMEMBERED:
            self._listings.popitem(last=False)

    def left_alone(self, question: Question, at: float) -> None:
        """At ``at`` (Unix seconds) the hub is left alone after a 401, which another replica may have been given.

        All who ask in a pause say so: not each of them is to have all pages judged anew.
        """
        if at - self._credentials.get(question.credential, 0.0) > PAUSE:
            self.add(question, 401, at)

    def since(self, question: Question) -> float:
        """The time before which answers to the question may not stand in any more; 0 if there is none."""
        return max(self._credentials.get(question.credential, 0.0), self._listings.get(question.listing, 0.0))
