"""Where settings come from: a TOML file, and environment variables over it.

:func:`load` takes the environment as a mapping and reports *all* faults at once, by the name that
the operator wrote, before anything starts. No fault ever shows the value of a secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proxy.callers.tokens import jwt_faults
from proxy.config.faults import CHECKS, Requirement, cautions, contradictions, missing_extras
from proxy.config.fields import FIXED_NAMES, Field, fields, regular_name
from proxy.config.redis_password import read_password, with_password
from proxy.config.tables import make_secret, table_faults
from proxy.secret import MASK, Secret
from proxy.settings import Settings

CONFIG: Final = "PROXY_CONFIG"
_SPELLED: Final = {bool: re.compile(r"true|false", re.IGNORECASE), int: re.compile(r"-?[0-9]+", re.ASCII)}
"""How variables spell what msgspec takes in more ways than are said to be allowed."""


class SettingsError(Exception):
    """The settings cannot be used.

    Attributes:
        faults: one line for each, beginning with its name.
        warnings: as of usable settings; a misspelt name may be why another is missed.
    """

    def __init__(self, faults: list[str], warnings: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.warnings = warnings


class Loaded(Struct, frozen=True):
    """Usable settings, and one line for each thing that deserves a warning."""

    settings: Settings
    warnings: list[str]


def load(environ: Mapping[str, str], config: str | None = None, *requirements: Requirement) -> Loaded:
    """Read the file ``config`` (else ``PROXY_CONFIG``, else none) and ``environ`` over it.

    An empty variable counts as unset: compose files and shells produce them. ``requirements`` are those of what is to
    be done with the settings.

    Raises:
        SettingsError: with every fault that was found.
    """
    given = {name: value for name, value in environ.items() if value}
    known = list(fields())
    faults: list[str] = []
    document = _read_file(config or given.get(CONFIG), faults)
    faulty = {field.variable for field in known} if faults else set()  # whatever is missing may stand in the file
    faults += _unknown_keys(document, known)

    sections: dict[str, dict[str, object]] = {name: {} for name in Settings.__struct_fields__}
    for field in known:
        try:
            if field.variable in given:
                name = field.variable
                sections[field.section][field.name] = _convert(field, given[name], strict=False)
            elif field.name in document.get(field.section, {}):
                name = f"[{field.section}] {field.name}"
                sections[field.section][field.name] = _convert(field, document[field.section][field.name], strict=True)
        except ValueError as fault:
            faults.append(f"{name}: {fault}; allowed: {field.allowed}")
            faulty.add(field.variable)

    settings = msgspec.convert(sections, Settings, dec_hook=lambda _, value: value)
    faults += contradictions(settings, faulty) + jwt_faults(settings.jwt) + missing_extras(settings)
    faults += [fault for requirement in requirements for fault in requirement(settings, faulty)]
    settings = _with_redis_password(settings, faults)
    warnings = _unknown_variables(given, known)
    if faults:
        raise SettingsError(faults, warnings)
    return Loaded(settings, warnings + cautions(settings))


def _with_redis_password(settings: Settings, faults: list[str]) -> Settings:
    redis = settings.redis
    if redis.url is None or redis.password_file is None:
        return settings
    try:
        url = with_password(redis.url, read_password(redis.password_file))
    except ValueError as fault:
        faults.append(f"PROXY_REDIS_PASSWORD_FILE: {fault}")
        return settings
    return replace(settings, redis=replace(redis, url=url))


def _read_file(path: str | None, faults: list[str]) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        faults.append(f"{CONFIG}: cannot read {path!r}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        faults.append(f"{CONFIG}: {path!r} is not TOML: {error}")
    else:
        faults += [
            f"{name}: not a section; settings stand in sections, as in [cache]"
            for name, section in document.items()
            if not isinstance(section, dict)
        ]
        return {name: section for name, section in document.items() if isinstance(section, dict)}
    return {}


def _convert(field: Field, value: object, *, strict: bool) -> object:
    """Turn a value of the file (``strict``) or a variable's text into the field's type."""
    shown = MASK if is_secret(field.type) else repr(value)
    if get_origin(get_args(field.type)[0]) is tuple:
        return _convert_tables(field, value, strict=strict)
    spelled = None if strict else _SPELLED.get(get_args(field.type)[0])
    if spelled is not None and not spelled.fullmatch(str(value)):
        raise ValueError(f"{shown} is not allowed")
    try:
        result = msgspec.convert(value, field.type, strict=strict, dec_hook=make_secret)
    except msgspec.ValidationError:
        raise ValueError(f"{shown} is not allowed") from None
    if check := CHECKS.get((field.section, field.name)):
        check(result)
    return result


def _convert_tables(field: Field, value: object, *, strict: bool) -> object:
    """Turn tables of the file, or a variable's JSON, into structs; a fault tells the place and not the value."""
    tables = value if strict else _read_tables(field, str(value))
    try:
        result = msgspec.convert(tables, field.type, dec_hook=make_secret)
    except msgspec.ValidationError:
        raise ValueError("; ".join(table_faults(tables, get_args(field.type)[0], field.name))) from None
    if check := CHECKS.get((field.section, field.name)):
        check(result)
    return result


def is_secret(hint: Any) -> bool:
    """Whether values of a type are not to be shown: it is Secret, or made of it."""
    return hint is Secret or any(map(is_secret, get_args(hint)))


def _read_tables(field: Field, text: str) -> object:
    """What the file would hold in place of a variable's text."""
    if field.name == "origins" and not text.startswith("["):  # a list without tables may be written plainly
        return [one.strip() for one in text.split(",")]
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):  # a number out of range is a ValidationError here, too
        raise ValueError("not JSON that can be read") from None


def _unknown_keys(document: Mapping[str, Mapping[str, Any]], known: list[Field]) -> list[str]:
    names = [f"[{field.section}] {field.name}" for field in known]
    given = [f"[{section}] {name}" for section, values in document.items() for name in values]
    given += [f"[{section}]" for section in document if section not in Settings.__struct_fields__]
    names += [f"[{section}]" for section in Settings.__struct_fields__]
    return [f"{name}: not a setting{_hint(name, names)}" for name in given if name not in names]


def _unknown_variables(given: Mapping[str, str], known: list[Field]) -> list[str]:
    """Warnings only: the prefix is a common word, and Kubernetes invents PROXY_… for a Service of that name."""
    names = [CONFIG, *(field.variable for field in known)]
    unknown = (name for name in given if name.startswith("PROXY_") and name not in names)
    return [f"{name}: not a setting, ignored{_hint(name, names)}" for name in sorted(unknown)]


def _hint(name: str, names: list[str]) -> str:
    meant = [fixed for (section, member), fixed in FIXED_NAMES.items() if name == regular_name(section, member)]
    close = meant or get_close_matches(name, names, n=1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""
