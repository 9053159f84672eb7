"""What a line of the log looks like: for people, or for machines."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

_NAMES: Final = {"uvicorn.error": "uvicorn"}
"""What a logger is called in lines: of that one, uvicorn's for everything but requests, most are no errors."""
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_GREY, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
_encode: Final = msgspec.json.Encoder().encode


class LogEvent(Struct, frozen=True):
    """Something that is logged by its members: frozen, so that it may be written later by another thread."""

    def shown(self) -> Struct:
        """What the log shows, in this order; it has a member at least."""
        raise NotImplementedError

    def members(self) -> str:
        """The same as JSON, without the braces."""
        return _encode(self.shown())[1:-1].decode()

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in msgspec.to_builtins(self.shown()).items())


LogItem: TypeAlias = logging.LogRecord | tuple[float, str, Sequence[LogEvent]]
"""What becomes lines: a record, or events at INFO with their time (Unix seconds) and logger."""


class LineFormatter(logging.Formatter, ABC):
    """Makes lines, of many events for less than of each alone.

    Attributes:
        worker: the number of this process among several behind one port; each line says it.
    """

    worker: int | None = None

    @abstractmethod
    def of_events(self, at: float, logger: str, events: Sequence[LogEvent]) -> list[str]:
        """Their lines."""

    def lines(self, said: Iterable[LogItem]) -> str:
        """All of it, in its order."""
        made: list[str] = []
        for one in said:
            made += [self.format(one)] if isinstance(one, logging.LogRecord) else self.of_events(*one)
        return "\n".join([*made, ""])


class TextFormatter(LineFormatter):
    """Lines for people; ``colours`` for those before a terminal."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__(FORMAT)
        self._colours = colours
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line, more if there is a traceback."""
        record = copy(record)  # other handlers have it too
        record.name = self._source(record.name)
        line = super().format(record)
        if not self._colours:
            return line
        colour = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else ""
        return f"{colour}{line}{_PLAIN}" if colour else line.replace(record.asctime, self._shaded(record.asctime))

    def of_events(self, at: float, logger: str, events: Sequence[LogEvent]) -> list[str]:
        """Time, level and logger, then an event's members."""
        second = int(at)
        if second != self._second[0]:  # a busy process has many lines in a second
            self._second = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        head = f"{self._shaded(f'{self._second[1]},{int(at * 1000) % 1000:03d}')} INFO {self._source(logger)}"
        return [f"{head} {event}" for event in events]

    def _source(self, logger: str) -> str:
        name = _NAMES.get(logger, logger)
        return name if self.worker is None else f"{name}[{self.worker}]"

    def _shaded(self, text: str) -> str:
        return f"{_GREY}{text}{_PLAIN}" if self._colours else text


class JSONFormatter(LineFormatter):
    """One JSON object a line: time, level and logger, then an event's members, or a message."""

    _second = (-1, "")
    _millisecond = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        if isinstance(record.msg, LogEvent):
            return self.of_events(record.created, record.name, (record.msg,))[0]
        head = self._head(record.created, record.levelname.lower(), record.name)
        message = super().format(record).encode(errors="backslashreplace")  # a file's name may be no UTF-8
        return f'{head}"message":{_encode(message.decode()).decode()}}}'

    def of_events(self, at: float, logger: str, events: Sequence[LogEvent]) -> list[str]:
        """An event's members are put behind the rest as they are, which takes half the time."""
        head = self._head(at, "info", logger)
        return [f"{head}{event.members()}}}" for event in events]

    def _head(self, at: float, level: str, logger: str) -> str:
        name = _encode(_NAMES.get(logger, logger)).decode()
        worker = "" if self.worker is None else f'"worker":{self.worker},'
        return f'{{"time":"{self._moment(at)}","level":"{level}","logger":{name},{worker}'

    def _moment(self, at: float) -> str:
        millisecond = int(at * 1000)
        if millisecond != self._millisecond[0]:  # a busy process has many lines in each
            second = millisecond // 1000
            if second != self._second[0]:
                self._second = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._millisecond = millisecond, f"{self._second[1]}.{millisecond % 1000:03d}Z"
        return self._millisecond[1]


def wants_colours(environ: Mapping[str, str]) -> bool:
    """Whether a terminal may be given colours (no-color.org: any value but the empty one says no)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
