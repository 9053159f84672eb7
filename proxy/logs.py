"""Logging that never makes a caller wait, and hardly costs one.

Lines are written by a thread of their own, some milliseconds' worth at a time: a full pipe, a slow disk or a stuck
log collector then costs lines, not answers. Of a busy process' requests (``LogWriter.event_sink``), many lines are made
at once by whoever logs, as two threads that both want the interpreter cost each other more than the lines do.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from logging.handlers import QueueHandler
from typing import Final, Literal, Self

from proxy.log_format import JSONFormatter, LineFormatter, LogEvent, LogItem, TextFormatter, wants_colours

MAX_QUEUED: Final = 20_000
"""Lines that may wait to be written; what comes on top is dropped and counted."""
BATCH_SECONDS: Final = 0.05
"""Seconds for which lines are collected before they are written: a thread that wakes often costs a busy process more
than what it writes."""
BATCH_LINES: Final = 128
"""Lines that are made at once, which takes some 100 µs."""
VECTORS: Final = 64
"""Pieces that are written in one call."""
FINISH_TIMEOUT: Final = 1.0
"""Seconds that :func:`finish` gives to the lines that still wait."""


class DroppingQueueHandler(QueueHandler):
    """Queues records for the writing thread; ``dropped``: lines that were not written, since the start."""

    def __init__(self, put: Callable[[logging.LogRecord], object]) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # it is only used in enqueue
        self._put = put
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Fix what a record says: what it speaks of may change before it is written, unless it is an event."""
        return record if isinstance(record.msg, LogEvent) else super().prepare(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        self._put(record)


class LogWriter:
    """Everything logged in this process goes through here, from start to finish; also a context manager.

    Attributes:
        formatter: makes the lines.
    """

    def __init__(self, write: Callable[[deque[bytes]], object], formatter: LineFormatter | None = None) -> None:
        """``write``: writes these pieces, one after the other. If it fails, those that it has left are dropped."""
        self._write = write
        self.formatter = formatter or TextFormatter()
        self._said: deque[LogItem] = deque()
        self._waiting = 0
        self._counting = threading.RLock()  # collecting garbage may log, at any moment
        self._made: deque[bytes] = deque()
        self._making = threading.Lock()
        self._waking = threading.Event()
        self._ending = threading.Event()
        self._awake = False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self.handler = DroppingQueueHandler(self._put)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def start(self) -> None:
        """Begin to write, at INFO and above; httpx's line for each request at WARNING."""
        self._thread.start()
        root = logging.getLogger()
        root.addHandler(self.handler)
        root.setLevel(logging.INFO)
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def finish(self) -> None:
        """Write what waits, but wait for that at most FINISH_TIMEOUT seconds: whoever reads may be gone."""
        logging.getLogger().removeHandler(self.handler)
        self._ending.set()
        self._waking.set()
        self._thread.join(FINISH_TIMEOUT)

    def event_sink(self, logger: str) -> Callable[[Sequence[LogEvent]], None]:
        """What logs events at INFO, past ``logging``."""

        def put(events: Sequence[LogEvent]) -> None:
            self._put((time.time(), logger, events))

        return put

    def _put(self, said: LogItem) -> None:
        """Take what was said, as far as there is room for its lines."""
        lines = _count(said)
        with self._counting:
            room = max(0, MAX_QUEUED - self._waiting - BATCH_LINES * len(self._made))
            if lines > room:
                self.handler.dropped += lines - room
                said, lines = _first(said, room), room
            if lines:
                self._waiting += lines
                self._said.append(said)
        if self._waiting > BATCH_LINES and self._making.acquire(blocking=False):
            self._make()
        if not self._awake:
            self._awake = True
            self._waking.set()

    def _make(self) -> None:
        """Make lines of what has been said, with ``_making`` held, so that they keep their order; release it."""
        try:
            while self._said:
                many, lines = [], 0
                while self._said and lines < BATCH_LINES:
                    many.append(self._said.popleft())
                    lines += _count(many[-1])
                self._made.append(self._lines(many))
                with self._counting:
                    self._waiting -= lines
        finally:
            self._making.release()

    def _run(self) -> None:
        reported = 0
        while not self._ending.is_set() or self._waiting or self._made:  # by whoever logged, while this was writing
            self._waking.wait()
            self._waking.clear()
            self._ending.wait(BATCH_SECONDS)
            self._awake = False  # before looking: whoever comes later wakes this again
            self._making.acquire()
            self._make()
            pieces = deque(self._made.popleft() for _ in range(len(self._made)))
            try:
                self._write(pieces)
                if (dropped := self.handler.dropped) > reported:
                    self._write(deque([self._lines([_report(dropped - reported)])]))
                    reported = dropped
            except OSError:  # a full disk, a reader that is gone: it may be well again with the next lines
                with self._counting:
                    self.handler.dropped += sum(piece.count(b"\n") for piece in pieces)

    def _lines(self, said: Iterable[LogItem]) -> bytes:
        return self.formatter.lines(said).encode(errors="backslashreplace")


def _report(dropped: int) -> logging.LogRecord:
    text = f"{dropped} log line(s) dropped: they could not be written, or not as fast as they came"
    return logging.LogRecord("proxy.logs", logging.WARNING, "", 0, text, (), None)


def _count(said: LogItem) -> int:
    """How many lines it becomes."""
    return 1 if isinstance(said, logging.LogRecord) else len(said[2])


def _first(said: LogItem, lines: int) -> LogItem:
    """So many of its lines."""
    return said if isinstance(said, logging.LogRecord) else (*said[:2], said[2][:lines])


def to_stderr(style: Literal["auto", "json", "text"] = "auto") -> LogWriter:
    """A way for lines to standard error; ``auto``: text for a terminal, JSON for everything else.

    Written past ``sys.stderr`` and ``logging``'s own handlers, both of which hold a lock while they write,
    and want it again when the interpreter ends: with a full pipe it never would.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    plain = style == "text" or (style == "auto" and terminal)
    colours = terminal and wants_colours(os.environ)
    formatter = TextFormatter(colours=colours) if plain else JSONFormatter()
    return LogWriter(partial(_write_whole, 2), formatter)


def _write_whole(descriptor: int, waiting: deque[bytes]) -> None:
    """Write all of it, without putting it together first: that would hold up who logs. What is written leaves it."""
    while waiting:
        try:
            written = os.writev(descriptor, [*islice(waiting, VECTORS)])
        except BlockingIOError:  # whoever shares the pipe may have set it so
            _wait_for_room(descriptor)
            continue
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.popleft())
        if written:
            waiting[0] = waiting[0][written:]


def _wait_for_room(descriptor: int) -> None:
    """Wait, as a write that blocks would."""
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    room.poll()
