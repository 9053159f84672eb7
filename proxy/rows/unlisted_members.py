"""Members around the rows that no contract lists: whether they may be copied from one page to another.

They may say something of the hub, or of the listing, and be the same on all pages; or of the page, as ``has_more``,
``next_cursor`` or ``limit`` would. Which it is shows where the ends of a listing are, and where a page is of another
size: so a page is composed only once an answer of its size that stood in the same place was seen to have the same
members, and as long as the latest ones of all places agree.
"""

from __future__ import annotations

import contextlib
from typing import TypeAlias

from proxy.answer.page import Page
from proxy.questions.question import Question
from proxy.rows.envelope import Envelope, Unfit
from proxy.rows.reading import read_window

Ends: TypeAlias = tuple[bool, bool]
"""Whether a page is the first of its listing, and whether it is the last."""


class UnlistedMembers:
    """What the latest answers to the questions of each credential have had, by place and size of their pages."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[Ends, bytes]] = {}
        self._by_size: dict[tuple[str, Ends, int], bytes] = {}

    def note(self, question: Question, entries: int, envelope: Envelope) -> None:
        """Take in what the hub's answer to a question has; its listing has so many ``entries``."""
        self._seen.setdefault(question.credential, {})[_ends(question, entries)] = envelope.unlisted
        self._by_size[_place(question, entries)] = envelope.unlisted

    def note_once(self, question: Question, page: Page) -> None:
        """Take in what an answer to another replica has, if none of its place and size is known."""
        entries = page.stamp.total_entries
        if _place(question, entries) not in self._by_size:
            with contextlib.suppress(Unfit):
                self.note(question, entries, read_window(question, page).envelope)

    def fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether a page with this envelope would be as the hub's answer to the question."""
        if any(one != envelope.unlisted for one in self._seen.get(question.credential, {}).values()):
            return False
        return not envelope.unlisted or self._by_size.get(_place(question, entries)) == envelope.unlisted

    def may_fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether the hub's answer to the question may have such an envelope: none that is known had another."""
        return self._by_size.get(_place(question, entries), envelope.unlisted) == envelope.unlisted


def _ends(question: Question, entries: int) -> Ends:
    return question.page == 1, question.page * question.page_size >= entries


def _place(question: Question, entries: int) -> tuple[str, Ends, int]:
    return question.credential, _ends(question, entries), question.page_size
