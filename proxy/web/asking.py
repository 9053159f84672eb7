"""The way of a request that asks something, top-down: who asks, what for, what is known, and what they get of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from litestar import Request, Response

from proxy.answer import directives
from proxy.answer.directives import Directives
from proxy.answer.encodings import Coding, preferred, tag, worthwhile
from proxy.answer.freshness import OK
from proxy.answer.outcome import Outcome
from proxy.answer.page import UNFIT, Page, namespace_of
from proxy.callers.caller import Caller
from proxy.errors import HubFoundNothing
from proxy.known.encoder import Encoder
from proxy.pages import Pages
from proxy.questions.question import Question
from proxy.web.answers import body_headers, cache_status, listed, matching, page_headers
from proxy.web.authentication import Authentication
from proxy.web.express.heard import Meaning
from proxy.web.express.lane import Express
from proxy.web.limits import Limits
from proxy.web.reading import respond

Finder: TypeAlias = Callable[[Caller], Sequence[Question]]
"""Says what a caller asks: one question, or several of which the first that the hub has an answer to counts.

Raises:
    InvalidParameter, Forbidden: it is no question, or not the caller's to ask.
"""


class Asking:
    """Answers requests with pages."""

    def __init__(
        self, pages: Pages, encoder: Encoder, authentication: Authentication, limits: Limits, express: Express
    ) -> None:
        self._pages = pages
        self._encoder = encoder
        self._authentication = authentication
        self._limits = limits
        self._express = express

    async def answer(self, request: Request[Any, Any, Any], find: Finder) -> Response[bytes]:
        """Answer a request.

        Raises:
            ProxyError: to be told to the caller.
        """
        headers, state = request.headers, request.scope["state"]
        caller = await self._authentication.caller(headers)
        state["caller"] = caller.name
        tab = await self._limits.charge(request, caller)
        questions = find(caller)  # before anything is looked up
        wishes = directives.parse(headers.getall("cache-control", ()), headers.getall("pragma", ()))
        moment = ",".join(headers.getall("listing-moment", ()))
        for question in questions:
            state["question"] = question
            outcome = await self._pages.answer(question, wishes, moment if question.kind == "page" else "")
            tab.settle(outcome)
            if outcome.page.status == OK:
                break
        else:
            raise _nothing(caller, question, outcome) if questions else _hidden()
        if question.single and not (caller.sees_all or caller.sees(namespace_of(question, outcome.page))):
            raise _hidden()
        state["served"] = outcome
        page, tags = outcome.page, listed(headers.getall("if-none-match", ()))
        liked = preferred(headers.getall("accept-encoding", ()))
        if question is questions[0] and not moment:  # else another is to be tried first, or a moment passes
            self._remember(request, caller, question, page, wishes, liked, tags)
        coding = worthwhile(liked, page.body)
        if known := matching(page.etag, coding, tags):
            return respond(request, 304, page_headers(outcome, known), b"")
        body = await self._encoder.body(question, page, coding)
        answer = page_headers(outcome, tag(page.etag, coding)) | body_headers(body, coding)
        return respond(request, 200, answer, body)

    def _remember(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        question: Question,
        page: Page,
        wishes: Directives,
        liked: Coding | None,
        tags: frozenset[str],
    ) -> None:
        """Let the same request go the express lane next time."""
        valid = self._authentication.lasting(request.headers)
        if valid is not None:
            shown = page.etag if question.single and not caller.sees_all else None
            terms = self._limits.terms(caller)
            self._express.remember(request.scope, question, Meaning(caller, wishes, terms, valid, liked, tags, shown))


def _nothing(caller: Caller, question: Question, outcome: Outcome) -> HubFoundNothing:
    """The hub's 404."""
    if question.single and not caller.sees_all:
        return _hidden()
    body = None if outcome.page.body == UNFIT else outcome.page.body
    return HubFoundNothing("The hub answered 404.", body, cache_status=cache_status(outcome))


def _hidden() -> HubFoundNothing:
    """What a caller without the grant is told of a generation: the same whether it is another's or nobody's."""
    return HubFoundNothing("There is no such generation in the namespaces that are granted to this caller.", None)
