"""The way of a request that asks something, top-down: who asks, what for, what is known, and what they get of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.types import HTTPScope
from msgspec.structs import replace

from proxy.answer.directives import Directives, parse_directives
from proxy.answer.encodings import Coding, preferred_coding, variant_etag, worthwhile_coding
from proxy.answer.outcome import Miss, Outcome
from proxy.callers.caller import Caller
from proxy.errors import HubFoundNothing, NotCached, ProxyError, TooManyRequests
from proxy.fetch_queue import Wait
from proxy.known.encoder import Encoder
from proxy.pages import Pages
from proxy.questions.question import Question
from proxy.redis.allotment import allotted
from proxy.tasks.deadlines import half_left
from proxy.web.answers import body_headers, etags_in, matching_etag, page_headers
from proxy.web.authentication import Authentication
from proxy.web.express.known_request import ParsedHeaders
from proxy.web.express.lane import Express
from proxy.web.handlers import respond
from proxy.web.hidden import as_of_nothing, is_hidden, not_found, not_granted
from proxy.web.limits import Limits, Tab
from proxy.web.state import RequestState, state_of

Finder: TypeAlias = Callable[[Caller], Sequence[Question]]
"""Says what a caller asks: one question, or several of which the first that the hub has an answer to counts.

Raises:
    InvalidParameter, Forbidden: it is no question, or not the caller's to ask.
