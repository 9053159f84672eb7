"""What a line of the log looks like: for people, or for machines."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_GREY, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


_encode: Final = msgspec.json.Encoder().encode


class Event(Struct, frozen=True):
    """Something that is logged by its members: frozen, so that it may be written later by another thread."""

    def shown(self) -> Struct:
        """What the log shows, in this order; it has a member at least."""
        raise NotImplementedError

    def members(self) -> str:
        """The same as JSON, without the braces."""
        return _encode(self.shown())[1:-1].decode()

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in msgspec.to_builtins(self.shown()).items())


class TextFormatter(logging.Formatter):
    """Lines for people; ``colours`` for those before a terminal."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__(FORMAT)
        self._colours = colours
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line, more if there is a traceback."""
        line = super().format(record)
        if not self._colours:
            return line
        colour = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else ""
        return f"{colour}{line}{_PLAIN}" if colour else line.replace(record.asctime, self._shaded(record.asctime))

    def line(self, at: float, logger: str, event: Event) -> str:
        """The line of an event at INFO."""
        second = int(at)
        if second != self._second[0]:  # a busy process has many lines in a second
            self._second = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._shaded(f'{self._second[1]},{int(at * 1000) % 1000:03d}')} INFO {logger} {event}"

    def _shaded(self, text: str) -> str:
        return f"{_GREY}{text}{_PLAIN}" if self._colours else text


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level and logger, then an event's members, or a message."""

    _second = (-1, "")
    _millisecond = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        if isinstance(record.msg, Event):
            return self.line(record.created, record.name, record.msg)
        head = {"time": self._moment(record.created), "level": record.levelname.lower(), "logger": record.name}
        return _encode(head | {"message": super().format(record)}).decode()

    def line(self, at: float, logger: str, event: Event) -> str:
        """The line of an event at INFO. Its members are put behind the rest as they are, which takes half the time."""
        return f'{{"time":"{self._moment(at)}","level":"info","logger":"{logger}",{event.members()}}}'

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
