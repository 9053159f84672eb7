"""A seeded world of namespaces in which generations are enqueued, start and end as time goes by.

Nothing here runs by itself: :meth:`World.advance` brings the world up to the clock's time. The same seed
and the same times give the same world.
"""

from __future__ import annotations

import heapq
import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Final

from proxy.simulator.parameters import PROMPTS, request_parameters

TERMINAL: Final = ("succeeded", "failed", "cancelled")
IMAGE_MODELS: Final = ("flux-2-pro", "imagen-5", "qwen-image-3")
VIDEO_MODELS: Final = ("veo-4", "kling-3", "wan-3-5")
FOLDERS: Final = (None, "drafts", "campaign/autumn", "größe & co")
REPOS: Final = (None, "assets", "storyboards")


@dataclass
class Generation:
    """A row of the hub's table. Times in Unix seconds."""

    id: str
    namespace: str
    model: str
    media_type: str
    status: str
    enqueued_at: float
    repo: str | None
    folder: str | None
    username: str
    parameters: Mapping[str, object]
    started_at: float | None = None
    completed_at: float | None = None
    cost: Decimal | None = None
    error: str | None = None
    version: int = 0

    @property
    def terminal(self) -> bool:
        """Whether the row no longer changes (but for a late charge)."""
        return self.status in TERMINAL


@dataclass(order=True)
class _Due:
    at: float
    number: int
    act: Callable[[float], None] = field(compare=False)


class World:
    """Namespaces with their generations.

    Args:
        seed: of everything random.
        clock: Unix seconds.
        speed: how many times faster than in life generations arrive and run; 0 freezes the world.
        rate: arrivals a second and namespace at speed 1.
        history: terminal generations of each namespace at the start.
        prompts: what callers may have asked for.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
        speed: float = 1.0,
        rate: float = 0.2,
        history: int = 180,
        namespaces: Sequence[str] = ("ox", "bessie", "moo"),
        prompts: Sequence[str] = PROMPTS,
    ) -> None:
        self._prompts = prompts
        self._random = random.Random(seed)
        self._clock = clock
        self._speed = speed
        self._rate = rate
        self._due: list[_Due] = []
        self._numbers = count()
        self._rows: dict[str, list[Generation]] = {name: [] for name in namespaces}
        self._by_id: dict[str, Generation] = {}
        self.version = 0
        self.on_end: list[Callable[[Generation], None]] = []
        now = clock()
        for namespace in namespaces:
            for back in range(history, 0, -1):
                self._remember(namespace, now - back * 37.0)
            if speed > 0:
                self._plan_arrival(namespace, now)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The first one is that of the authenticated user."""
        return tuple(self._rows)

    def advance(self) -> None:
        """Let everything happen that is due by now."""
        now = self._clock()
        while self._due and self._due[0].at <= now:
            due = heapq.heappop(self._due)
            due.act(due.at)

    def newest_first(self, namespace: str) -> Iterable[Generation]:
        """All rows of a namespace."""
        return reversed(self._rows[namespace])

    def find(self, generation_id: str) -> Generation | None:
        """The row of that id, if there is one."""
        return self._by_id.get(generation_id)

    def enqueue(self, namespace: str, at: float | None = None, **members: object) -> Generation:
        """Add a queued generation, now; ``members`` override what would be random."""
        row = self._new(namespace, self._clock() if at is None else at, status="queued")
        for name, value in members.items():
            setattr(row, name, value)
        self._add(row)
        return row

    def start(self, row: Generation, at: float | None = None) -> None:
        """Let a queued generation run."""
        if row.status == "queued":
            row.status, row.started_at = "processing", self._clock() if at is None else at
            self._changed(row)

    def end(self, row: Generation, status: str = "succeeded", at: float | None = None) -> None:
        """End a generation; a success is charged."""
        if row.terminal:
            return
        row.status, row.completed_at = status, self._clock() if at is None else at
        if status == "succeeded":
            row.cost = self._price(row.media_type)
        if status == "failed":
            row.error = "Insufficient credits"
        self._changed(row)
        for tell in self.on_end:
            tell(row)

    def charge(self, row: Generation, cost: Decimal) -> None:
        """Change a row's cost: late, as the hub may do."""
        row.cost = cost
        self._changed(row)

    def delete(self, row: Generation) -> None:
        """Remove a row, as the hub does not say it never does."""
        self._rows[row.namespace].remove(row)
        del self._by_id[row.id]
        self.version += 1

    def _plan_arrival(self, namespace: str, after: float) -> None:
        def arrive(at: float) -> None:
            row = self.enqueue(namespace, at)
            start = at + self._random.uniform(0.5, 3.0) / self._speed
            lasts = (5.0, 30.0) if row.media_type == "image" else (20.0, 120.0)
            end = start + self._random.uniform(*lasts) / self._speed
            status = self._random.choices(TERMINAL, (90, 7, 3))[0]
            self._plan(start, lambda at: self.start(row, at))
            self._plan(end, lambda at: self.end(row, status, at))
            if status == "succeeded" and self._random.random() < 0.1:
                late = end + self._random.uniform(5.0, 60.0) / self._speed
                self._plan(late, lambda _: self.charge(row, self._price(row.media_type)))
            self._plan_arrival(namespace, at)

        self._plan(after + self._random.expovariate(self._rate * self._speed), arrive)

    def _plan(self, at: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._due, _Due(at, next(self._numbers), act))

    def _remember(self, namespace: str, at: float) -> None:
        """A generation of the past, ended."""
        status = self._random.choices(TERMINAL, (90, 7, 3))[0]
        row = self._new(namespace, at, status=status)
        row.started_at, row.completed_at = at + 2, at + 30
        row.cost = self._price(row.media_type) if status == "succeeded" else None
        row.error = "The model refused the prompt." if status == "failed" else None
        self._add(row)

    def _new(self, namespace: str, at: float, *, status: str) -> Generation:
        chance = self._random
        media_type = "image" if chance.random() < 0.7 else "video"
        return Generation(
            id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            namespace=namespace,
            model=chance.choice(IMAGE_MODELS if media_type == "image" else VIDEO_MODELS),
            media_type=media_type,
            status=status,
            enqueued_at=at,
            repo=chance.choice(REPOS),
            folder=chance.choice(FOLDERS),
            username=chance.choice(("ada", "grace", "edsger")),
            parameters=request_parameters(chance, media_type, self._prompts),
        )

    def _price(self, media_type: str) -> Decimal:
        cents = self._random.randint(200, 900) if media_type == "image" else self._random.randint(10_000, 90_000)
        return Decimal(cents).scaleb(-4)

    def _add(self, row: Generation) -> None:
        self._rows[row.namespace].append(row)
        self._by_id[row.id] = row
        self.version += 1

    def _changed(self, row: Generation) -> None:
        row.version += 1
        self.version += 1
