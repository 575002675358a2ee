"""The classes of the client's answers, made of the OpenAPI document by `python -m tests.api.client_answers`."""

import json
import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.api.reference import openapi

FILE = Path(__file__).parents[2] / "greenrun" / "client" / "answers.py"
NAMES = {
    "CostedJobOut": "JobFields",
    "SubmittedJobOut": "TriedJob",
    "ExplainOut": "Explanation",
    "EntryOut": "LedgerEntry",
    "AfterOut": "AfterJob",
    "AnomalyOut": "SeenAnomaly",
    "CappingOut": "RunPowerLimit",
    "PowerLimitEffect": "ReportedPowerLimits",
}
ROOTS = (
    "CostedJobOut", "SubmittedJobOut", "ExplainOut", "EventOut", "PlanOut", "ForecastOut", "ForecastQualityOut",
    "DeviceOut", "Report", "BudgetsOut", "ReservationOut", "DrainOut", "ProviderOut", "EntryOut", "HealthOut",
)  # fmt: skip
TEXTS = {"ReasonCode", "ConditionCode"}  # enumerations that grow often: plain text
SHOWN = {
    "Plan": "plan_html", "Forecast": "forecast_html", "Explanation": "explanation_html", "Report": "report_html",
}  # fmt: skip
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_REF = "#/components/schemas/"


def source() -> str:
    """Return the module, as it is to be."""
    schemas = openapi()["components"]["schemas"]
    found = _within(ROOTS, schemas)
    parts = [
        '"""What the API answers, as types: made of its OpenAPI document by `python -m tests.api.client_answers`.\n\n'
        "Fields have the API's own names and units; instants are aware datetimes, and what is not known is None.\n"
        '"""',
        "from dataclasses import dataclass\nfrom datetime import date, datetime\nfrom typing import Any, Literal",
        *(_alias(name, schemas[name]) for name in sorted(found) if "enum" in schemas[name] and name not in TEXTS),
        *(_class(name, schemas) for name in _in_order(found, schemas)),
    ]
    raw = "\n\n\n".join(parts).replace("Any, Literal\n\n\n", "Any, Literal\n\n", 1) + "\n"
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "-"]
    return subprocess.run(command, input=raw, capture_output=True, text=True, check=True, cwd=FILE.parents[2]).stdout


def _within(roots: tuple[str, ...], schemas: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += re.findall(rf"{_REF}(\w+)", json.dumps(schemas[name]))
    return found


def _in_order(found: set[str], schemas: Mapping[str, Any]) -> Iterator[str]:
    """Yield the models, each behind those that it is made of."""
    left = sorted(name for name in found if "enum" not in schemas[name])
    while left:
        ready = [name for name in left if not _within_one(name, schemas) & set(left) - {name}]
        yield from ready
        left = [name for name in left if name not in ready]


def _within_one(name: str, schemas: Mapping[str, Any]) -> set[str]:
    return set(re.findall(rf"{_REF}(\w+)", json.dumps(schemas[name])))


def name_of(schema: str) -> str:
    """Return the name of the class that stands for a model."""
    return NAMES.get(schema) or schema.removesuffix("Out")


def field_of(key: str) -> str:
    """Return the attribute that a field is, which is no keyword of Python and no method of a job."""
    return f"{key}_" if keyword.iskeyword(key) or key == "start_now" else key


def _alias(name: str, schema: Mapping[str, Any]) -> str:
    return f"{name_of(name)} = Literal[{', '.join(map(repr, schema['enum']))}]"


def _class(schema_name: str, schemas: Mapping[str, Any]) -> str:
    name, schema = name_of(schema_name), schemas[schema_name]
    is_job = name == "JobFields"
    flags = "kw_only=True, eq=False, repr=False" if is_job else "frozen=True, slots=True, kw_only=True"
    text = " ".join(schema.get("description", name).split()).replace("`null`", "None").replace(" null", " None")
    text = text.replace("`dry_run`", "a dry run")
    told = textwrap.fill(text, 112, subsequent_indent="    ", break_on_hyphens=False)
    summary, _, rest = told.partition(". ")
    rest = " ".join(rest.split())
    doc = (
        f"{summary}.\n\n    {textwrap.fill(rest, 112, subsequent_indent='    ')}\n    "
        if rest
        else told.rstrip(".") + "."
    )
    fields = {field_of(key): _type(value) for key, value in schema["properties"].items()}
    if is_job:
        fields |= {"id": "int"}
    lines = [f"    {key}: {kind}" for key, kind in fields.items()]
    lines += ["    warnings: tuple[str, ...] = ()"] if is_job else []
    if name in SHOWN:
        lines.append(
            '\n    def _repr_html_(self) -> str:\n        """Show it in a notebook."""\n'
            f"        from greenrun.client.notebook_html import {SHOWN[name]}\n\n        return {SHOWN[name]}(self)"
        )
    return f'@dataclass({flags})\nclass {name}:\n    """{doc}"""\n\n' + "\n".join(lines)


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return "str" if name in TEXTS else name_of(name)
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(part) for part in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"tuple[{_type(schema['items']) if schema.get('items') else 'Any'}, ...]"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"dict[str, {_type(inner) if isinstance(inner, dict) else 'Any'}]"
    return {"date-time": "datetime", "date": "date"}.get(schema.get("format", "")) or _TYPES.get(
        schema.get("type", ""), "Any"
    )


if __name__ == "__main__":
    FILE.write_text(source(), encoding="utf-8")