"""


class Asking:
    """Answers requests with pages.

    Args:
        live_ttl: seconds for which the hub's 404 is kept.
    """

    def __init__(
        self,
        pages: Pages,
        encoder: Encoder,
        authentication: Authentication,
        limits: Limits,
        express: Express,
        *,
        live_ttl: float,
    ) -> None:
        self._pages = pages
        self._encoder = encoder
        self._authentication = authentication
        self._limits = limits
        self._express = express
        self._live_ttl = live_ttl

    async def answer(self, request: Request[Any, Any, Any], find: Finder) -> Response[bytes]:
        """Answer a request.

        Raises:
            ProxyError: to be told to the caller.
        """
        headers, state = request.headers, state_of(request.scope)
        caller = await self._authentication.caller(headers)
        state.caller = caller.name
        directives = parse_directives(headers.getall("cache-control", ()), headers.getall("pragma", ()))
        moment = ",".join(headers.getall("listing-moment", ()))
        with self._limits.tab(caller, state) as tab:
            try:
                questions = find(caller)  # before anything is looked up
            except ProxyError:
                await tab.pay(tab.hit)
                raise
            questions = self._known_first(caller, questions, directives)
            question, outcome = await self._first(caller, questions, directives, moment, tab, state)
        state.served = outcome
        page, if_none_match = outcome.page, tuple(headers.getall("if-none-match", ()))
        preferred = preferred_coding(headers.getall("accept-encoding", ()))
        if question is questions[0] and not moment:  # else another is to be tried first, or a moment passes
            shown = page.etag if question.single and not caller.sees_all else None
            state.remember = partial(
                self._remember, headers, caller, question, shown, directives, preferred, if_none_match
            )
        coding = worthwhile_coding(preferred, page.body)
        if known := matching_etag(page.etag, coding, etags_in(if_none_match)):
            return respond(request, 304, page_headers(outcome, known), b"")
        body = await self._encoder.body(question, page, coding)
        answer = page_headers(outcome, variant_etag(page.etag, coding)) | body_headers(body, coding)
        return respond(request, 200, answer, body)

    def _known_first(self, caller: Caller, questions: Sequence[Question], directives: Directives) -> Sequence[Question]:
        """Those first whose answer is in memory: what one token's hub is known to have, no other is asked for."""

        def unknown(question: Question) -> bool:
            hits = self._pages.memory_hits
            kept = hits.cached(question)
            shown = kept is not None and kept.page.found and not is_hidden(caller, question, kept.page)
            return not (shown and hits.has(question, directives))

        return questions if len(questions) == 1 else sorted(questions, key=unknown)

    async def _first(
        self,
        caller: Caller,
        questions: Sequence[Question],
        directives: Directives,
        moment: str,
        tab: Tab,
        state: RequestState,
    ) -> tuple[Question, Outcome]:
        """The first question to which there is an answer for the caller, and that.

        What one credential cannot say, another may. If none does, a failure counts more than the others' 404: what is
        asked for may be where it could not be looked for.
        """
        failure: ProxyError | None = None
        nothing: HubFoundNothing | None = None
        wait = Wait(self._pages.queue.deadline())  # one for all of them
        try:
            for question in questions:
                if failure is not None and half_left(wait.until) == 0:
                    break
                state.question = question
                try:
                    with allotted():
                        outcome, hidden = await self._paid(caller, question, directives, moment, wait, tab)
                except ProxyError as error:
                    tab.note(error)
                    failure = failure or error
                    continue
                tab.note(outcome)
                if outcome.page.found and not hidden:
                    return question, outcome
                nothing = not_found(caller, question, outcome)
            raise failure or nothing or not_granted()
        finally:
            # A traceback holds this frame, which would hold its error: garbage that only a collection would find.
            del failure, nothing

    async def _paid(
        self, caller: Caller, question: Question, directives: Directives, moment: str, wait: Wait, tab: Tab
    ) -> tuple[Outcome, bool]:
        """As ``_outcome``. Who cannot pay for a request to the hub gets what is kept, which costs less.

        Raises:
            TooManyRequests: nothing is kept, or there is not even as much left.
        """
        if directives.only_if_cached or tab.hit >= 1.0:
            await tab.pay(tab.hit)
            return await self._outcome(caller, question, directives, moment, wait)
        kept = replace(directives, only_if_cached=True)
        if not moment and self._pages.memory_hits.has(question, directives):
            await tab.pay(tab.hit)
            with contextlib.suppress(NotCached):  # it may have gone meanwhile, or be hidden
                return await self._outcome(caller, question, kept, moment, wait)
        try:
            await tab.pay(1.0)
        except TooManyRequests:  # which says when there will be enough for either
            with contextlib.suppress(NotCached, TooManyRequests):
                await tab.pay(tab.hit)
                return await self._outcome(caller, question, kept, moment, wait)
            raise
        return await self._outcome(caller, question, directives, moment, wait)

    async def _outcome(
        self, caller: Caller, question: Question, directives: Directives, moment: str, wait: Wait
    ) -> tuple[Outcome, bool]:
        """Have the question answered; return whether that is to be hidden from the caller, too.

        What one who may not see every generation may not see is answered as if it were not there: that it is kept
        would tell that it is.
        """
        if not question.single or caller.sees_all:
            moment = moment if question.kind == "page" else ""
            return await self._pages.answer(question, directives, moment, wait), False
        if directives.only_if_cached:
            # What is not there is no more kept for this caller than what is hidden: a status would tell who asks.
            outcome = await self._pages.answer(question, directives, wait=wait)
            if not outcome.page.found or is_hidden(caller, question, outcome.page):
                raise NotCached
            return outcome, False
        kept = self._pages.memory_hits.cached(question)
        if kept is None or not is_hidden(caller, question, kept.page):
            outcome = await self._pages.answer(question, directives, wait=wait)
            hidden = is_hidden(caller, question, outcome.page)
            if isinstance(outcome, Miss) or not hidden:
                return outcome, hidden
        # If it was not in memory, Redis had it.
        outcome = await self._pages.answer(question, as_of_nothing(directives, self._live_ttl), wait=wait)
        return outcome, is_hidden(caller, question, outcome.page)

    def _remember(
        self,
        headers: Headers,
        caller: Caller,
        question: Question,
        shown: str | None,
        directives: Directives,
        preferred: Coding | None,
        if_none_match: tuple[str, ...],
        scope: HTTPScope,
    ) -> None:
        """Let the same request go the express lane next time."""
        valid = self._authentication.validity_check(headers)
        if valid is not None:
            parsed = ParsedHeaders(caller.name, directives, self._limits.terms(caller), valid, preferred)
            self._express.remember(scope, question, parsed, if_none_match, shown)
