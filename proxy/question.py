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
        key: the whole question as text; equal exactly for equal questions of one credential.
        path: of the hub's endpoint.
        query: canonical, as the hub is asked.
        listing: credential and filters: what all pages of the listing have in common.
        place: which page of the listing.
    """

    key: str
    path: str
    query: str
    listing: str
    place: str

    @property
    def redis_key(self) -> str:
        """``gp1:{<digest of the listing>}:<page>:<page_size>``.

        The braces keep all keys of a listing in one cluster slot. The full key is in the value, so a
        digest is enough here.
        """
        digest = hashlib.blake2b(self.listing.encode(), digest_size=16).hexdigest()
        return f"{REDIS_PREFIX}:{{{digest}}}:{self.place}"


def page_question(credential_id: str, query: ListQuery) -> Question:
    """The question for a page of a listing."""
    return Question(
        key=f"{credential_id} {LIST_PATH}?{query.canonical}",
        path=LIST_PATH,
        query=query.canonical,
        listing=f"{credential_id} {LIST_PATH}?{query.listing}",
        place=f"{query.page}:{query.page_size}",
    )
