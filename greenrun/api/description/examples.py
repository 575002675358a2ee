"""Examples for the OpenAPI document: one for each body, made of its schema and of what such a field might hold."""

from collections.abc import Mapping, Sequence
from typing import Any

_REF = "#/components/schemas/"
_DEEPEST = 12
_BY_NAME: dict[str, Any] = {
    "id": 12,
    "ids": [12, 13],
    "job": 12,
    "jobs": ["12", "sweep[1-5]"],
    "run": 34,
    "number": 1,
    "user": "ada",
    "actor": "ada",
    "for_user": "bob",
    "command": ["python", "train.py"],
    "workdir": "/home/ada/model",
    "name": "train",
    "project": "vision",
    "zone": "GB",
    "provider": "uk",
    "gpus": 1,
    "unique_key": "night-1",
    "detail": {},
    "changes": {"priority": 5},
    "after": [],
    "before": None,
    "env": {"WANDB_MODE": "offline"},
    "env_names": ["HOME", "PATH"],
    "labels": {"team": "vision"},
    "log": "/home/ada/.local/state/greenrun/runs/12.1/log",
    "umask": "022",
    "limits": {"nofile": "1024:4096"},
    "grid": None,
    "array": None,
    "container": None,
    "env_file": None,
    "power_cap": None,
    "gpu_model": None,
    "time_limit_s": None,
    "max_delay_s": None,
    "start_now": False,
    "expire": False,
    "version": "0.1.0",
    "since": "2026-12-01T09:00:00Z",
    "slots": [["2026-11-01T00:00:00Z", 182.0], ["2026-11-01T00:30:00Z", 176.0]],
    "steps_s": None,
    "signal": "average",
}
_REQUESTS: dict[str, Any] = {  # of these models not all fields go together
    "JobIn": {
        "command": ["python3", "train.py"],
        "workdir": "/home/ada/model",
        "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
        "duration_s": 21600,
        "max_delay_s": 43200,
        "unique_key": "night-1",
    },
    "OrderIn": {"ids": [12, 13]},
    "EditIn": {"ids": [12], "changes": {"priority": 5}},
    "RequeueIn": {"ids": [12]},
    "DrainIn": {"gpus": ["0"], "reason": "a new driver"},
    "ResumeIn": {"gpus": ["0"]},
    "ReservationIn": {"gpus": ["0"], "end": "2026-12-02T18:00:00Z", "reason": "a demonstration"},
}
_INSTANTS = {
    "from": "2026-11-01T00:00:00Z",
    "start": "2026-12-02T01:30:00Z",
    "end": "2026-12-02T07:30:00Z",
    "to": "2026-12-01T00:00:00Z",
}


def add_examples(document: dict[str, Any]) -> None:
    """Add an example to every JSON body that an OpenAPI document describes, but for problems."""
    schemas = document["components"]["schemas"]
    for item in document["paths"].values():
        for operation in item.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (body.get("content", {}).get("application/json") for body in bodies):
                if content and content.get("schema"):
                    name = content["schema"].get("title", "").lower()  # of a body that is a single field: `changes`
                    content["example"] = _example(content["schema"], schemas, name, 0)


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    if "$ref" in schema:
        if (stated := _REQUESTS.get(schema["$ref"].removeprefix(_REF))) is not None:
            return stated
        return _example(schemas[schema["$ref"].removeprefix(_REF)], schemas, name, depth + 1)
    if "enum" in schema:
        return schema["enum"][0]
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _of_options(options, schemas, name, depth)
    if _fits(schema, name):
        return _BY_NAME[name]
    return _of_type(schema, schemas, name, depth)


def _fits(schema: Mapping[str, Any], name: str) -> bool:
    """Whether what a field of this name might hold has the type that this schema asks for."""
    kinds = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "number": float}
    if name not in _BY_NAME or schema.get("format"):
        return False
    value, kind = _BY_NAME[name], kinds.get(schema.get("type", ""))
    if kind is list and isinstance(value, list):
        item = kinds.get(schema.get("items", {}).get("type", ""))
        return all(item is not None and isinstance(row, item) for row in value)
    return kind is not None and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _of_options(options: Sequence[Mapping[str, Any]], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    if name in _BY_NAME and _BY_NAME[name] is None and any(row.get("type") == "null" for row in options):
        return None
    if depth > _DEEPEST:
        return None
    return _example(next(row for row in options if row.get("type") != "null"), schemas, name, depth)


def _of_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        named = schema.get("properties", {})
        return {key: _example(value, schemas, key, depth + 1) for key, value in named.items()}
    if kind == "array":
        has_items = schema.get("items") and depth <= _DEEPEST
        return [_example(schema["items"], schemas, name.removesuffix("s"), depth + 1)] if has_items else []
    if kind == "boolean":
        return False
    if kind in ("integer", "number"):
        return _number(schema)
    if schema.get("format") == "date-time":
        return _INSTANTS.get(name, "2026-12-01T09:00:00Z")
    return {"date": "2026-12-01"}.get(schema.get("format", ""), "text" if kind == "string" else None)


def _number(schema: Mapping[str, Any]) -> float:
    least, above = schema.get("minimum", 0), schema.get("exclusiveMinimum")
    number: float = max(min(1, schema.get("maximum", 1)), least if above is None else above + 1)
    return number
