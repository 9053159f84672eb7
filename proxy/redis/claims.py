"""What a lookup in Redis takes at once for the fetch that follows, where nothing that is kept is of use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proxy.questions.question import Question


class WantedTurn(Struct):
    """A turn at the hub that a script is asked for beside other things.

    Attributes:
        gate: its name.
        keys, arguments: as the script is asked for it.
        read: reads what the script says of it, together with the rest of the reply: one of another shape is another's
            reply altogether (``RedisLink.read``).
        answer: that, as it was read; None until there is one.
        over: it was used, or given back.
    """

    ticket: str
    gate: str
    keys: list[str]
    arguments: list[str | int]
    read: Callable[[Any], Any]
    answer: Any | None = None
    over: bool = False


class Claim(Struct, frozen=True):
    """The right to ask the hub a question for all replicas: its lease, by this token, and a turn with it.

    Attributes:
        useless: Unix seconds, when a live page and a settled one were vouched for at the latest that would not do: the
            lease is taken only where nothing is kept that might.
        turn: to be taken with the lease.
        held: Redis has said that the lease is taken.
        unsure: Redis did not answer in time; the lease may be ours, now or later.
    """

    question: Question
    token: str
    useless: tuple[float, float] = (0.0, 0.0)
    turn: WantedTurn | None = None
    held: bool = False
    unsure: bool = False

    def taken(self, turn: Any | None) -> Claim:
        """The claim after Redis has given the lease, and said this of the turn."""
        if self.turn is not None:
            self.turn.answer = turn
        return replace(self, held=True)

    def unanswered(self) -> Claim:
        """The claim after Redis has not answered in time."""
        return replace(self, unsure=True)
