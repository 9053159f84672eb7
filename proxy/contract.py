"""The hub's contract as it goes over the wire: what callers are promised and answers are held to.

These structs describe; they are not on the way of a body, which is passed on byte for byte. The
OpenAPI document is made from them, and ``check`` validates a real answer with them. Source of
names, types and texts: the hub's OpenAPI document (version 0.231.0).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

MediaType = Literal["image", "video"]
Status = Literal["queued", "processing", "succeeded", "failed", "cancelled"]

MEDIA_TYPES: Final[tuple[str, ...]] = get_args(MediaType)
STATUSES: Final[tuple[str, ...]] = get_args(Status)
TERMINAL_STATUSES: Final = frozenset({"succeeded", "failed", "cancelled"})
"""Statuses in which a row no longer changes. Any other, listed or not, is in flight."""

UUID = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Timestamp = Annotated[int, Meta(description="Unix timestamp")]


class QueuedGeneration(Struct, kw_only=True):
    """One row of the queue. The original request's parameters are merged in at top level: any further members."""

    generation_id: UUID
    model_name: str
    media_type: MediaType
    status: Status
    enqueued_at: Timestamp
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    error_message: str | None = None
    result_url: str | None = None
    target_directory: str | None = None
    target_namespace: str | None = None
    target_repo: str | None = None


class Generation(QueuedGeneration, kw_only=True):
    """One row, with its cost and who asked for it."""

    cost: Annotated[str, Meta(description="Charged amount for this row (decimal as string).")] | None = None
    user_id: UUID | None = None
    user_image: str | None = None
    username: str | None = None


class GenerationsListResponse(Struct, kw_only=True):
    """Paginated browse view of past generations for a namespace.

    Includes the per-filter cost aggregate. Each row carries any additional request params (prompt,
    duration, etc.) merged in at the top level.
    """

    count: Annotated[int, Meta(description="Number of entries in this response (<= page_size)")]
    generations: list[Generation]
    page_number: Annotated[int, Meta(description="Current page number (1-indexed)")]
    page_size: int
    total_pages: int
    total_entries: int
    total_cost: (
        Annotated[
            str,
            Meta(
                description="Sum of charged amounts across the filter set (decimal as string). "
                "Null when nothing in the set has been charged."
            ),
        ]
        | None
    )


class GenerationsShowResponse(Struct, kw_only=True):
    """Standard success envelope wrapping a single generation under `generation`.

    The inner object is the same per-row shape returned by the list endpoint (request params merged in at the top
    level), so the frontend can reuse one type for both.
    """

    status: Annotated[str, Meta(extra_json_schema={"example": "success"})]
    status_message: Annotated[str, Meta(extra_json_schema={"example": "resource_found"})]
    generation: Generation


class QueueListResponse(Struct, kw_only=True):
    """Lean polling view of the workbench render queue.

    Active (`queued`/`processing`) rows by default; pass an explicit `status=` filter to include terminal rows. For
    paginated browse with cost aggregates, see `/api/ai/generations`.
    """

    count: int
    generations: list[QueuedGeneration]


class QueueGenerationResponse(QueuedGeneration, kw_only=True):
    """Compact status payload for a single queued generation, used by the workbench to poll progress.

    For the full payload (cost, user, etc.), see `/api/ai/generations/:id`.
    """
