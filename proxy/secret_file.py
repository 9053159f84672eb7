"""Files that hold a secret, as orchestrators mount them: read within bounds, and again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Reloaded(Generic[T]):
    """What a file holds, which may be replaced while the process runs: it is read again when it changed.

    While it is missing or unusable, as it may be in the middle of being replaced, what it held last goes on.

    Args:
        read: reads it.
        what: it holds, for the log.

    Attributes:
        value: what it held last.

    Raises:
        ValueError: on construction, as ``read``.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], what: str, log: logging.Logger) -> None:
        self._path, self._read, self._what, self._log = path, read, what, log
        self._seen = _version(path)  # before it is read: what is written meanwhile is another
        self.value = read(path)

    def reload_if_changed(self) -> bool:
        """Read the file again if it changed, which one ``stat`` tells; return whether it holds something new."""
        before, self._seen = self._seen, _version(self._path)
        return self._seen != before and self.reload()

    def reload(self) -> bool:
        """Read the file again in any case; return whether it holds something new."""
        try:
            value = self._read(self._path)
        except ValueError as fault:
            self._log.warning("%s not renewed, the last good one goes on: %s", self._what, fault)
            return False
        if value == self.value:
            return False
        self.value = value
        self._log.info("%s renewed from %s", self._what, self._path)
        return True


def read(path: Path, most: int) -> bytes:
    """Read a file of at most ``most`` bytes.

    Raises:
        ValueError: it cannot be read, or is longer; the text does not show what is in it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None
    if len(raw) > most:
        raise ValueError(f"{str(path)!r} is longer than {most} bytes")
    return raw


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
