"""The OpenAPI document: the hub's endpoints as this proxy re-exposes them, plus the proxy's own.

Made from the contract's structs and the query's tables, in OpenAPI 3.0 as the hub's is, so that both
documents can be compared and a client generated from one works with the other. Litestar's generator is
not used: it speaks 3.1, and the query's parameters are not its own (``query.py`` reads them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from proxy import NAME, __version__
from proxy.contract import (
    GenerationsListResponse,
    GenerationsShowResponse,
    QueueGenerationResponse,
    QueueListResponse,
)
from proxy.hub import sse
from proxy.hub.stream import EVENTS_PATH
from proxy.questions import query
from proxy.questions.question import LIST_PATH, QUEUE_PATH
from proxy.web.health import LIVE_PATH, READY_PATH, LiveResponse, ReadyResponse
from proxy.web.problems import ErrorResponse
from proxy.web.schemas import Schema, schema_of

PATH: Final = "/schema/openapi.json"

_STRUCTS: Final = (GenerationsListResponse, GenerationsShowResponse, QueueListResponse, QueueGenerationResponse)
_STRING: Final = {"type": "string"}

_BODY: Final = (
    "Each row is the hub's, byte for byte, and so is the whole body unless Cache-Status says that it was composed of"
    " rows; it also says whether the hub was asked for it, and Age when."
)
_HEADERS: Final = {
    "Cache-Status": "What the cache did (RFC 9211).",
    "Age": "Seconds since the hub was asked (RFC 9111).",
    "ETag": "Strong entity tag of the body; send it back in If-None-Match.",
    "X-Request-Id": "The id under which the proxy's log knows this request.",
}
_ERRORS: Final = {
    400: "A parameter is not valid (`invalid_parameter`), or the hub rejected the question (its own body).",
    401: "Credentials are missing or wrong: a key or token as Authorization: Bearer, or a key as X-API-Key.",
    403: "The namespace is not granted to the caller.",
    404: "The hub knows of nothing there (its own body), or of nothing that this caller may see.",
    405: "The method is not allowed; only GET and HEAD are.",
    429: "The caller has used up what it may ask; Retry-After says for how long.",
    500: "A fault of the proxy; its log has more under the request id.",
    502: "The hub gave no usable answer; `error.type` says why.",
    503: "The hub is to be left alone for now; Retry-After says for how long.",
    504: "The hub did not answer in time.",
}
_MOMENT: Final = {
    "Listing-Moment": "The moment that this page is of. Sent back, as a header of the request for another page of the"
    " same listing, it has that page of the same moment.",
}
_BESIDE: Final = {  # not among the operation's parameters, which stay the hub's
    LIST_PATH: {
        "parameters": [
            {
                "name": "Listing-Moment",
                "in": "header",
                "required": False,
                "description": "The moment of another page of the same listing: then this page is of that moment, too.",
                "schema": _STRING,
            }
        ]
    }
}
_MOMENT_GONE: Final = (
    "The moment that the request's Listing-Moment names cannot be returned to; begin again without it."
)


def document() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.0.3",
            "info": {
                "title": NAME,
                "version": __version__,
                "description": "A caching, read-only proxy of the Oxen hub's API for AI image and video generations.",
            },
            "paths": {
                **{path: {"get": operation, **_BESIDE.get(path, {})} for path, operation in _operations()},
                EVENTS_PATH: {"get": _events()},
                LIVE_PATH: {"get": _probe("live", "Whether the process lives", LiveResponse, {200: "It does."})},
                READY_PATH: {
                    "get": _probe(
                        "ready",
                        "Whether the process should be sent requests",
                        ReadyResponse,
                        {200: "It should.", 503: "It is draining and will stop."},
                    )
                },
            },
            "components": {
                "schemas": {
                    struct.__name__: {**schema_of(struct), "title": struct.__name__}
                    for struct in (*_STRUCTS, ErrorResponse, LiveResponse, ReadyResponse)
                }
            },
        }
    )


def _operations() -> Iterator[tuple[str, Schema]]:
    """The hub's operations, by path."""
    generation = {"name": "generation_id", "in": "path", "required": True, "description": "", "schema": _STRING}
    filters = [_parameter(name) for name in query.FILTERS]
    pages = [_parameter(name) for name in query.MAXIMA]
    listing, show, queue, queued = _STRUCTS
    yield (
        LIST_PATH,
        _operation(
            "GenerationsController.index",
            "List past generations",
            "Paginated browse view of completed and in-flight generations for a namespace.",
            [*filters, *pages],
            _json_response("Generation list", listing),
        ),
    )
    yield (
        f"{LIST_PATH}/{{generation_id}}",
        _operation(
            "GenerationsController.show",
            "Get generation details",
            "Full metadata for a single generation, including cost and the user who triggered it.",
            [generation],
            _json_response("Generation details", show),
        ),
    )
    yield (
        QUEUE_PATH,
        _operation(
            "QueueController.index",
            "List in-flight queue items",
            "Lean polling view of the workbench render queue. Returns active generations (status queued or processing)"
            " by default; pass an explicit `status=` filter to include terminal rows.",
            filters,
            _json_response("Generation list", queue),
        ),
    )
    yield (
        f"{QUEUE_PATH}/{{generation_id}}",
        _operation(
            "QueueController.show",
            "Get generation status",
            "Retrieves metadata for a single queued generation.",
            [generation],
            _json_response("Generation details", queued),
        ),
    )


