"""Members around the rows that no contract lists: whether they may be copied from one page to another.

They may say something of the hub, or of the listing, and be the same on all pages; or of the page, as ``has_more`` or
``next_page`` would. Which it is shows where the ends of a listing are: so a page is composed only once an answer that
stood in the same place was seen, and as long as the latest ones of all places agree.
"""

from __future__ import annotations

from typing import TypeAlias

from proxy.questions.question import Question
from proxy.rows.envelope import Envelope

Ends: TypeAlias = tuple[bool, bool]
"""Whether a page is the first of its listing, and whether it is the last."""


class Strangers:
    """What the latest answers to the questions of each credential have had, by the place of their pages."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[Ends, bytes]] = {}

    def note(self, question: Question, entries: int, envelope: Envelope) -> None:
        """Take in what the hub's answer to a question has; its listing has so many ``entries``."""
        self._seen.setdefault(question.credential, {})[_ends(question, entries)] = envelope.strangers

    def fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether a page with this envelope would be as the hub's answer to the question."""
        seen = self._seen.get(question.credential, {})
        agree = all(one == envelope.strangers for one in seen.values())
        return agree and (not envelope.strangers or _ends(question, entries) in seen)


def _ends(question: Question, entries: int) -> Ends:
    return question.page == 1, question.page * question.page_size >= entries
