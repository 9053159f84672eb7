"""Requests as the express lane remembers them, and the answers that it gives."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from proxy.answer.directives import Directives
from proxy.answer.encodings import Coding
from proxy.answer.outcome import Hit, StaleHit
from proxy.callers.quota import Terms
from proxy.hub.credential import Credential
from proxy.known.cached_page import CachedPage
from proxy.questions.question import Question
from proxy.web.express.request_cache import CacheEntry
from proxy.web.telemetry.event import RequestInfo


class ParsedHeaders(Struct, frozen=True, gc=False):
    """What a request's headers mean, whatever it asks for: nothing that differs from page to page.

    Attributes:
        caller: its name; what it may see was looked at when the request was answered.
        terms: what the caller may ask; None: as much as it likes.
        valid: says whether the caller's credentials still are.
        preferred: the coding that the caller likes best.
    """

    caller: str
    directives: Directives
    terms: Terms | None
    valid: Callable[[], bool]
    preferred: Coding | None


class RequestContext(Struct, frozen=True, gc=False):
    """How a request was made, beside what it asks for: many that are remembered share one, so that it is at hand.

    ``credential_id``: that the credential had.
    """

    parsed: ParsedHeaders
    credential: Credential
    credential_id: str
    origin: bytes | None


class Variant(Struct, gc=False):
    """What of a page a request is answered with, which is the same as long as the page is.

    Attributes:
        status: 200, or 304 if the request's condition holds.
        etag: of the variant that is sent, or that the caller has.
        coding: of the body; None for identity, and for a 304.
        lines: of the answer's head, where ``wire`` has made them: those that are the same for all pages, and the rest.
    """

    status: int
    etag: str
    coding: Coding | None
    lines: tuple[str, str] | None = None


class KnownRequest(CacheEntry, gc=False, kw_only=True):
    """A request as it is remembered.

    Attributes:
        if_none_match: the values of that header; the tags in them are read once for each page.
        visible_etag: the tag of the page whose namespace the caller was found to see; None: the question names its own.
        kept: where memory keeps the page that was the answer, if it is looked for without directives.
        variant: of that page.
    """

    context: RequestContext
    info: RequestInfo
    question: Question
    if_none_match: tuple[str, ...] = ()
    visible_etag: str | None = None
    kept: CachedPage | None = None
    variant: Variant | None = None


class Answer(Struct, frozen=True, gc=False):
    """An answer from memory; the ``body`` is in the variant's coding, and empty with a 304."""

    request: KnownRequest
    outcome: Hit | StaleHit
    variant: Variant
    body: bytes
    limits: list[tuple[bytes, bytes]]
