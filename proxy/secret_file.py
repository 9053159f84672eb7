"""Files that hold a secret, as orchestrators mount them: read within bounds, and again when they change."""

from __future__ import annotations

from pathlib import Path


class SecretFile:
    """A file that may be replaced while the process runs. It is first looked at on construction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _version(path)

    def changed(self) -> bool:
        """Whether it is another one than at the last look, which costs one ``stat``."""
        before, self._seen = self._seen, _version(self.path)
        return self._seen != before


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
