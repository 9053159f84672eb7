"""Members around the rows that no contract lists: whether they may be copied from one page to another.

They may say something of the hub, or of the listing, and be the same on all pages; or of the page, as ``has_more``,
``next_cursor`` or ``limit`` would. Which it is shows where the ends of a listing are, and where a page is of another
size: so a page is composed only once an answer of its size that stood in the same place was seen to have the same
members, and as long as the latest ones of all places agree.
"""

from __future__ import annotations

from typing import TypeAlias

from proxy.questions.question import Question
from proxy.rows.envelope import Envelope

Ends: TypeAlias = tuple[bool, bool]
"""Whether a page is the first of its listing, and whether it is the last."""


class Strangers:
    """What the latest answers to the questions of each credential have had, by the place of their pages.

    With it go the sizes of pages that had just that: a size of which nobody asks any more holds up no other.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[Ends, tuple[bytes, set[int]]]] = {}

    def note(self, question: Question, entries: int, envelope: Envelope) -> None:
        """Take in what the hub's answer to a question has; its listing has so many ``entries``."""
        seen, ends = self._seen.setdefault(question.credential, {}), _ends(question, entries)
        before, sizes = seen.get(ends, (b"", set()))
        seen[ends] = envelope.strangers, sizes if before == envelope.strangers else set()
        seen[ends][1].add(question.page_size)

    def fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether a page with this envelope would be as the hub's answer to the question."""
        seen = self._seen.get(question.credential, {})
        if any(one != envelope.strangers for one, _ in seen.values()):
            return False
        _, sizes = seen.get(_ends(question, entries), (b"", set()))
        return not envelope.strangers or question.page_size in sizes


def _ends(question: Question, entries: int) -> Ends:
    return question.page == 1, question.page * question.page_size >= entries
