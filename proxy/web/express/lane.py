"""The express lane: a question that was answered before, asked again in the same words, is not read again.

Whoever answers a request on the slow path (``asking``) leaves here what its bytes meant: the question, the caller, and
what the headers asked for. The same bytes then mean the same. Whether the page is fresh, the credentials are still
good and the caller's limit allows it is asked each time, of the same functions as on the slow path: no *answer* is
remembered. What those functions cannot say at once, and all that is unusual (errors, pages that are not in memory, a
process that drains), takes the slow path.

A request is known by two keys: what of it bears on its answer, once it is parsed, so that a header of no interest (a
trace id) does not send it to the slow path; and its whole head, for ``wire``, which then need not be parsed at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache
from sys import getsizeof
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec.structs import replace

from proxy.answer.directives import NO_DIRECTIVES
from proxy.answer.encodings import variant_etag, worthwhile_coding
from proxy.answer.outcome import Hit, StaleHit
from proxy.answer.page import Page
from proxy.hub.credential import Credential
from proxy.pages import Pages
from proxy.questions.question import Question
from proxy.web.answers import body_headers, etags_in, matching_etag, page_headers
from proxy.web.cors import allowed_origin
from proxy.web.express.known_request import Answer, KnownRequest, ParsedHeaders, RequestContext, Variant
from proxy.web.express.request_cache import RequestCache
from proxy.web.health import Readiness
from proxy.web.limits import Limits, rate_limit_headers
from proxy.web.state import state_of
from proxy.web.telemetry.event import MAX_SHARED, endpoint_of, request_info, shown_path

HEAD: Final = "head"
"""Where in a request's state the protocol leaves its head, if that came alone and whole."""
REQUEST_OVERHEAD: Final = 2000
"""Bytes charged for a request beside its texts (measured: about 900, and 2,000 where nothing of it is shared)."""
RELEVANT_HEADERS: Final = frozenset(
    b"authorization x-api-key accept-encoding if-none-match cache-control pragma listing-moment".split()
)
"""Headers that bear on an answer; Origin is read by ``cors``."""
_OWN: Final = secrets.token_bytes(16)


class Express:
    """What requests mean, and the answers to them that are at hand.

    Args:
        credentials: of the hub.
        origins: whose pages may read answers.
        limit: bytes that all that is remembered of requests may keep alive.
    """

    def __init__(
        self,
        pages: Pages,
        limits: Limits,
        credentials: Iterable[Credential],
        readiness: Readiness,
        origins: Iterable[str] = (),
        *,
        limit: int,
    ) -> None:
        self._memory_hits = pages.memory_hits
        self._limits = limits
        self._credentials: Mapping[str, Credential] = {one.name: one for one in credentials}
        self._readiness = readiness
        self._origins = frozenset(origin.encode() for origin in origins)
        self._shared = lru_cache(MAX_SHARED)(_interned)
        self._known: RequestCache[KnownRequest] = RequestCache(limit)

    def __len__(self) -> int:
        return len(self._known)

    def remember(
        self,
        scope: HTTPScope,
        question: Question,
        parsed: ParsedHeaders,
        if_none_match: tuple[str, ...] = (),
        visible_etag: str | None = None,
    ) -> None:
        """Take in what a request meant that has just been answered with a page."""
        credential = self._credentials[question.credential]
        if question.credential_id != credential.id:
            return  # the token was renewed meanwhile
        path = scope["path"]
        info = request_info(
            scope["method"], parsed.caller, endpoint_of(path), shown_path(path), question.listing, question.filters
        )
        context = self._shared(RequestContext(parsed, credential, credential.id, allowed_origin(scope, self._origins)))
        request = KnownRequest(
            cost=_cost(question, if_none_match),
            context=context,
            info=info,
            question=question,
            if_none_match=if_none_match,
            visible_etag=visible_etag,
        )
        self._known.keep(key_of(scope), request)
        self._remember_head(scope, request)

    def recall(self, key: bytes) -> Answer | None:
        """Answer the request of this key without waiting for anything; None: it has to take the slow path."""
        request = self._known.get(key)
        if request is None:
            return None
        if not self._is_valid(request.context):
            self._known.forget(key)
            return None
        return self._answer(request)

    def recall_parsed(self, scope: HTTPScope) -> Answer | None:
        """The same of a request that has been parsed; next time, its head will do."""
        answer = self.recall(key_of(scope))
        if answer is not None:
            self._remember_head(scope, answer.request)
        return answer

    def _remember_head(self, scope: HTTPScope, request: KnownRequest) -> None:
        if (head := scope["state"].get(HEAD)) is not None:
            origin = allowed_origin(scope, self._origins)  # no part of the other key
            if origin != request.context.origin:
                context = self._shared(replace(request.context, origin=origin))
                request = replace(request, references=0, context=context, variant=None)
            self._known.keep(head, request)

    def _is_valid(self, context: RequestContext) -> bool:
        """Whether who asked in this context may be answered as then."""
        return (
            not self._readiness.draining and context.credential.id == context.credential_id and context.parsed.valid()
        )

    def _look_up(self, request: KnownRequest) -> Hit | StaleHit | None:
        question, directives = request.question, request.context.parsed.directives
        outcome = self._memory_hits.answer(question, directives)
        kept = self._memory_hits.cached(question) if directives is NO_DIRECTIVES else None
        same = kept is not None and outcome is not None and kept.page is outcome.page  # else it had no room in memory
        request.kept, request.variant = kept if same else None, None
        return outcome

    def _answer(self, request: KnownRequest) -> Answer | None:
        parsed = request.context.parsed
        outcome = self._memory_hits.serve_again(request) or self._look_up(request)
        if outcome is None:
            return None
        page = outcome.page
        variant = request.variant
        if variant is None:
            variant = request.variant = _variant(request, page)
            if variant is None:
                return None
        body = b""
        if variant.status == 200:
            body = page.body if variant.coding is None else page.variants[variant.coding]
        limits: list[tuple[bytes, bytes]] = []
        if parsed.terms is not None:
            balance = self._limits.pay(parsed.caller, parsed.terms)
            if balance is None:
                return None
            limits = rate_limit_headers(balance)
        return Answer(request, outcome, variant, body, limits)


