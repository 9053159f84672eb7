"""What a look into Redis takes for the fetch that follows where nothing kept is of use: so a miss asks Redis twice."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from proxy.admission.turns import Early
from proxy.questions.question import Question
from proxy.redis.bids import Bid
from proxy.redis.shared import Found


class Claim(Struct, frozen=True):
    """What a look takes for a fetch: the question's lease, by this token, and a turn at the hub if there is one.

    ``held``: Redis has said so. ``unsure``: Redis did not answer in time; the lease may be ours, now or later.
    """

    question: Question
    token: str
    turn: Early | None = None
    held: bool = False
    unsure: bool = False

    def bid(self, useless: tuple[float, float]) -> Bid:
        """As Redis is asked for it; see there."""
        return Bid(self.question, self.token, useless, None if self.turn is None else self.turn.wanted)

    def asked(self, found: Found | None) -> Claim:
        """The claim after Redis has taken it, or has not answered."""
        if found is None:
            return replace(self, unsure=True)
        if self.turn is not None:
            self.turn.answer = found.turn
        return replace(self, held=True)
