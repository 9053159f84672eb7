"""Faults on demand."""

from __future__ import annotations

from collections import deque
from typing import Literal

from msgspec import Struct


class Fault(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What goes wrong with a request; several members may be combined.

    Attributes:
        latency: seconds before the answer begins.
        hang: never answer (the caller has to leave).
        status: answer with this status and the hub's error envelope.
        retry_after: the answer's Retry-After, as it is to stand there.
        location: the answer's Location.
        content: send this in place of the body.
        content_type: of that content.
        cut_off: send so many bytes of the body, announced in full, then close the connection.
        drip: seconds between pieces of the body, which is sent in 16.
        times: for so many requests; None: until the faults are cleared.
        path: only for requests whose path begins so.
        stream: with a path of ``/api/events``, what becomes of a stream: ``cut``: it ends after a moment; ``silent``:
            nothing comes, no keep-alive either; ``garbage``: lines that mean nothing, and bytes that are no text;
            ``endless``: one line without an end.
    """

    latency: float = 0.0
    hang: bool = False
    status: int | None = None
    retry_after: str | None = None
    location: str | None = None
    content: str | None = None
    content_type: str = "application/json; charset=utf-8"
    cut_off: int | None = None
    drip: float = 0.0
    times: int | None = None
    path: str = "/api/ai/"
    stream: Literal["cut", "silent", "garbage", "endless"] | None = None


NONE = Fault()


class Faults:
    """The faults that are set; the first that fits a request befalls it."""

    def __init__(self) -> None:
        self._faults: deque[tuple[Fault, int | None]] = deque()

    def set(self, *faults: Fault) -> None:
        """Set these faults, in this order, in place of all others."""
        self._faults = deque((fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Let everything go right again."""
        self._faults.clear()

    def befall(self, path: str) -> Fault:
        """The fault for a request that has just come."""
        for index, (fault, left) in enumerate(self._faults):
            if path.startswith(fault.path):
                if left is not None:
                    self._faults[index] = (fault, left - 1)
                    if left <= 1:
                        del self._faults[index]
                return fault
        return NONE
