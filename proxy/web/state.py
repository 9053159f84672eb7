"""What is noted of a request on its way, and read where it ends: for the answer's headers, the log and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from litestar.types import HTTPScope, Scope
from msgspec import Struct

from proxy.answer.outcome import Outcome
from proxy.questions.question import Question
from proxy.tracing import Trace

REQUEST: Final = "request"
"""The key of ASGI's state under which it is."""


class RequestState(Struct, gc=False):
    """A request, as far as it has come. The edge makes one for each.

    Attributes:
        trace: where the request belongs, with tracing on.
        caller: who asks; set by whoever authenticates, as soon as it is known.
        headers: what the edge adds to the answer: the caller's limits.
        question: what was asked for, the last of several that were tried.
        served: what the caller gets, where that is a page.
        outcome: an error's type, where it is not.
        status: of the answer; 0 until that has begun.
        remember: given the scope when the answer has been sent, so that nobody waits for it: lets the same request go
            the express lane next time.
    """

    request_id: str
    trace: Trace | None = None
    caller: str = "-"
    headers: Sequence[tuple[bytes, bytes]] = ()
    question: Question | None = None
    served: Outcome | None = None
    outcome: str = "none"
    status: int = 0
    remember: Callable[[HTTPScope], None] | None = None


def state_of(scope: Scope) -> RequestState:
    """What is noted of a request that has passed the edge."""
    state: RequestState = scope["state"][REQUEST]
    return state
