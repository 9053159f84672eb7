"""Structs as schemas of OpenAPI 3.0."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from msgspec import inspect

Schema: TypeAlias = dict[str, Any]
"""A part of an OpenAPI document."""
_PRIMITIVES: Final = {inspect.StrType: "string", inspect.IntType: "integer"}


def schema_of(struct: type) -> Schema:
    """The schema of a struct, nested structs inline. Objects allow further members."""
    return _schema(inspect.type_info(struct))


def _schema(info: inspect.Type) -> Schema:  # noqa: PLR0911  one per kind of type
    match info:
        case inspect.Metadata(type=annotated, extra_json_schema=extra):
            return _schema(annotated) | (extra or {})
        case inspect.UnionType(types=types):  # of one type and null
            (schema,) = (_schema(kind) for kind in types if not isinstance(kind, inspect.NoneType))
            return schema | {"nullable": True}
        case inspect.StructType(cls=cls, fields=members):
            return {
                "type": "object",
                "description": " ".join((cls.__doc__ or "").split()),
                "properties": {member.name: _schema(member.type) for member in members},
                "required": [member.name for member in members if member.required],
            }
        case inspect.ListType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value)}
        case inspect.LiteralType(values=values):
            return {"type": "string", "enum": list(values)}
        case _:
            return {"type": _PRIMITIVES[type(info)]}
