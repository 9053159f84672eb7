"""Requests as the express lane remembers them, and the answers that it gives."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from proxy.at_hand import Grounds
from proxy.callers import Caller
from proxy.credential import Credential
from proxy.directives import Directives
from proxy.encodings import Coding
from proxy.kept import Kept
from proxy.outcome import Hit, StaleHit
from proxy.question import Question
from proxy.quota import Terms
from proxy.web.recollection import Remembered
from proxy.web.telemetry import Asked


class Meaning(Struct, frozen=True, gc=False):
    """What a request's words mean, whatever they ask for.

    Attributes:
        terms: what the caller may ask; None: as much as it likes.
        valid: says whether the caller's credentials still are.
        liked: the coding that the caller likes best.
        tags: of If-None-Match.
        shown: the tag of the page whose namespace the caller was found to see; None: the question names its own.
    """

    caller: Caller
    wishes: Directives
    terms: Terms | None
    valid: Callable[[], bool]
    liked: Coding | None
    tags: frozenset[str]
    shown: str | None


class Manner(Struct, frozen=True, gc=False):
    """How a request was made, beside what it asks for: many that are remembered share one, so that it is at hand.

    ``credential_id``: that the credential had.
    """

    meaning: Meaning
    credential: Credential
    credential_id: str
    origin: bytes | None


class Heard(Remembered, gc=False):
    """A request as it is remembered.

    ``kept``: where memory keeps the page that was the answer, if it is looked for without wishes.
    """

    manner: Manner
    asked: Asked
    question: Question
    kept: Kept | None = None


class Answer(Struct, frozen=True, gc=False):
    """An answer from memory: a 200 with ``body`` in ``coding``, or a 304; about the variant of ``etag``.

    ``grounds``: what it stands on, if it is likely to be given again as it is.
    """

    heard: Heard
    outcome: Hit | StaleHit
    status: int
    etag: str
    coding: Coding | None
    body: bytes
    limits: list[tuple[bytes, bytes]]
    grounds: Grounds | None = None
