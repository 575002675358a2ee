"""Values as the API takes and gives them: instants in UTC with Z, seconds for durations, null for unknown, never NaN.

The fields of a job are declared once, in the core; the two models that this makes of them are the API's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import NoneType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    create_model,
)
from pydantic_core import to_jsonable_python

from greenrun.core.formatting import iso_text
from greenrun.core.jobs.declaration import Between, Check, Declared, Length, Mark, declared, is_union

_ISO_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _iso(value: object) -> object:
    if not isinstance(value, str) or not _ISO_INSTANT.match(value):
        raise ValueError("must be an ISO 8601 instant with a zone, such as 2026-12-01T09:00Z")
    return value


def _plausible(value: datetime) -> datetime:
    if not 2000 <= value.year < 2200:
        raise ValueError("must lie between the years 2000 and 2200")
    return value.astimezone(UTC)


def _pair(value: Any) -> Any:
    return {"start": value[0], "end": value[1]} if isinstance(value, tuple) else value


Instant = Annotated[
    datetime,
    PlainSerializer(iso_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
StatedInstant = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_plausible)]


def attributes(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, as they are."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


class Answer(BaseModel):
    """What the API answers with, read from the core's own values by the names of their attributes."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class Interval(Answer):
    """A half-open interval `[start, end)`."""

    start: Instant
    end: Instant


IntervalOut = Annotated[Interval, BeforeValidator(_pair)]


class Statement(BaseModel):
    """What a client states: every key must be known."""

    model_config = ConfigDict(extra="forbid")


def statement_of(job: type, own: Mapping[Any, Any]) -> type[Statement]:
    """Return the model of what a client may state of a job: its fields with their limits, named as in JSON.

    An attribute has the name and the type of the job's, or is None. `own` maps types of the core to those that state
    them here.
    """
    stated = [field for field in declared(job) if not field.has(Mark.NOT_STATED)]
    made: dict[str, Any] = {
        row.name: (_stated(row.hint, own) | None if _is_optional(row) else _stated(row.hint, own), _stated_as(row))
        for row in stated
    }
    return create_model(f"{job.__name__}In", __base__=Statement, **made)


def _is_optional(row: Declared) -> bool:
    """Whether null stands for whatever greenrun makes of what is not stated."""
    return row.has(Mark.INTERRUPTIBLE_ONLY) or row.has(Mark.MAY_BE_MISSING)


def _stated_as(row: Declared) -> Any:
    default = None if _is_optional(row) else ... if row.default is MISSING else row.default
    shown = {} if row.default in (MISSING, None) else {"default": to_jsonable_python(_seconds(row.default))}
    return Field(default, alias=row.json_name, description=row.meaning or None, json_schema_extra=shown)


def answer_of(job: type, own: Mapping[Any, Any], base: type[Answer]) -> type[Answer]:
    """Return the model of what is told of a job: the fields of `base`, then its own but for those not to be told.

    What means something for an interruptible job only may be None. `own` is as of `statement_of`.
    """
    told = [field for field in declared(job) if not field.has(Mark.NOT_TOLD)]
    made: dict[str, Any] = {
        row.json_name: (
            _told(row.hint, own) | None if row.has(Mark.INTERRUPTIBLE_ONLY) else _told(row.hint, own),
            Field(validation_alias=row.name),
        )
        for row in told
    }
    return create_model(f"{job.__name__}Out", __base__=base, **made)


_STRICT: dict[Any, Any] = {
    bool: Annotated[bool, Field(strict=True)],
    int: Annotated[int, Field(strict=True)],
    float: Annotated[float, Field(strict=True, allow_inf_nan=False)],
    timedelta: Annotated[float, Field(strict=True, allow_inf_nan=False)],
    datetime: StatedInstant,
}
_TOLD: dict[Any, Any] = {timedelta: Seconds, datetime: Instant}
_CONVERTED: dict[Any, Any] = {
    tuple: AfterValidator(tuple),
    timedelta: AfterValidator(lambda seconds: timedelta(seconds=seconds)),
}


def _stated(hint: Any, own: Mapping[Any, Any], marks: Sequence[Any] = ()) -> Any:
    """The type that reads a stated value: first its limits, which are those of JSON, then what makes it the core's."""
    if get_origin(hint) is Annotated:
        inner, *own_marks = get_args(hint)
        return _stated(inner, own, (*own_marks, *marks))
    if is_union(hint):
        return Union[tuple(_stated(part, own, marks) for part in get_args(hint))]  # noqa: UP007 - made of parts
    kind = get_origin(hint) or hint
    parts = [_stated(part, own) for part in get_args(hint) if part is not ...]
    read = _container(kind, parts) if parts else own.get(kind) or _STRICT.get(kind, kind)
    steps = [*_limits(marks), *([_CONVERTED[kind]] if kind in _CONVERTED else [])]
    return read if hint is NoneType or not steps else Annotated[(read, *steps)]


def _told(hint: Any, own: Mapping[Any, Any]) -> Any:
    if get_origin(hint) is Annotated:
        return _told(get_args(hint)[0], own)
    parts = [_told(part, own) for part in get_args(hint) if part is not ...]
    if is_union(hint):
        return Union[tuple(parts)]  # noqa: UP007 - made of parts
    kind = get_origin(hint) or hint
    return _container(kind, parts) if parts else own.get(kind) or _TOLD.get(kind, kind)


def _container(kind: Any, parts: Sequence[Any]) -> Any:
    return list[parts[0]] if kind is tuple else dict[parts[0], parts[1]]  # type: ignore[valid-type]


def _limits(marks: Sequence[Any]) -> Iterator[Any]:
    for mark in marks:
        if isinstance(mark, Between):
            yield Field(gt=mark.least, le=mark.most) if mark.above else Field(ge=mark.least, le=mark.most)
        elif isinstance(mark, Length):
            yield Field(min_length=mark.least, max_length=mark.most)
        elif isinstance(mark, Check):
            yield AfterValidator(mark.of)
