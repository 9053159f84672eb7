"""The hub's news that a generation has ended, and what it can have changed. Pure.

There is no event for a new generation, a start, a cancellation or another member's work, a failed one names no model,
and none names the namespace (hub facts: events). So an event makes doubtful what it can have changed; that there
was none vouches for nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from proxy.contract import TERMINAL_STATUSES
from proxy.errors import InvalidParameter
from proxy.questions import query
from proxy.questions.question import Question

TYPE: Final = "media_generation_completed"


class Completion(Struct, frozen=True):
    """A generation has ended; ``data`` is the event's, as the hub sent it."""

    generation_id: str
    status: str
    media_type: str | None
    model: str | None
    data: str

    @property
    def identity(self) -> str:
        """Equal for news of the same, by whichever connection it came."""
        return f"{self.generation_id}:{self.status}"


class _Data(Struct):
    generation_id: str
    status: str
    media_type: str | None = None
    model: str | None = None


_decode = msgspec.json.Decoder(_Data).decode


def read(data: str) -> Completion:
    """Read the data of an event.

    Raises:
        ValueError: it does not say which generation has ended, and how.
    """
    try:
        found = _decode(data)
        generation_id = query.parse_id(found.generation_id)
    except (msgspec.MsgspecError, InvalidParameter, RecursionError) as error:
        raise ValueError("an event that names no generation") from error
    return Completion(generation_id, found.status, found.media_type, found.model, data)


class Trait(Struct, frozen=True):
    """What completions have in common that can change the same listings."""

    status: str
    media_type: str | None
    model: str | None
    namespace: str | None = None

    def can_change(self, question: Question) -> bool:
        """Whether a listing or queue can have such a row, or have had it while it was in flight.

        What is not known of a row may be anything; so may be the namespace that a question leaves out.
        """
        wanted = question.selection
        if wanted is None:
            return False
        if wanted.status is not None and wanted.status != self.status and wanted.status in TERMINAL_STATUSES:
            return False
        if wanted.media_type is not None and self.media_type not in (None, wanted.media_type):
            return False
        if wanted.namespace is not None and self.namespace not in (None, wanted.namespace):
            return False
        return wanted.model is None or self.model in (None, wanted.model)


class Origin(Struct, frozen=True):
    """What a row says of where its generation belongs."""

    target_namespace: str | None = None
    model_name: str | None = None


UNKNOWN_ORIGIN: Final = Origin()


def trait_of(completion: Completion, origin: Origin = UNKNOWN_ORIGIN) -> Trait:
    """What its listings depend on."""
    model = completion.model or origin.model_name
    return Trait(completion.status, completion.media_type, model, origin.target_namespace)
