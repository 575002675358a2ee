"""How values that SQLite has no type for are kept: instants as sortable text, structures as canonical JSON."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from zlib import compress, decompress

from sqlalchemy import ColumnElement, Integer, String, Text, TypeDecorator, bindparam, cast, func, select, type_coerce
from sqlalchemy.engine import Dialect

_COMPACT = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode  # json.dumps would make one for each value

_EMPTY: dict[Any, str] = {dict: "{}", list: "[]"}  # most are, and need no encoder


class Instant(TypeDecorator[datetime]):
    """An aware instant as `2026-11-23T03:00:00.123456Z`: fixed width, so that text order is time order."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Return the text to store; refuse an instant without a zone."""
        return None if value is None else to_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Return the stored instant, aware, in UTC."""
        return None if value is None else datetime.fromisoformat(value)


class EpochSecond(TypeDecorator[datetime]):
    """An aware instant as full epoch seconds, which take 4 bytes: for when something was noted, not for intervals."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the seconds to store."""
        return None if value is None else int(value.timestamp())

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the stored instant, aware, in UTC."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


class Packed(TypeDecorator[str]):
    """A long text, compressed, which takes a sixth of the room; one that was stored as it is can be read as well."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the bytes to store; SQLite keeps them as they are."""
        return None if value is None else compress(value.encode())

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the stored text."""
        return decompress(value).decode() if isinstance(value, bytes) else value


class Json(TypeDecorator[Any]):
    """A structure as compact JSON with sorted keys: equal structures are equal texts."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text to store; escaping keeps file names that are not valid Unicode."""
        if value is None:
            return None
        return (None if value else _EMPTY.get(type(value))) or _COMPACT(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the stored structure; most are empty, which need no parser."""
        if value is None:
            return None
        return {} if value == "{}" else [] if value == "[]" else json.loads(value)


def to_text(instant: datetime) -> str:
    """Return the stored form of an aware instant; raise ValueError for a naive one."""
    if instant.tzinfo is None:
        raise ValueError(f"the instant {instant.isoformat()} has no time zone")
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def among(column: ColumnElement[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Return the condition that `column` is one of `values`, however many: one parameter, so no limit is met."""
    listed = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(listed.c.value))


def among_listed(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that `column` is one of the parameter `listed` (of `listed`), for statements made once."""
    values = func.json_each(bindparam("listed", type_=String)).table_valued("value")
    return column.in_(select(values.c.value))


def listed(values: Collection[Any]) -> dict[str, str]:
    """Return the parameter of a statement with `among_listed`."""
    return {"listed": json.dumps(list(values))}


def days(instant: ColumnElement[datetime]) -> ColumnElement[float]:
    """Return an instant as a number of days, so that SQLite can subtract one from another."""
    return func.julianday(type_coerce(instant, String))


def seconds_between(start: ColumnElement[datetime], end: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Return the seconds from one instant to another, to the microsecond."""
    (first_s, first_us), (last_s, last_us) = _parts(start), _parts(end)
    return (last_s - first_s) + (last_us - first_us) / 1e6


def _parts(instant: ColumnElement[datetime]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the full epoch seconds of an instant, and the microseconds that are left."""
    text = type_coerce(instant, String)
    return cast(func.strftime("%s", text), Integer), cast(func.substr(text, 21, 6), Integer)


def epoch_s(instant: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Return an instant as epoch seconds, to the microsecond, which SQLite's own days would lose."""
    whole, micros = _parts(instant)
    return whole + micros / 1e6
