"""Members around the rows that no contract lists: whether they may be copied from one page to another.

They may say something of the hub, or of the listing, and be the same on all pages; or of the page, as ``has_more``,
``next_cursor`` or ``limit`` would. Which it is shows where the ends of a listing are, and where a page is of another
size: so where any namespace has some, a page is composed only once an answer of its namespace and size that stood in
the same place was seen to have the same members, and as long as the latest ones of all places agree.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final, TypeAlias

from proxy.answer.page import Page
from proxy.questions.question import Question
from proxy.rows.envelope import Envelope, Unfit
from proxy.rows.reading import read_window

Ends: TypeAlias = tuple[bool, bool]
"""Whether a page is the first of its listing, and whether it is the last."""
Origin: TypeAlias = tuple[str, str | None]
"""A credential, and the namespace that was asked for with it."""
MOST_NAMESPACES: Final = 1024
"""Namespaces of whose answers it is remembered what they have: those that were asked for last."""
MOST_PLACES: Final = 8192
"""Places and sizes of which it is."""


class UnlistedMembers:
    """What the latest answers to the questions of each namespace have had, by place and size of their pages."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Origin, dict[Ends, bytes]] = OrderedDict()
        self._by_size: OrderedDict[tuple[Origin, Ends, int], bytes] = OrderedDict()
        self._having: set[Origin] = set()

    def note(self, question: Question, entries: int, envelope: Envelope) -> None:
        """Take in what the hub's answer to a question has; its listing has so many ``entries``."""
        origin, ends, _ = place = _place(question, entries)
        seen = self._seen.setdefault(origin, {})
        seen[ends] = self._by_size[place] = envelope.unlisted
        self._seen.move_to_end(origin)
        self._by_size.move_to_end(place)
        (self._having.add if any(seen.values()) else self._having.discard)(origin)
        if len(self._seen) > MOST_NAMESPACES:
            self._having.discard(self._seen.popitem(last=False)[0])
        if len(self._by_size) > MOST_PLACES:
            self._by_size.popitem(last=False)

    def note_once(self, question: Question, page: Page) -> None:
        """Take in what an answer to another replica has, if none of its place and size is known."""
        entries = page.stamp.total_entries
        if _place(question, entries) not in self._by_size:
            with contextlib.suppress(Unfit):
                self.note(question, entries, read_window(question, page).envelope)

    def fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether a page with this envelope would be as the hub's answer to the question."""
        place = _place(question, entries)
        if any(one != envelope.unlisted for one in self._seen.get(place[0], {}).values()):
            return False
        if not envelope.unlisted and all(credential != question.credential for credential, _ in self._having):
            return True
        return self._by_size.get(place) == envelope.unlisted

    def may_fit(self, question: Question, entries: int, envelope: Envelope) -> bool:
        """Whether the hub's answer to the question may have such an envelope: none that is known had another."""
        return self._by_size.get(_place(question, entries), envelope.unlisted) == envelope.unlisted


def _place(question: Question, entries: int) -> tuple[Origin, Ends, int]:
    ends = question.page == 1, question.page * question.page_size >= entries
    return (question.credential, question.namespace), ends, question.page_size
