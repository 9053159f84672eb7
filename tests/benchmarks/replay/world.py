"""A world that remembers what was true of each question of the schedule, and when."""

from __future__ import annotations

import bisect
import time
from urllib.parse import parse_qsl

from proxy.simulator import World

NAMESPACES = ("ox", "bessie", "moo")
WALK = 6
PAGE_SIZE = 50

Signature = tuple[object, ...]


class Story:
    """What was true of a question when: signatures, from which time on."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.signatures: list[Signature] = []

    def note(self, now: float, signature: Signature) -> None:
        if not self.signatures or self.signatures[-1] != signature:
            self.times.append(now)
            self.signatures.append(signature)

    def moment(self, signature: Signature, before: float) -> int:
        """The latest index at which this was true, not later than ``before``; -1 if it never was."""
        for index in range(bisect.bisect_right(self.times, before) - 1, -1, -1):
            if self.signatures[index] == signature:
                return index
        return -1


class Watched(World):
    """Notes what is true of each question whenever something has changed."""

    def __init__(self) -> None:
        super().__init__(seed=7, speed=2.0, rate=0.15, history=400, namespaces=NAMESPACES)
        self.questions = {question: dict(parse_qsl(question)) for question in _questions()}
        self.stories = {question: Story() for question in self.questions}
        self.totals = {question: Story() for question in self.questions}
        self._noted = -1
        self.note()

    def advance(self) -> None:
        super().advance()
        self.note()

    def note(self) -> None:
        if self.version == self._noted:
            return
        self._noted = self.version
        now = time.time()
        for question, parameters in self.questions.items():
            wanted = [(name, parameters[name]) for name in ("status", "model") if name in parameters]
            rows = [
                row
                for row in self.newest_first(parameters["namespace"])
                if all(getattr(row, name) == value for name, value in wanted)
            ]
            page = int(parameters.get("page", 1))
            shown = tuple(
                (row.id, row.status, None if row.cost is None else str(row.cost))
                for row in rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
            )
            costs = [row.cost for row in rows if row.cost is not None]
            totals = (len(rows), str(sum(costs[1:], costs[0])) if costs else None)
            self.stories[question].note(now, (totals, shown))
            self.totals[question].note(now, totals)


def _questions() -> list[str]:
    """Those of the schedule (``callers``)."""
    found = [f"namespace={name}" for name in NAMESPACES]
    found += [f"namespace={name}&status=succeeded" for name in NAMESPACES]
    found += [f"namespace={name}&model=veo-4" for name in NAMESPACES]
    return found + [f"namespace={name}&page={page}" for name in NAMESPACES for page in range(2, WALK + 1)]
