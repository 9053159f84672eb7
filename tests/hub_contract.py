"""The hub's contract for the list endpoint, in our own words, as data; the tests hold the proxy against it."""

from __future__ import annotations

from typing import Any

OPERATION_ID = "OxenApiWeb.Controllers.GenerationsController.index"

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


LIST_RESPONSE = {
    "type": "object",
    "properties": {
        **{name: schema(kind) for name, kind in PAGE.items()},
        "generations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: schema(kind) for name, kind in ROW.items()},
                "required": sorted(ROW_REQUIRED),
            },
        },
    },
    "required": sorted({*PAGE, "generations"}),
}

DOCUMENT = {  # enough of one to generate a client from
    "openapi": "3.0.0",
    "info": {"title": "hub", "version": "1"},
    "paths": {
        "/api/ai/generations": {
            "get": {
                "operationId": OPERATION_ID,
                "parameters": [
                    {"name": name, "in": "query", "required": False, "schema": kind}
                    for name, kind in PARAMETERS.items()
                ],
                "responses": {
                    "200": {
                        "description": "Generation list",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/GenerationsListResponse"}}
                        },
                    }
                },
            }
        }
    },
    "components": {"schemas": {"GenerationsListResponse": {**LIST_RESPONSE, "title": "GenerationsListResponse"}}},
}
