"""Logging that never makes a caller wait.

Lines are written by a thread of their own from a bounded queue: a full pipe, a slow disk or a stuck log
collector then costs lines, not answers. The thread writes many at a time, so that a busy process is not woken for each.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from logging.handlers import QueueHandler
from typing import Final, Literal, Self

import msgspec
from msgspec import Struct

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
QUEUED: Final = 10_000
"""Lines that may wait to be written; what comes on top is dropped and counted."""
GATHERING: Final = 0.02
"""Seconds for which lines are gathered before they are written together."""
AT_ONCE: Final = 1_000
"""Lines that are written together at the most."""
ENDING: Final = 1.0
"""Seconds that :func:`finish` gives to the lines that still wait."""

_GREY, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class Event(Struct, frozen=True):
    """Something that is logged by its members: frozen, so that it may be written later by another thread."""

    def members(self) -> dict[str, object]:
        """What the log shows."""
        raise NotImplementedError

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.members().items())


class TextFormatter(logging.Formatter):
    """Lines for people; ``colours`` for those before a terminal."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__(FORMAT)
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """One line, more if there is a traceback."""
        line = super().format(record)
        if not self._colours:
            return line
        colour = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else ""
        return f"{colour}{line}{_PLAIN}" if colour else line.replace(record.asctime, f"{_GREY}{record.asctime}{_PLAIN}")


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level and logger, then an event's members, or a message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = {
            "time": f"{at}.{int(record.created * 1000) % 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        said = record.msg.members() if isinstance(record.msg, Event) else {"message": super().format(record)}
        return msgspec.json.encode(head | said).decode()


class DroppingQueueHandler(QueueHandler):
    """Queues records for the writing thread; drops them, counted, when the queue is full."""

    def __init__(self, lines: queue.SimpleQueue[logging.LogRecord | None], limit: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._limit = limit
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Fix what a record says: what it speaks of may change before it is written, unless it is an event."""
        return record if isinstance(record.msg, Event) else super().prepare(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        if self._lines.qsize() >= self._limit:
            self.dropped += 1
        else:
            self._lines.put(record)


class Writing:
    """Everything logged in this process goes through here, from start to finish; also a context manager."""

    def __init__(self, write: Callable[[str], object], formatter: logging.Formatter | None = None) -> None:
        self._write = write
        self._formatter = formatter or TextFormatter()
        self._lines: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._ending = threading.Event()
        self._reported = 0
        self.handler = DroppingQueueHandler(self._lines, QUEUED)

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
        """Write what waits, but wait for that at most ENDING seconds: whoever reads may be gone."""
        logging.getLogger().removeHandler(self.handler)
        self._ending.set()
        self._lines.put(None)
        self._thread.join(ENDING)

    def _run(self) -> None:
        while (record := self._lines.get()) is not None:
            self._ending.wait(GATHERING)
            gathered = [record]
            while len(gathered) < AT_ONCE and not self._lines.empty():
                record = self._lines.get()
                if record is None:
                    self._write_all(gathered)
                    return
                gathered.append(record)
            self._write_all(gathered)

    def _write_all(self, records: list[logging.LogRecord]) -> None:
        lines = [self._formatter.format(record) for record in records]
        self._write("\n".join(lines) + "\n")
        if self.handler.dropped > self._reported:
            missing, self._reported = self.handler.dropped - self._reported, self.handler.dropped
            text = f"{missing} log line(s) dropped: they came faster than they could be written"
            report = logging.LogRecord("proxy.logs", logging.WARNING, "", 0, text, (), None)
            self._write(self._formatter.format(report) + "\n")


def to_stderr(style: Literal["auto", "json", "text"] = "auto") -> Writing:
    """A way for lines to standard error; ``auto``: text for a terminal, JSON for everything else.

    Written past ``sys.stderr`` and ``logging``'s own handlers, both of which hold a lock while they write,
    and want it again when the interpreter ends: with a full pipe it never would.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    plain = style == "text" or (style == "auto" and terminal)
    colours = terminal and wants_colours(os.environ)
    formatter = TextFormatter(colours=colours) if plain else JSONFormatter()
    return Writing(lambda text: _write_whole(2, text.encode(errors="backslashreplace")), formatter)


def wants_colours(environ: Mapping[str, str]) -> bool:
    """Whether a terminal may be given colours (no-color.org: any value but the empty one says no)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _write_whole(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]
