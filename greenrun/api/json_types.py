"""Value types of the API's JSON: instants in UTC with Z, seconds for durations, null for unknown, never NaN.

The fields of a job are declared once, in `core/jobs/spec.py`; `request_model` and `response_model` make models of them.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    model_validator,
)
from pydantic_core import to_jsonable_python

from greenrun.core.formatting import iso_text
from greenrun.core.jobs.declaration import Check, FieldInfo, Length, Range, Trait, field_infos, is_union

_ISO_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _iso_form(value: object) -> object:
    if not isinstance(value, str) or not _ISO_INSTANT.match(value):
        raise ValueError("must be an ISO 8601 instant with a zone, such as 2026-12-01T09:00Z")
    return value


def _plausible(value: datetime) -> datetime:
    if not 2000 <= value.year < 2200:
        raise ValueError("must lie between the years 2000 and 2200")
    return value.astimezone(UTC)


ResponseInstant = Annotated[
    datetime,
    PlainSerializer(iso_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
RequestInstant = Annotated[AwareDatetime, BeforeValidator(_iso_form), AfterValidator(_plausible)]


def attributes(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, as they are."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


class ResponseModel(BaseModel):
    """A response's model, read from the core's own values by the names of their attributes."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class IntervalOut(ResponseModel):
    """A half-open interval `[start, end)`, in the core a pair."""

    start: ResponseInstant
    end: ResponseInstant

    @model_validator(mode="before")
    @classmethod
    def _of_a_pair(cls, value: Any) -> Any:
        return {"start": value[0], "end": value[1]} if isinstance(value, tuple) else value


class RequestModel(BaseModel):
    """A request's body; a key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


def request_model(job: type, own: Mapping[Any, Any]) -> type[RequestModel]:
    """Return the model of a request for a job: the job's fields with their limits, named as in JSON.

    Its attributes have the names and the types of the job's, or are None. `own` maps types of the core to the models
    that stand for them in JSON.
    """
    made: Any = {row.name: _request_field(row, own) for row in field_infos(job) if not row.has(Trait.READ_ONLY)}
    return create_model(f"{job.__name__}In", __base__=RequestModel, **made)


def _request_field(row: FieldInfo, own: Mapping[Any, Any]) -> tuple[Any, Any]:
    """Where greenrun fills in what is not stated, null stands for that."""
    optional = row.has(Trait.INTERRUPTIBLE_ONLY) or row.has(Trait.MAY_BE_MISSING)
    kind = _request_type(row.hint, own)
    default = None if optional else ... if row.default is MISSING else row.default
    shown = {} if row.default in (MISSING, None) else {"default": to_jsonable_python(_seconds(row.default))}
    field = Field(default, alias=row.json_name, description=row.meaning or None, json_schema_extra=shown)
    return kind | None if optional else kind, field


def response_model(
    job: type, own: Mapping[Any, Any], base: type[ResponseModel], told_to_all: Collection[str]
) -> type[ResponseModel]:
    """Return the model of a job in an answer: the fields of `base`, then the job's but for those that may be secret.

    What means something for an interruptible job only may be None, and so may what is not `told_to_all`. `own` is as in
    `request_model`.
    """
    rows = (row for row in field_infos(job) if not row.has(Trait.WRITE_ONLY))
    made: Any = {row.json_name: _response_field(row, own, row.name in told_to_all) for row in rows}
    return create_model(f"{job.__name__}Out", __base__=base, **made)


def _response_field(row: FieldInfo, own: Mapping[Any, Any], is_told: bool) -> tuple[Any, Any]:
    kind = _response_type(row.hint, own)
    return kind if is_told and not row.has(Trait.INTERRUPTIBLE_ONLY) else kind | None, Field(validation_alias=row.name)


_REQUEST_TYPES: dict[Any, Any] = {
    bool: Annotated[bool, Field(strict=True)],
    int: Annotated[int, Field(strict=True)],
    float: Annotated[float, Field(strict=True, allow_inf_nan=False)],
    timedelta: Annotated[float, Field(strict=True, allow_inf_nan=False)],
    datetime: RequestInstant,
}
_RESPONSE_TYPES: dict[Any, Any] = {timedelta: Seconds, datetime: ResponseInstant}
_CONVERSIONS: dict[Any, Any] = {
    tuple: AfterValidator(tuple),
    timedelta: AfterValidator(lambda seconds: timedelta(seconds=seconds)),
}


def _request_type(hint: Any, own: Mapping[Any, Any], marks: Sequence[Any] = ()) -> Any:
    """The type that reads a stated value: first its limits, which are those of JSON, then what makes it the core's."""
    if get_origin(hint) is Annotated:
        inner, *own_marks = get_args(hint)
        return _request_type(inner, own, (*own_marks, *marks))
    if is_union(hint):
        return Union[tuple(_request_type(part, own, marks) for part in get_args(hint))]  # noqa: UP007 - made of parts
    kind = get_origin(hint) or hint
    parts = [_request_type(part, own) for part in get_args(hint) if part is not ...]
    read = _container(kind, parts) if parts else own.get(kind) or _REQUEST_TYPES.get(kind, kind)
    steps = [*_limits(marks), *([_CONVERSIONS[kind]] if kind in _CONVERSIONS else [])]
    return read if hint is NoneType or not steps else Annotated[(read, *steps)]


def _response_type(hint: Any, own: Mapping[Any, Any]) -> Any:
    if get_origin(hint) is Annotated:
        return _response_type(get_args(hint)[0], own)
    parts = [_response_type(part, own) for part in get_args(hint) if part is not ...]
    if is_union(hint):
        return Union[tuple(parts)]  # noqa: UP007 - made of parts
    kind = get_origin(hint) or hint
    return _container(kind, parts) if parts else own.get(kind) or _RESPONSE_TYPES.get(kind, kind)


def _container(kind: Any, parts: Sequence[Any]) -> Any:
    return list[parts[0]] if kind is tuple else dict[parts[0], parts[1]]  # type: ignore[valid-type]


def _limits(marks: Sequence[Any]) -> Iterator[Any]:
    for mark in marks:
        if isinstance(mark, Range):
            yield Field(gt=mark.least, le=mark.most) if mark.above else Field(ge=mark.least, le=mark.most)
        elif isinstance(mark, Length):
            yield Field(min_length=mark.least, max_length=mark.most)
        elif isinstance(mark, Check):
            yield AfterValidator(mark.of)
