"""The routes of the API."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from proxy import directives, query
from proxy.credential import Credentials
from proxy.outcome import Hit, Miss, Outcome, StaleHit
from proxy.pages import Pages
from proxy.question import LIST_PATH, page_question
from proxy.web import openapi
from proxy.web.answers import matches, page_headers
from proxy.web.authentication import Authentication
from proxy.web.limits import Limits
from proxy.web.reading import reading, respond


def api_handlers(
    pages: Pages, credentials: Credentials, authentication: Authentication, limits: Limits
) -> list[HTTPRouteHandler]:
    """Handlers of the API and its description."""

    @reading(LIST_PATH)
    async def list_generations(request: Request[Any, Any, Any]) -> Response[bytes]:
        headers = request.headers
        caller = await authentication.caller(headers)
        request.scope["state"]["caller"] = caller.name
        tab = await limits.charge(request, caller)
        wanted = query.parse(request.scope["query_string"])
        caller.permit(wanted.namespace)  # before anything is looked up
        credential = credentials.serving(wanted.namespace)
        question = page_question(credential.id, wanted, credential=credential.name)
        wishes = directives.parse(headers.getall("cache-control", ()), headers.getall("pragma", ()))
        outcome = await pages.answer(question, wishes)
        tab.settle(outcome)
        request.scope["state"]["outcome"] = _name(outcome)
        known = matches(outcome.page.etag, headers.getall("if-none-match", ()))
        return respond(request, 304 if known else 200, page_headers(outcome), outcome.page.body)

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
