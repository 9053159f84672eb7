"""The routes of the API: what each of them asks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Literal

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from proxy.callers.caller import Caller
from proxy.hub.credential import Credentials
from proxy.questions import query
from proxy.questions.question import LIST_PATH, QUEUE_PATH, Question, generation_question, page_question, queue_question
from proxy.web import openapi
from proxy.web.asking import Asking, Finder
from proxy.web.handlers import get_handler, respond

ID: Final = "generation_id"


def api_handlers(asking: Asking, credentials: Credentials) -> list[HTTPRouteHandler]:
    """Handlers of the API and its description."""

    @get_handler(LIST_PATH)
    async def list_generations(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await asking.answer(request, _selection(request, credentials, query.PARAMETERS, page_question))

    @get_handler(f"{LIST_PATH}/{{{ID}:str}}")
    async def show_generation(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await asking.answer(request, _generation(request, credentials, "generation"))

    @get_handler(QUEUE_PATH)
    async def list_queue(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await asking.answer(request, _selection(request, credentials, query.FILTERS, queue_question))

    @get_handler(f"{QUEUE_PATH}/{{{ID}:str}}")
    async def show_queued(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await asking.answer(request, _generation(request, credentials, "queued"))

    document = openapi.document()

    @get_handler(openapi.PATH)
    async def schema(request: Request[Any, Any, Any]) -> Response[bytes]:
        return respond(request, 200, {}, document)

    return [list_generations, show_generation, list_queue, show_queued, schema]


def _selection(
    request: Request[Any, Any, Any],
    credentials: Credentials,
    known: Collection[str],
    make: Callable[..., Question],
) -> Finder:
    """What a query with ``known`` parameters selects: of one namespace, so one credential serves it."""

    def find(caller: Caller) -> list[Question]:
        wanted = query.parse(request.scope["query_string"], known)
        caller.permit(wanted.namespace)
        credential = credentials.serving(wanted.namespace)
        return [make(credential.id, wanted, credential=credential.name)]

    return find


def _generation(
    request: Request[Any, Any, Any], credentials: Credentials, kind: Literal["generation", "queued"]
) -> Finder:
    """Which namespace it is of, only the hub's answer says: each credential that may serve the caller is tried."""

    def find(caller: Caller) -> list[Question]:
        query.parse(request.scope["query_string"], ())
        wanted = query.parse_id(request.path_params[ID])
        serving = credentials.serving_any(caller.namespaces, every=caller.sees_all)
        return [generation_question(one.id, kind, wanted, credential=one.name) for one in serving]

    return find
