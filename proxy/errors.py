"""Everything that can go wrong, as one tree of exceptions.

::

    ProxyError                        status, type, title: what the caller is told
    ├── InvalidParameter          400 invalid_parameter        the query is not a question
    ├── Unauthorized              401 unauthorized             credentials are missing or wrong
    ├── KeysUnavailable           503 keys_unavailable         what verifies tokens could not be fetched yet
    ├── Forbidden                 403 forbidden                the namespace is not granted to the caller
    ├── TooManyRequests           429 too_many_requests        the caller has used up what it may ask
    ├── TooManyListeners          503 too_many_listeners       there is no room for another listener to events
    ├── TooManyLookups            503 too_many_lookups         there is no room for another question that is new here
    ├── BadPurge                  400 bad_purge                the operator's request says nothing to purge
    ├── Forwarded                     the hub's own error body, byte for byte
    │   ├── HubRejectedQuestion   400 (the hub's own type)     hub answered 400 or 422
    │   └── HubFoundNothing       404 (the hub's own type)     hub answered 404
    ├── MomentGone                412 moment_gone              a moment of a listing that has passed
    ├── NotCached                 504 not_cached               only-if-cached, and nothing is
    └── HubError                      the hub did not give an answer that can be passed on
        ├── HubRefusedCredential  502 hub_refused_credential   hub answered 401 or 403
        ├── HubRateLimited        503 hub_rate_limited         hub answered 429
        ├── HubUnavailable        503 hub_unavailable          hub answered 503 and said when to return
        ├── HubResting            503 hub_resting              not asked: it failed too often, and is left alone
        ├── HubBusy               503 hub_busy                 not asked: the budget or the line is used up
        ├── HubRejectedRequest    502 hub_rejected_request     any other 4xx
        ├── HubFailed             502 hub_failed               any other 5xx
        ├── HubRedirected         502 hub_redirected           3xx: following would hand out the token
        ├── HubAnswerUnexpected   502 hub_answer_unexpected    1xx or 2xx other than 200
        ├── HubAnswerEncoded      502 hub_answer_encoded       a content coding that was not asked for
        ├── HubAnswerNotJSON      502 hub_answer_not_json
        ├── HubAnswerNotAPage     502 hub_answer_not_a_page    JSON, but not the contract's
        ├── HubAnswerCutOff       502 hub_answer_cut_off       connection ended within the body
        ├── HubAnswerTooLarge     502 hub_answer_too_large     longer than hub.answer_bytes
        ├── HubUnreachable        502 hub_unreachable          no connection, or broken before an answer
        └── HubTimeout            504 hub_timeout              no answer in time

``type`` is stable and part of the interface; ``title`` is fixed per type; ``detail`` says what
happened this time. None of them ever holds a token: no text of a hub exception is copied in.
"""

from __future__ import annotations

from typing import ClassVar, Final

RETRY_AFTER: Final = 1.0
"""Seconds to name in Retry-After where nobody knows how long it will take."""


class ProxyError(Exception):
    """Base of all errors that a caller may be told about.

    Attributes:
        status: HTTP status of the answer.
        type: stable name, ``error.type`` of the envelope.
        title: the same for every error of the type.
        detail: what happened this time and what would be right.
        parameter: the query parameter at fault, if one is.
        retry_after: seconds after which asking again makes sense, if known.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The proxy failed to answer"

    def __init_subclass__(cls, *, status: int = 0, type: str = "", title: str = "") -> None:  # noqa: A002  its name
        cls.status, cls.type, cls.title = status or cls.status, type or cls.type, title or cls.title

    def __init__(self, detail: str, *, parameter: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.parameter = parameter
        self.retry_after = retry_after


class InvalidParameter(ProxyError, status=400, type="invalid_parameter", title="A query parameter is not valid"):
    """The query string is not a question that the API knows."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail, parameter=parameter)


class Unauthorized(ProxyError, status=401, type="unauthorized", title="Credentials are missing or wrong"):
    """The caller's, or the operator's, credentials are missing or wrong."""


class KeysUnavailable(ProxyError, status=503, type="keys_unavailable", title="Tokens cannot be verified now"):
    """Nothing is known against the caller's token, nor for it: no set of keys could be fetched yet."""


class Forbidden(ProxyError, status=403, type="forbidden", title="The namespace is not granted"):
    """The caller may not see what it asks for."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, parameter="namespace")


class TooManyRequests(ProxyError, status=429, type="too_many_requests", title="The caller asks too much"):
    """The caller has used up what it may ask."""


class TooManyListeners(ProxyError, status=503, type="too_many_listeners", title="Too many listen to events"):
    """There is no room for another listener to events in this process."""


class TooManyLookups(ProxyError, status=503, type="too_many_lookups", title="Too many new questions at once"):
    """This process looks up as many new questions in Redis as it takes at once; the hub has nothing to do with it."""


class BadPurge(ProxyError, status=400, type="bad_purge", title="The purge request is not valid"):
    """The operator's request does not say what to purge."""


