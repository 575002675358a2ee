"""Read durations and instants from settings, files and JSON: "90s", "10m", "6h", "2d", ISO 8601 with a zone."""

import re
from datetime import UTC, datetime, timedelta
from math import isfinite

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+", re.ASCII)
_LONGEST_S = 100 * 365 * 86_400.0


def parse_duration(value: object) -> timedelta:
    """Return the duration that `value` states: text like "90s" or "1h30m", or a number of seconds; raise ValueError.

    Negative, endless and absurdly long (over a century) ones are refused.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e18 else float("inf")
    else:
        seconds = _seconds(str(value).strip())
    if not isfinite(seconds) or not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"{value!r} is not a duration between 0 and 100 years")
    return timedelta(seconds=seconds)


def parse_instant(value: object) -> datetime:
    """Return the instant that ISO 8601 text (or a datetime) states, in UTC; raise ValueError when it has no zone."""
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as exc:
        raise ValueError(f"{value!r} is not an instant; write it like 2026-06-01T00:00Z") from exc
    if instant.tzinfo is None:
        raise ValueError(f"{str(value)!r} has no zone, so it names no instant; write it like 2026-06-01T00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(f"{str(value)!r} is beyond the calendar") from exc


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
        return float(text)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f'{text!r} is not a duration; write it like "90s", "10m", "6h" or "2d"')
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
