"""Settings that are lists or tables: which parts of them do not fit, and what is allowed there. No value is shown."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from proxy.config.fields import described
from proxy.secret import Secret


def make_secret(_: type, value: object) -> Secret:
    """What has msgspec make a Secret of a string."""
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004  msgspec turns ValueError into ValidationError
    return Secret(value)


def table_faults(value: object, hint: Any, place: str) -> Iterator[str]:
    """What is wrong with a value, by the innermost parts of it that do not fit.

    Args:
        value: of the file, or of a variable's JSON.
        hint: what it is to be.
        place: where it stands, as in ``callers[0].keys``.
    """
    try:
        msgspec.convert(value, hint, dec_hook=make_secret)
    except msgspec.ValidationError as error:
        faults = list(_inner_faults(value, _bare(hint), place))
        said = described(hint)
        # msgspec itself would show patterns, and the name of an unknown field: a secret may stand in the wrong place.
        yield from faults or [f"{place} is not {said}" if said else f"{place}: {str(error).partition(' - at ')[0]}"]


def _inner_faults(value: object, bare: Any, place: str) -> Iterator[str]:
    if isinstance(bare, type) and issubclass(bare, Struct):
        if not isinstance(value, dict):
            yield f"{place} is not a table"
            return
        hints = get_type_hints(bare, include_extras=True)
        required = [field.name for field in msgspec.structs.fields(bare) if field.required]
        yield from (f"{place} lacks {name}" for name in required if name not in value)
        if not value.keys() <= hints.keys():
            yield f"{place} has an unknown field; known are {', '.join(hints)}"
        for name, inner in hints.items():
            if name in value:
                yield from table_faults(value[name], inner, f"{place}.{name}")
    elif get_origin(bare) is tuple:
        if not isinstance(value, list):
            yield f"{place} is not a list"
            return
        for number, one in enumerate(value):
            yield from table_faults(one, get_args(bare)[0], f"{place}[{number}]")


def _bare(hint: Any) -> Any:
    """The type without what is annotated, and without None."""
    while get_origin(hint) is Annotated or NoneType in get_args(hint):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    return hint
