"""What an asker wants to take in Redis, if nothing that is kept there is of use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.questions.question import Question


class WantedTurn(Struct, frozen=True):
    """A turn at the hub, as scripts are asked for it; ``read`` reads what they say of it."""

    keys: list[str]
    arguments: list[str | int]
    read: Callable[[Any], Any]


class Bid(Struct, frozen=True):
    """What an asker would ask the hub, if nothing is kept that might do: the token of the lease for it.

    ``useless``: Unix seconds, when a live page and a settled one were vouched for at the latest that would not do.
    ``turn``: to be taken with the lease.
    """

    target: Question
    token: str
    useless: tuple[float, float]
    turn: WantedTurn | None = None
