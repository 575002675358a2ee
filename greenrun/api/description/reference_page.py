"""The page that describes the API, made of its OpenAPI document: no script, and nothing from another host."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_REF = "#/components/schemas/"


def reference_page(document: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    return (
        _templates()
        .get_template("reference.html")
        .render(
            title=document["info"]["title"],
            version=document["info"]["version"],
            subjects=_by_subject(document),
            schemas=sorted(document["components"]["schemas"].items()),
        )
    )


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader  # where nobody reads the page it costs a daemon nothing

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"type": type_text, "phrase": lambda code: HTTPStatus(int(code)).phrase, "example": _example_text}
    return made


def _by_subject(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for operation in _operations(document):
        found.setdefault(operation["tags"][0], []).append(operation)
    return found


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield {"parameters": [], "requestBody": {}, "description": "", **operation, "method": method, "path": path}


def type_text(schema: Mapping[str, Any]) -> str:
    """Return a type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REF)
    if "anyOf" in schema:
        return " or ".join(type_text(row) for row in schema["anyOf"])
    kind = str(schema.get("format") or schema.get("type", "any"))
    return f"list of {type_text(schema['items'])}" if kind == "array" and schema.get("items") else kind


def _example_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content["example"], indent=2, ensure_ascii=False)
