"""A question to the hub, with the names under which its answer is kept."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from proxy.contract import TERMINAL_STATUSES
from proxy.questions.query import ListQuery
from proxy.redis_keys import hash_tag
from proxy.text_cache import text_cache

LIST_PATH: Final = "/api/ai/generations"
QUEUE_PATH: Final = "/api/ai/queue"
MAX_SHARED: Final = 4096
"""Listings whose names all questions about them share, instead of each having its own."""
Kind: TypeAlias = Literal["page", "queue", "generation", "queued"]
"""A page of a listing, a queue, a generation with all that is known of it, or a generation as queues show it."""


class Question(Struct, frozen=True, gc=False):
    """One page of one listing, asked with one credential. Whatever has no pages is a listing of one.

    Attributes:
        credential: the name of the credential.
        key: the whole question as text; equal exactly for equal questions of one credential.
        path: of the hub's endpoint.
        query: canonical, as the hub is asked.
        listing: the hash tag of credential and filters, which the keys of all pages of the listing begin with.
        place: which page of the listing; the id of a single generation.
        filters: of the listing, canonical; the path of a single generation.
        namespace: that the question names, if it does.
        kind: what is asked for.
        page, page_size: of a listing's page, else 0.
        settles: an answer with terminal rows only stays as it is. A queue moves on as soon as there is a new row,
            unless only terminal ones are asked for.
        selection: the query as it was read; None for a single generation.
    """

    credential: str
    key: str
    path: str
    query: str
    listing: str
    place: str
    filters: str
    namespace: str | None = None
    kind: Kind = "page"
    page: int = 0
    page_size: int = 0
    settles: bool = True
    selection: ListQuery | None = None

    @property
    def credential_id(self) -> str:
        """Of the token that the credential had when the question was read."""
        return self.key.partition(" ")[0]

    @property
    def single(self) -> bool:
        """Whether it asks for one generation."""
        return self.kind in ("generation", "queued")

    @property
    def page_key(self) -> str:
        """The Redis key of the page."""
        return f"{self.listing}:{self.place}"


def page_question(credential_id: str, query: ListQuery, *, credential: str = "default") -> Question:
    """The question for a page of a listing, with the credential of this id and name."""
    filters, canonical = _interned(query.listing), query.canonical
    return Question(
        credential=credential,
        key=f"{credential_id} {LIST_PATH}?{canonical}",
        path=LIST_PATH,
        query=canonical,
        listing=hash_tag(f"{credential_id} {LIST_PATH}?{filters}"),
        place=f"{query.page}:{query.page_size}",
        filters=filters,
        namespace=query.namespace,
        page=query.page,
        page_size=query.page_size,
        selection=query,
    )


def top_of(question: Question, page_size: int) -> Question:
    """The question for the first page, of this size, of the listing that a page's question is about."""
    top = replace(question.selection or ListQuery(), page=1, page_size=page_size)
    return page_question(question.credential_id, top, credential=question.credential)


def queue_question(credential_id: str, query: ListQuery, *, credential: str = "default") -> Question:
    """The question for a queue; it has no pages."""
    filters = query.listing
    key = f"{credential_id} {QUEUE_PATH}?{filters}"
    return Question(
        credential=credential,
        key=key,
        path=QUEUE_PATH,
        query=filters,
        listing=hash_tag(key),
        place="all",
        filters=filters,
        namespace=query.namespace,
        kind="queue",
        settles=query.status in TERMINAL_STATUSES,
        selection=query,
    )


def generation_question(
    credential_id: str, kind: Literal["generation", "queued"], generation_id: str, *, credential: str = "default"
) -> Question:
    """The question for a single generation; of which namespace it is, only the answer says."""
    path = f"{LIST_PATH if kind == 'generation' else QUEUE_PATH}/{generation_id}"
    key = f"{credential_id} {path}"
    return Question(
        credential=credential,
        key=key,
        path=path,
        query="",
        listing=hash_tag(key),
        place=generation_id,
        filters=path,
        kind=kind,
    )


@text_cache(MAX_SHARED)
def _interned(text: str) -> str:
    """Cached, the one that stands for all that are equal."""
    return text
