"""The routes of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from proxy import query
from proxy.credential import Credential
from proxy.pages import Hit, Miss, Outcome, Pages, StaleHit
from proxy.question import LIST_PATH, page_question
from proxy.web import openapi
from proxy.web.answers import matches, page_headers
from proxy.web.reading import reading, respond


def api_handlers(pages: Pages, credential: Credential, clock: Callable[[], float]) -> list[HTTPRouteHandler]:
    """Handlers of the API and its description."""

    @reading(LIST_PATH)
    async def list_generations(request: Request[Any, Any, Any]) -> Response[bytes]:
        question = page_question(credential.id, query.parse(request.scope["query_string"]))
        outcome = await pages.answer(question)
        request.scope["state"]["outcome"] = _name(outcome)
        known = matches(outcome.page.etag, request.headers.getall("if-none-match", ()))
        return respond(request, 304 if known else 200, page_headers(outcome, clock()), outcome.page.body)

    document = openapi.document()

    @reading(openapi.PATH)
    async def schema(request: Request[Any, Any, Any]) -> Response[bytes]:
        return respond(request, 200, {}, document)

    return [list_generations, schema]


def _name(outcome: Outcome) -> str:
    match outcome:
        case Hit():
            return "hit"
        case StaleHit():
            return "stale"
        case Miss(collapsed=True):
            return "joined"
        case Miss():
            return "miss"
