"""The chapter of docs/api.md on its models, made of the OpenAPI document: `python -m tests.api.reference` prints it."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tests.api.fakes import World

BEGIN, END = "<!-- models, by python -m tests.api.reference -->\n", "<!-- end of models -->\n"
ELSEWHERE = {"Report", "ReasonCode"}  # reports.md and reasons.md tell of them
_WORDS = {"string": "text", "boolean": "true or false", "null": "null"}
MOST = 2**53  # a greater limit is that of the number's own form
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}

Schema = Mapping[str, Any]


@cache
def openapi() -> Mapping[str, Any]:
    """Return the OpenAPI document, which takes a second to make."""
    document: Mapping[str, Any] = World().app.openapi()
    return document


def chapter() -> str:
    """The models in alphabetical order: what each is, and its fields with their types."""
    schemas = openapi()["components"]["schemas"]
    left_out = {name for root in ELSEWHERE for name in _within(root, schemas)} - _shared(schemas)
    return "\n".join(_model(name, schemas) for name in sorted(schemas) if name not in left_out)


def _within(name: str, schemas: Schema) -> set[str]:
    """A model and all that it is made of."""
    found, left = {name}, [name]
    while left:
        inner = set(re.findall(r"#/components/schemas/(\w+)", str(schemas[left.pop()]))) - found
        found |= inner
        left += inner
    return found


def _shared(schemas: Schema) -> set[str]:
    """What models other than those told of elsewhere are made of."""
    within = set.union(*(_within(root, schemas) for root in ELSEWHERE))
    others = [name for name in schemas if name not in within]
    return {name for other in others for name in _within(other, schemas)} - ELSEWHERE


def _model(name: str, schemas: Schema) -> str:
    schema = schemas[name]
    told = schema.get("description", "").strip()
    heading = f"### {name}\n\n{told}\n"
    if "enum" in schema:
        return f"{heading}\n{_filled(', '.join(f'`{value}`' for value in schema['enum']))}\n"
    if name == "JobIn":
        return f"{heading}\n| Field | Type | Without it | |\n|---|---|---|---|\n" + "".join(_rows(schema))
    parent = _parent(name, schemas)
    fields = {key: value for key, value in schema["properties"].items() if key not in parent[1]}
    lead = f"All of {parent[0]}, and " if parent[0] else ""
    listed = (f"`{key}` {type_text(value, is_stated=name.endswith('In'))}" for key, value in fields.items())
    return f"{heading}\n{_filled(lead + ' · '.join(listed))}\n"


def _parent(name: str, schemas: Schema) -> tuple[str, Schema]:
    """The model whose fields this one begins with, if it has them all."""
    own = list(schemas[name].get("properties", ()))
    for other, schema in schemas.items():
        fields = schema.get("properties", {})
        if other != name and len(fields) > 4 and own[: len(fields)] == list(fields):
            return other, fields
    return "", {}


def _rows(schema: Schema) -> Iterator[str]:
    for name, field in schema["properties"].items():
        without = "required" if name in schema.get("required", ()) else _default(field.get("default"))
        yield f"| `{name}` | {type_text(field, is_stated=True)} | {without} | {field.get('description', '')} |\n"


def _default(value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def type_text(schema: Schema, *, is_stated: bool = False) -> str:
    """A type in words, with its limits; of what is stated null goes without saying: it says no more than nothing."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null" or not is_stated]
        return " or ".join(map(type_text, parts))
    if schema.get("type") == "array":
        return f"[{type_text(schema['items'])}]" if schema.get("items") else "[instant, number]"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"{{text: {type_text(inner)}}}" if isinstance(inner, dict) else "object"
    kind = "instant" if schema.get("format") == "date-time" else schema.get("type", "any")
    return " ".join([_WORDS.get(kind, kind), *_limits(schema)])


def _limits(schema: Schema) -> Iterator[str]:
    for key, sign in _LIMITS.items():
        if abs(schema.get(key, MOST)) < MOST:
            yield f"{sign} {schema[key]:,.10g}"


def _filled(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    print(chapter(), end="")
