"""What a look into Redis takes for the fetch that follows where nothing kept is of use: so a miss asks Redis twice."""

from __future__ import annotations

from msgspec import Struct

from proxy.bids import Bid
from proxy.question import Question
from proxy.shared import Found
from proxy.turns import Early


class Claim(Struct, frozen=True):
    """What a look takes for a fetch: the question's lease, by this token, and a turn at the hub if that may be had."""

    question: Question
    token: str
    turn: Early | None = None

    def bid(self, useless: tuple[float, float]) -> Bid:
        """As Redis is asked for it; see there."""
        return Bid(self.question, self.token, useless, None if self.turn is None else self.turn.wanted)

    def taken(self, found: Found) -> None:
        """Redis has been asked."""
        if self.turn is not None:
            self.turn.answer = found.turn
