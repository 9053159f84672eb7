"""Redis' password from a file of its own, as orchestrators mount secrets, put into the URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from proxy import secret_file
from proxy.secret import Secret

MAX_FILE = 4096
"""Bytes of the file."""


def read_password(path: str) -> Secret:
    """Read the file, without the white space around it.

    Raises:
        ValueError: it cannot be read, or holds no password; the text does not show it.
    """
    try:
        text = secret_file.read(Path(path), MAX_FILE).decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} holds no password: it is not text") from None
    if not text:
        raise ValueError(f"{path!r} holds no password: it has 0 characters")
    return Secret(text)


def with_password(url: Secret, password: Secret) -> Secret:
    """The URL with this password.

    Raises:
        ValueError: it has one already.
    """
    parts = urlsplit(url.reveal())
    user, _, hosts = parts.netloc.rpartition("@")  # a path and options may hold an @, too
    if ":" in user:
        raise ValueError("the URL holds a password too; give it in one place only")
    return Secret(parts._replace(netloc=f"{user}:{quote(password.reveal(), safe='')}@{hosts}").geturl())
