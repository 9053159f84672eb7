"""Generations of namespaces that are not granted to a caller: answered as if they were not there, in all that shows."""

from __future__ import annotations

from proxy.answer.directives import Directives
from proxy.answer.freshness import Fresh, Verdict
from proxy.answer.outcome import Hit, Outcome
from proxy.answer.page import NULL_BODY, Page, namespace_of
from proxy.callers.caller import Caller
from proxy.errors import HubFoundNothing
from proxy.questions.question import Question
from proxy.web.answers import cache_status


class _OfNothing(Directives, frozen=True, gc=False):
    """See ``as_of_nothing``."""

    kept_for: float = 0.0

    def accept(self, verdict: Verdict, min_refresh: float) -> bool:
        left = self.kept_for - verdict.age
        return isinstance(verdict, Fresh) and left > 0 and super().accept(Fresh(left, verdict.age), min_refresh)


def as_of_nothing(directives: Directives, kept_for: float) -> Directives:
    """What is asked of a page that is to be answered as if there were none: the hub's 404 is kept for that long.

    So each directive has to be met or not as it would be for one who asks for what does not exist. Else how long a
    generation of others is kept would tell that there is one.
    """
    return _OfNothing(max_age=directives.max_age, min_fresh=directives.min_fresh, stale_if_error=0.0, kept_for=kept_for)


def is_hidden(caller: Caller, question: Question, page: Page) -> bool:
    """Whether a generation is of a namespace that is not granted to the caller, which only the hub's answer says."""
    return page.found and not caller.sees(namespace_of(question, page))


def not_found(caller: Caller, question: Question, outcome: Outcome) -> HubFoundNothing:
    """The hub's 404."""
    if question.single and not caller.sees_all:
        return not_granted()
    body = None if outcome.page.body == NULL_BODY else outcome.page.body
    age = int(outcome.age) if isinstance(outcome, Hit) else None
    return HubFoundNothing("The hub answered 404.", body, cache_status=cache_status(outcome), age=age)


def not_granted() -> HubFoundNothing:
    """What a caller without the grant is told of a generation: the same whether it is another's or nobody's."""
    return HubFoundNothing("There is no such generation in the namespaces that are granted to this caller.", None)
