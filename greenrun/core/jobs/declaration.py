"""Declarations of a job's fields: with its type a field carries its limits and its option, for every interface.

The API's models, the options of `greenrun submit`, the keys of a job file and the lines of a script are made from this.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from enum import Enum, auto
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints


class Range(NamedTuple):
    """The minimum and maximum of a number, or of a duration's seconds; `above` excludes the minimum."""

    least: float
    most: float
    above: bool = False


class Length(NamedTuple):
    """The minimum and maximum length of a text in characters, or of a list or a mapping in entries."""

    least: int
    most: int


class Check(NamedTuple):
    """A function that returns a value in its normal form, or raises ValueError with what the value must be."""

    of: Callable[[Any], Any]


class Option(NamedTuple):
    """How a field is given on the command line: what it means, and the form of its value (of a flag: none).

    `more` is what its help adds to the meaning, such as how a value is written. `name` is the option's where that is
    not the field's own; `default` says what is done without it, where that is not the field's own default.
    """

    meaning: str
    more: str = ""
    form: str = ""
    name: str = ""
    short: str = ""
    default: str = ""

    @property
    def help(self) -> str:
        """What it means and how it is written, in a sentence."""
        return f"{self.meaning}{self.more}."


class Description(NamedTuple):
    """The description of a field that has no option."""

    text: str


class Trait(Enum):
    """A further property of a field."""

    READ_ONLY = auto()  # set by greenrun; not allowed in requests
    MAY_BE_MISSING = auto()  # optional in requests: greenrun sets it where the user does not
    INTERRUPTIBLE_ONLY = auto()  # applies to interruptible jobs only
    WRITE_ONLY = auto()  # never returned in responses, because it may hold secrets


class FieldInfo(NamedTuple):
    """The declaration of one field. `hint` is its annotated type; without a default, `default` is MISSING."""

    name: str
    hint: Any
    default: Any
    marks: tuple[Any, ...]

    @property
    def kind(self) -> Any:
        """The type of its value alone, without type arguments or None."""
        return _kind(self.hint)

    @property
    def item(self) -> Any:
        """The type of each entry of a list, as `kind` has it; None for what is no list."""
        return _kind(get_args(_bare(self.hint))[0]) if self.kind is tuple else None

    @property
    def json_name(self) -> str:
        """Its name in JSON, and in the database: there a duration is a number of seconds."""
        return f"{self.name}_s" if self.kind is timedelta else self.name

    @property
    def option(self) -> Option | None:
        """How it is given on the command line, if it can be."""
        return next((mark for mark in self.marks if isinstance(mark, Option)), None)

    @property
    def option_name(self) -> str:
        """The long name of its option, without dashes in front."""
        return (self.option.name if self.option else "") or self.name.replace("_", "-")

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return next((f"{mark.meaning}." for mark in self.marks if isinstance(mark, Option)), "") or next(
            (mark.text for mark in self.marks if isinstance(mark, Description)), ""
        )

    def has(self, trait: Trait) -> bool:
        """Whether the field has this trait."""
        return trait in self.marks


@cache
def field_infos(job: type) -> tuple[FieldInfo, ...]:
    """Return the fields of a dataclass as they are declared, in order."""
    hints = get_type_hints(job, include_extras=True)
    return tuple(
        FieldInfo(name=field.name, hint=hints[field.name], default=_default(field), marks=_marks(hints[field.name]))
        for field in fields(job)
    )


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _marks(hint: Any) -> tuple[Any, ...]:
    """Return the annotations of a type, also of an optional one; those of its type arguments are not its own."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return (*_marks(inner), *marks)
    if is_union(hint):
        return tuple(mark for part in get_args(hint) for mark in _marks(part))
    return ()


def _kind(hint: Any) -> Any:
    bare = _bare(hint)
    return get_origin(bare) or bare


def _bare(hint: Any) -> Any:
    """Return a type without annotations and without None, with its type arguments."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if is_union(hint):
        return next(_bare(part) for part in get_args(hint) if part is not NoneType)
    return hint


def is_union(hint: Any) -> bool:
    """Whether a type is a union, such as an optional type."""
    return get_origin(hint) in (Union, UnionType)