def with_express(app: ASGIApp, express: Express) -> ASGIApp:
    """Wrap ``app``, which is asked what the lane cannot answer."""

    async def lane(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        state, answer = state_of(scope), express.recall_parsed(scope)
        if answer is None:
            await app(scope, receive, send)
            if state.remember is not None:
                state.remember(scope)
            return
        state.caller, state.served = answer.request.context.parsed.caller, answer.outcome
        state.question, state.headers = answer.request.question, answer.limits
        variant = answer.variant
        headers = page_headers(answer.outcome, variant.etag)
        if variant.status == 200:
            headers |= body_headers(answer.body, variant.coding)
        body = b"" if scope["method"] == "HEAD" else answer.body
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": variant.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return lane


def _variant(request: KnownRequest, page: Page) -> Variant | None:
    """What of a page is sent to who asks so; None: that cannot be said here, or not at once."""
    if not page.found or request.visible_etag not in (None, page.etag):
        return None
    preferred = request.context.parsed.preferred
    coding = preferred and worthwhile_coding(preferred, page.body)
    if known := matching_etag(page.etag, coding, etags_in(request.if_none_match)):
        return Variant(304, known, None)
    if coding is not None and coding not in page.variants:
        return None  # nobody has asked for it yet
    return Variant(200, variant_etag(page.etag, coding), coding)


def _cost(question: Question, if_none_match: tuple[str, ...]) -> int:
    """Bytes that a request keeps alive; the filters also as they were read."""
    texts = question.key, question.query, question.filters, question.filters, *if_none_match
    return REQUEST_OVERHEAD + sum(map(getsizeof, texts))


def _interned(context: RequestContext) -> RequestContext:
    """Cached, the one that stands for all that are equal."""
    return context


def key_of(scope: HTTPScope) -> bytes:
    """What of a request bears on its answer. No part of it can hold a line's end, so that no two are mixed up.

    Heads are keys beside it, and no bytes that a caller can send are taken for it.
    """
    parts = [_OWN, scope["method"].encode(), scope["raw_path"], scope["query_string"]]
    for header in scope["headers"]:
        if header[0] in RELEVANT_HEADERS:
            parts += header
    return b"\n".join(parts)