def _events() -> Schema:
    last = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": _STRING}
    last["description"] = "The id of the last event that was received; later ones that are still kept come first."
    stream = {"description": "Events, until one side ends it.", "content": {sse.MEDIA_TYPE: {"schema": _STRING}}}
    errors = {status: _ERRORS[status] for status in (400, 401, 405, 429)}
    errors |= {404: "The hub offers no events, or they are off.", 503: "No room; Retry-After says when to come back."}
    return {
        "summary": "Be told of completions",
        "description": (
            "`media_generation_completed` as the hub sends it, for generations of the namespaces that the caller may"
            " see; `gap` where events may have been missed."
        ),
        "operationId": "events",
        "parameters": [last],
        "responses": {
            "200": stream,
            **{str(status): _json_response(text, ErrorResponse) for status, text in errors.items()},
        },
    }


def _operation(name: str, summary: str, description: str, parameters: list[Schema], answer: Schema) -> Schema:
    walked = any(parameter["name"] in query.MAXIMA for parameter in parameters)
    headers = _headers(_HEADERS | _MOMENT if walked else _HEADERS)
    errors = dict(sorted((_ERRORS | {412: _MOMENT_GONE}).items())) if walked else _ERRORS
    return {
        "tags": [],
        "summary": summary,
        "description": f"{description} {_BODY}",
        "operationId": f"OxenApiWeb.Controllers.{name}",
        "parameters": parameters,
        "responses": {
            "200": {**answer, "headers": headers},
            "304": {"description": "The answer is the one that If-None-Match names.", "headers": headers},
            **{str(status): _json_response(text, ErrorResponse) for status, text in errors.items()},
        },
    }


def _parameter(name: str) -> Schema:
    default = getattr(query.ListQuery(), name)
    schema: Schema
    if name in query.MAXIMA:
        schema = {"type": "integer", "minimum": 1, "default": default}
        if name == "page_size":  # the hub's contract bounds no page number; what query.py refuses is past 2**53
            schema["maximum"] = query.MAX_PAGE_SIZE
    elif name in query.ENUMS:
        schema = {"type": "string", "enum": list(query.ENUMS[name])}
    else:
        schema = {"type": "string"}
    return {"name": name, "in": "query", "required": False, "description": "", "schema": schema}


def _probe(operation: str, summary: str, struct: type, texts: Mapping[int, str]) -> Schema:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {str(status): _json_response(text, struct) for status, text in texts.items()},
    }


def _json_response(description: str, struct: type) -> Schema:
    reference = {"$ref": f"#/components/schemas/{struct.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}


def _headers(texts: Mapping[str, str]) -> Schema:
    return {
        name: {"description": text, "schema": {"type": "integer" if name == "Age" else "string"}}
        for name, text in texts.items()
    }
