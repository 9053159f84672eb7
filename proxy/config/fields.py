"""What each setting is called: its place in the file and its variable, with its type, default and range in words.

Every setting ``[section] name`` of the TOML file is ``PROXY_<SECTION>_<NAME>`` in the environment,
but for the few with fixed names of their own (:data:`FIXED_NAMES`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from proxy.settings import Settings

FIXED_NAMES: Final = {
    ("hub", "url"): "OXEN_HUB_URL",
    ("hub", "api_key"): "OXEN_API_KEY",
    ("hub", "api_key_file"): "OXEN_API_KEY_FILE",
    ("redis", "url"): "REDIS_URL",
    ("server", "host"): "PROXY_HOST",
    ("server", "port"): "PROXY_PORT",
    ("server", "workers"): "PROXY_WORKERS",
}


class Field(Struct, frozen=True):
    """One setting: its place in the file, its variable, its type, default, and range in words."""

    section: str
    name: str
    variable: str
    type: Any
    default: object
    allowed: str


def fields() -> Iterator[Field]:
    """All settings, in the order of the structs."""
    for section in msgspec.structs.fields(Settings):
        hints = get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            fixed = FIXED_NAMES.get((section.name, field.name))
            yield Field(
                section=section.name,
                name=field.name,
                variable=fixed or regular_name(section.name, field.name),
                type=hints[field.name],
                default=field.default,
                allowed=_allowed(hints[field.name]),
            )


def regular_name(section: str, name: str) -> str:
    """What a setting's variable would be called, had it no fixed name."""
    return f"PROXY_{section}_{name}".upper()


def described(hint: Any) -> str:
    """What is allowed of a type; empty: it does not say."""
    metas = (meta for part in (hint, *get_args(hint)) for meta in getattr(part, "__metadata__", ()))
    return next((meta.description for meta in metas if isinstance(meta, Meta) and meta.description), "")


def _allowed(hint: Any) -> str:
    if said := described(hint):
        return said
    raise TypeError(f"a setting of type {hint} has no description of what is allowed")