class MomentGone(ProxyError, status=412, type="moment_gone", title="The listing's moment is gone"):
    """The caller asks for a page of a moment that cannot be returned to (RFC 9110 §15.5.13)."""


class NotCached(ProxyError, status=504, type="not_cached", title="Nothing suitable is cached"):
    """The caller's Cache-Control forbids to ask the hub, and nothing that it allows is kept (RFC 9111 §5.2.1.7)."""

    DETAIL: Final = "Nothing that Cache-Control allows is kept, and only-if-cached forbids to ask the hub."

    def __init__(self, detail: str = DETAIL) -> None:
        super().__init__(detail)


class Forwarded(ProxyError):
    """The hub's own error, whose body is the answer; ``body`` is ``None`` where it is unfit to pass on."""

    def __init__(self, detail: str, body: bytes | None, *, hub_status: int | None = None) -> None:
        super().__init__(detail)
        self.body = body
        self.hub_status = hub_status


class HubRejectedQuestion(Forwarded, status=400, type="hub_rejected_question", title="The hub rejected the question"):
    """The hub answered 400 or 422."""


class HubFoundNothing(
    Forwarded, status=404, type="resource_not_found", title="The requested resource could not be found"
):
    """The hub answered 404; ``cache_status`` says when, and ``age`` how many seconds ago if it was kept."""

    def __init__(
        self,
        detail: str,
        body: bytes | None,
        *,
        hub_status: int | None = 404,
        cache_status: str | None = None,
        age: int | None = None,
    ) -> None:
        super().__init__(detail, body, hub_status=hub_status)
        self.cache_status = cache_status
        self.age = age


class HubError(ProxyError, status=502, type="hub_error", title="The hub gave no usable answer"):
    """The hub gave no answer that can be passed on.

    ``hub_status`` is what it answered, if it did; ``asked``, whether it was asked. ``cause``: why there was no
    connection, in words of the system, which are no caller's business.
    """

    asked: bool = True

    def __init__(self, detail: str, *, hub_status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.hub_status = hub_status
        self.repeatable = False  # True: the hub cannot have read the request, or there is a new token
        self.cause = ""

    def explained(self) -> str:
        """What happened, with its cause: for the log and for operators."""
        return ": ".join(filter(None, (self.detail.rstrip("."), self.cause)))


class HubRefusedCredential(HubError, type="hub_refused_credential", title="The hub refused the proxy's credential"):
    """The hub answered 401: an operator has to renew the token; or 403: the token may not see what was asked for."""


class HubRateLimited(HubError, status=503, type="hub_rate_limited", title="The hub's rate limit is reached"):
    """The hub answered 429, now or so recently that it is still left alone."""


class HubUnavailable(
    HubError, status=503, type="hub_unavailable", title="The hub is unavailable and said when to return"
):
    """The hub answered 503 with a Retry-After, now or so recently that it is still left alone."""


class HubResting(HubError, status=503, type="hub_resting", title="The hub failed too often and is left alone"):
    """The hub was not asked: it failed too often, and is left alone for a while."""

    asked = False


class HubBusy(HubError, status=503, type="hub_busy", title="There is no room for another request to the hub"):
    """The hub was not asked: its budget or the line for it leaves no room in time."""

    asked = False


class HubRejectedRequest(HubError, type="hub_rejected_request", title="The hub rejected the request"):
    """The hub answered with a 4xx that has no meaning of its own here."""


class HubFailed(HubError, type="hub_failed", title="The hub failed"):
    """The hub answered with a 5xx."""


class HubRedirected(HubError, type="hub_redirected", title="The hub redirected"):
    """The hub answered with a redirect, which is not followed."""


class HubAnswerUnexpected(HubError, type="hub_answer_unexpected", title="The hub answered with an unexpected status"):
    """The hub answered with a success status that is not 200."""


class HubAnswerEncoded(
    HubError, type="hub_answer_encoded", title="The hub's answer is in an unreadable content coding"
):
    """The hub used a content coding that the proxy did not ask for and cannot undo."""


class HubAnswerNotJSON(HubError, type="hub_answer_not_json", title="The hub's answer is not JSON"):
    """The hub's 200 is not JSON."""


class HubAnswerNotAPage(HubError, type="hub_answer_not_a_page", title="The hub's answer is not a page of generations"):
    """The hub's 200 is JSON, but not of the contract's shape."""


class HubAnswerCutOff(HubError, type="hub_answer_cut_off", title="The hub's answer was cut off"):
    """The hub's answer ended before its end."""


class HubAnswerTooLarge(HubError, type="hub_answer_too_large", title="The hub's answer is too large"):
    """The hub's answer, decoded, is longer than the limit."""


class HubUnreachable(HubError, type="hub_unreachable", title="The hub cannot be reached"):
    """No connection to the hub, or it broke before an answer began."""


class HubTimeout(HubError, status=504, type="hub_timeout", title="The hub did not answer in time"):
    """The hub did not answer in time."""
