"""What the operating system or TLS says of a fault, in fixed words: libraries' own texts may quote what was sent."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised for: libraries do not always say ``from``."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):  # of a name's addresses, each
            for one in error.exceptions:
                yield from causes(one)
        error = error.__cause__ or error.__context__


def of_the_system(error: BaseException) -> str:
    """What it says of this error; an empty text where that is nothing."""
    match error:
        case ssl.SSLCertVerificationError():
            return str(error.verify_message).rstrip(".")
        case ssl.SSLError():
            return (error.reason or "").replace("_", " ").lower()
        case OSError() if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno)
        case OSError():
            return error.strerror or ""
    return ""


def reason(error: BaseException) -> str:
    """What it says of the error and of what that was raised for, each once."""
    return ", ".join(dict.fromkeys(filter(None, map(of_the_system, causes(error)))))
