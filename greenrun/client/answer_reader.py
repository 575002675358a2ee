"""Read the API's JSON as the classes of `answers`, by their annotations; what they do not know is left out."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from greenrun.client.client_errors import BadAnswer

Kind = TypeVar("Kind")
Read = Callable[[Any], Any]


def read(kind: type[Kind], answer: object) -> Kind:
    """Return an answer of the API as this class; raise BadAnswer where it is something else."""
    try:
        found: Kind = kind(**values(kind, answer))
    except (TypeError, ValueError, AttributeError) as exc:
        told = f"the daemon's answer is not what this version of greenrun takes for a {kind.__name__} ({exc})"
        raise BadAnswer(told) from exc
    return found


def values(kind: type, answer: Any) -> dict[str, Any]:
    """Return the fields of a class as an answer has them; those that it does not have are None."""
    return {name: reads(answer.get(key)) for name, key, reads in _fields(kind)}


@cache
def _fields(kind: type) -> tuple[tuple[str, str, Read], ...]:
    """The fields of a class: each with its name in JSON, and what reads its value."""
    hints = get_type_hints(kind)
    return tuple((row.name, row.name.rstrip("_"), _reader(hints[row.name])) for row in fields(kind))


@cache
def _reader(hint: Any) -> Read:
    if get_origin(hint) in (Union, UnionType):
        return _of_union([part for part in get_args(hint) if part is not NoneType])
    if get_origin(hint) is tuple:
        item = _reader(get_args(hint)[0])
        return lambda value: None if value is None else tuple(map(item, value))
    if get_origin(hint) is dict:
        item = _reader(get_args(hint)[1])
        return lambda value: None if value is None else {key: item(each) for key, each in value.items()}
    if hint in (datetime, date):
        return lambda value: None if value is None else hint.fromisoformat(value)
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: None if value is None else hint(**values(hint, value))
    return lambda value: value


def _of_union(options: list[Any]) -> Read:
    if len(options) == 1:
        return _reader(options[0])
    if all(get_origin(option) is tuple for option in options):
        each = _of_union([get_args(option)[0] for option in options])
        return lambda value: None if value is None else tuple(map(each, value))
    classes = sorted((option for option in options if is_dataclass(option)), key=lambda kind: -len(fields(kind)))
    if not classes:
        return lambda value: value
    return lambda value: _reader(_best(classes, value))(value) if isinstance(value, Mapping) else value


def _best(classes: list[Any], value: Mapping[str, Any]) -> Any:
    """Return the largest class all of whose fields a value has, else the smallest."""
    fitting = (kind for kind in classes if all(key in value for _, key, _ in _fields(kind)))
    return next(fitting, classes[-1])
