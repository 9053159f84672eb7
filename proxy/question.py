"""A question to the hub, with the names under which its answer is kept."""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct

from proxy.query import ListQuery

LIST_PATH: Final = "/api/ai/generations"
REDIS_PREFIX: Final = "gp1"
"""Changes when values of an earlier release must not be read: both releases then run side by side."""


class Question(Struct, frozen=True):
    """One page of one listing, asked with one credential.

    Attributes:
        credential: the name of the credential.
        key: the whole question as text; equal exactly for equal questions of one credential.
        path: of the hub's endpoint.
        query: canonical, as the hub is asked.
        listing: ``gp1:{<digest of credential and filters>}``, what the keys of all pages of the listing begin
            with. The braces keep them in one Redis Cluster slot; the full key is in each value, so a digest
            is enough.
        place: which page of the listing.
        filters: of the listing, canonical.
        namespace: that the question names, if it does.
    """

    credential: str
    key: str
    path: str
    query: str
    listing: str
    place: str
    filters: str
    namespace: str | None

    @property
    def page_key(self) -> str:
        """The Redis key of the page."""
        return f"{self.listing}:{self.place}"


def record_key(listing: str) -> str:
    """The Redis key of a listing's record."""
    return f"{listing}:record"


def page_question(credential_id: str, query: ListQuery, *, credential: str = "default") -> Question:
    """The question for a page of a listing, with the credential of this id and name."""
    filters, canonical = query.listing, query.canonical
    digest = hashlib.blake2b(f"{credential_id} {LIST_PATH}?{filters}".encode(), digest_size=16).hexdigest()
    return Question(
        credential=credential,
        key=f"{credential_id} {LIST_PATH}?{canonical}",
        path=LIST_PATH,
        query=canonical,
        listing=f"{REDIS_PREFIX}:{{{digest}}}",
        place=f"{query.page}:{query.page_size}",
        filters=filters,
        namespace=query.namespace,
    )
