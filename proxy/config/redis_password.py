"""Redis' password from a file of its own, as orchestrators mount secrets, put into the URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from proxy.secret import Secret

LONGEST = 4096
"""Characters of a password."""


def read_password(path: str) -> Secret:
    """Read the file, without the white space around it.

    Raises:
        ValueError: it cannot be read, or holds no password; the text does not show it.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(LONGEST + 1).decode("utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} holds no password: it is not text") from None
    if not text or len(text) > LONGEST:
        raise ValueError(f"{path!r} holds no password: it has {len(text)} characters")
    return Secret(text)


def with_password(url: Secret, password: Secret) -> Secret:
    """The URL with this password.

    Raises:
        ValueError: it has one already.
    """
    scheme, _, rest = url.reveal().partition("://")
    user, at, host = rest.rpartition("@")
    if ":" in user:
        raise ValueError("the URL holds a password too; give it in one place only")
    return Secret(f"{scheme}://{user if at else ''}:{quote(password.reveal(), safe='')}@{host if at else rest}")
