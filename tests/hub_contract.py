"""The hub's contract for its four JSON read endpoints, as data; the tests hold the proxy against it."""

from __future__ import annotations

from typing import Any

ROW: dict[str, str | list[str]] = {  # name: type, "?" for nullable; the first five are required
    "generation_id": "uuid",
    "model_name": "string",
    "media_type": ["image", "video"],
    "status": ["queued", "processing", "succeeded", "failed", "cancelled"],
    "enqueued_at": "integer",
    "started_at": "integer?",
    "completed_at": "integer?",
    "cost": "string?",
    "error_message": "string?",
    "result_url": "string?",
    "target_directory": "string?",
    "target_namespace": "string?",
    "target_repo": "string?",
    "user_id": "uuid?",
    "user_image": "string?",
    "username": "string?",
}
ROW_REQUIRED = {"generation_id", "model_name", "media_type", "status", "enqueued_at"}

PAGE = {  # all required, beside the rows
    "count": "integer",
    "page_number": "integer",
    "page_size": "integer",
    "total_pages": "integer",
    "total_entries": "integer",
    "total_cost": "string?",
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "namespace": {"type": "string"},
    "model": {"type": "string"},
    "media_type": {"type": "string", "enum": ["image", "video"]},
    "status": {"type": "string", "enum": ["queued", "processing", "succeeded", "failed", "cancelled"]},
    "repo": {"type": "string"},
    "folder": {"type": "string"},
    "page": {"type": "integer", "minimum": 1, "default": 1},
    "page_size": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
}


def schema(kind: str | list[str]) -> dict[str, Any]:
    """The OpenAPI 3.0 schema of a member."""
    if isinstance(kind, list):
        return {"type": "string", "enum": kind}
    plain = kind.removesuffix("?")
    made = {"type": "string", "format": "uuid"} if plain == "uuid" else {"type": plain}
    return made | ({"nullable": True} if kind.endswith("?") else {})


def _row(*left_out: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema(kind) for name, kind in ROW.items() if name not in left_out},
        "required": sorted(ROW_REQUIRED),
    }


def _object(**members: Any) -> dict[str, Any]:
    """An object whose members are all required."""
    return {"type": "object", "properties": members, "required": sorted(members)}


_FULL, _LEAN = _row(), _row("cost", "user_id", "user_image", "username")
RESPONSES: dict[str, dict[str, Any]] = {
    "GenerationsListResponse": _object(
        **{name: schema(kind) for name, kind in PAGE.items()}, generations={"type": "array", "items": _FULL}
    ),
    "GenerationsShowResponse": _object(
        status={"type": "string", "example": "success"},
        status_message={"type": "string", "example": "resource_found"},
        generation=_FULL,
    ),
    "QueueListResponse": _object(count={"type": "integer"}, generations={"type": "array", "items": _LEAN}),
    "QueueGenerationResponse": _LEAN,
}
_FILTERS = [name for name in PARAMETERS if not name.startswith("page")]
OPERATIONS: dict[str, tuple[str, str, list[str]]] = {  # path: operation, answer, parameters of the query
    "/api/ai/generations": ("GenerationsController.index", "GenerationsListResponse", list(PARAMETERS)),
    "/api/ai/generations/{generation_id}": ("GenerationsController.show", "GenerationsShowResponse", []),
    "/api/ai/queue": ("QueueController.index", "QueueListResponse", _FILTERS),
    "/api/ai/queue/{generation_id}": ("QueueController.show", "QueueGenerationResponse", []),
}


def _operation(path: str) -> dict[str, Any]:
    operation, answer, names = OPERATIONS[path]
    parameters = [{"name": name, "in": "query", "required": False, "schema": PARAMETERS[name]} for name in names]
    if "{" in path:
        parameters.append({"name": "generation_id", "in": "path", "required": True, "schema": {"type": "string"}})
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    return {
        "operationId": f"OxenApiWeb.Controllers.{operation}",
        "parameters": parameters,
        "responses": {"200": {"description": "An answer", "content": content}},
    }


DOCUMENT = {  # enough of one to generate a client from
    "openapi": "3.0.0",
    "info": {"title": "hub", "version": "1"},
    "paths": {path: {"get": _operation(path)} for path in OPERATIONS},
    "components": {"schemas": {name: {**response, "title": name} for name, response in RESPONSES.items()}},
}
