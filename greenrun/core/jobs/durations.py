"""Durations and instants as people write them: "90s", "10m", "6h", "2d", and ISO 8601 with a zone."""

import re
from datetime import UTC, datetime, timedelta
from math import floor, isfinite, log

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


def format_duration(duration: timedelta) -> str:
    """Return the exact form with one unit, such as "90s", "10m", "48h" or "7d" (days from three on)."""
    seconds = duration.total_seconds()
    for unit, least in (("d", 3), ("h", 1), ("m", 2)):
        if seconds >= least * _UNITS_S[unit] and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


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


OVERRUN = 1.1
SHORTEST = timedelta(milliseconds=50)


def expected_length(duration: timedelta, age: timedelta) -> timedelta:
    """Return how long a run of this `age` is expected to last: its duration, and a tenth more whenever that is over.

    The estimate stays the same until it is over, so that a late run does not change the plan at every look at it.
    """
    if age < duration:
        return duration
    usual = max(duration, SHORTEST)
    times = floor(log(max(1.0, age / usual)) / log(OVERRUN)) + 1
    length = usual * float(OVERRUN**times)
    return length if length > age else usual * float(OVERRUN ** (times + 1))  # the logarithm is rounded
