"""Why Redis cannot be had, or says no, in words of ours: its own may quote what was sent, a password for example."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import RedisError, ResponseError

from proxy.causes import causes, of_the_system
from proxy.redis.client import ClusterUnfit

_MEANINGS: Final = [
    (re.compile(r"run the '([a-z]+(?:\|[a-z]+)?)' command"), r"missing is the right +\1"),
    (re.compile(r"no permissions.*\bkeys?\b", re.IGNORECASE), "missing is the right to keys ~gp1:*"),
    (re.compile(r"no permissions.*\bchannels?\b", re.IGNORECASE), "missing is the right to channels &gp1:news*"),
    (re.compile(r"can't publish to the channel"), "missing is the right to channels &gp1:news*"),
    (re.compile(r"can't run this command|ACL failure"), "missing is the right to a command that scripts use"),
    (re.compile(r"unknown (?:sub)?command ['`]([A-Za-z]+)['`]", re.IGNORECASE), r"it has no command \1"),
    (re.compile(r"DB index"), "it has no database of that number"),
]
"""What Redis' texts say (6.2 to 8), and what of it is worth saying; names of commands are ours."""
_CODE: Final = re.compile("[A-Z]{3,20}")
_CLOSED: Final = "Connection closed by server."


def reason(error: BaseException) -> str:
    """What is known of a fault beyond its kind; an empty text where that is nothing."""
    if isinstance(error, ClusterUnfit):
        return str(error)
    if code := _code(error):
        meaning = next((found.expand(words) for at, words in _MEANINGS if (found := at.search(str(error)))), "")
        if meaning.startswith("missing"):
            code = "NOPERM"  # of a script it is ERR, which says nothing
        return ", ".join(filter(None, ("" if meaning and code == "ERR" else code, meaning)))
    return next(filter(None, map(_said, causes(error))), "")


def in_script(command: str, text: str) -> str:
    """The same of a command of ours in a script, for which Redis' texts name no command, and begin with the code."""
    code, _, rest = text.removeprefix("-").partition(" ")
    if code in ("ERR", "NOPERM") and "channel" not in rest and "key" not in rest:
        return f"NOPERM, missing is the right +{command.lower()}"
    return reason(ResponseError(rest, status_code=code if _CODE.fullmatch(code) else "ERR"))


def kind(error: BaseException) -> str:
    """The kind of a fault, and what is known beyond it."""
    return ": ".join(filter(None, (type(error).__name__, reason(error))))


def _code(error: BaseException) -> str:
    """Redis' code word for an error, ``NOPERM`` for example; those that redis-py does not know are in the text."""
    if not isinstance(error, RedisError):
        return ""
    first = str(error).partition(" ")[0] if isinstance(error, ResponseError) else ""
    return error.status_code or (first if _CODE.fullmatch(first) else "")


def _said(error: BaseException) -> str:
    closed = isinstance(error, RedisError) and str(error) == _CLOSED
    return "it closed the connection" if closed else of_the_system(error)
