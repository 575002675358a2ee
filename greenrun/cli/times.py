"""Parse durations and instants as people write them; the present and the zone are arguments (see `local_zone`)."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path

from greenrun.clock import utc_now
from greenrun.core import parsing

_BARE_NUMBER = re.compile(r"[1-9]\d*(?:\.\d*)?|0+\.\d+")
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?\s*[smhdw]\s*)+")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(am|pm)?")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?P<time>.*)", re.DOTALL)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMED_TIMES = {"noon": time(12), "midnight": time(0)}

LOCALTIME = Path("/etc/localtime")

DURATION_FORMS = "90s, 10m, 1h30m, 6h or 2d"
INSTANT_FORMS = "18:00, tomorrow 9am, friday 18:00, 36h (from now), 2026-12-01 09:00 or 2026-12-01T09:00Z"


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `1h30m`, `6h`, `2d`; raise ValueError with a sentence for anything else.

    A number without a unit is refused, because some take it for minutes and some for seconds.
    """
    raw = "".join(text.lower().split())
    if _BARE_NUMBER.fullmatch(raw):
        raise ValueError(f"'{text}' has no unit; write it like {DURATION_FORMS}")
    try:
        return parsing.parse_duration(raw)
    except ValueError as exc:
        raise ValueError(f"'{text}' is not a duration; write it like {DURATION_FORMS}") from exc


def parse_instant(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Read an instant and return it in UTC.

    A form without a zone is wall-clock time in `zone`; of a time that the clocks show twice the first is meant, and one
    that they skip is refused. A lone time is its next occurrence after `now`. Raise ValueError with a sentence.
    """
    raw = " ".join(text.strip().lower().split())
    if raw == "now":
        return now.astimezone(UTC)
    if _SPAN.fullmatch(raw):
        return now.astimezone(UTC) + parse_duration(raw)
    iso = _ISO_DATE.fullmatch(text.strip())
    if iso:
        return _iso(text.strip(), has_time=bool(iso["time"]), zone=zone)
    *day, clock = _split_day(raw)
    wall = _clock(clock, text)
    if not day:
        return _next(wall, _following(now.astimezone(zone).date(), 3), now, zone)
    return _on_day(day[0], wall, now, zone, text)


def _iso(text: str, *, has_time: bool, zone: tzinfo) -> datetime:
    if not has_time:
        raise ValueError(f"'{text}' names a day but no time; write it like {text} 18:00")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"'{text}' is not a date and time; write it like 2026-12-01 09:00") from exc
    return _local(instant, zone) if instant.tzinfo is None else instant.astimezone(UTC)


def _split_day(raw: str) -> list[str]:
    first, _, rest = raw.partition(" ")
    is_day = first in ("today", "tomorrow") or _weekday(first) is not None
    return [first, rest] if is_day else [raw]


def _weekday(word: str) -> int | None:
    return next((index for index, name in enumerate(_DAYS) if len(word) >= 3 and name.startswith(word)), None)


def _clock(raw: str, text: str) -> time:
    if raw in _NAMED_TIMES:
        return _NAMED_TIMES[raw]
    found = _CLOCK.fullmatch(raw)
    if not found or (found[2] is None and found[4] is None):
        raise ValueError(f"'{text}' is not a time; write it like {INSTANT_FORMS}")
    hour, minute, second = (int(part or 0) for part in found.group(1, 2, 3))
    if found[4]:
        hour = _hour_of_day(hour, found[4] == "pm", text)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"'{text}' is not a time of day; hours go from 0 to 23, minutes and seconds from 0 to 59")
    return time(hour, minute, second)


def _hour_of_day(hour: int, afternoon: bool, text: str) -> int:
    if not 1 <= hour <= 12:
        raise ValueError(f"'{text}' is not a time of day; hours with am or pm go from 1 to 12")
    return hour % 12 + (12 if afternoon else 0)


def _on_day(day: str, wall: time, now: datetime, zone: tzinfo, text: str) -> datetime:
    today = now.astimezone(zone).date()
    if day == "tomorrow":
        return _local(datetime.combine(today + timedelta(days=1), wall), zone)
    if day == "today":
        instant = _local(datetime.combine(today, wall), zone)
        if instant <= now:
            raise ValueError(f"'{text}' is past; say tomorrow {wall:%H:%M} if that is meant")
        return instant
    ahead = ((_weekday(day) or 0) - today.weekday()) % 7
    return _next(wall, (today + timedelta(days=ahead), today + timedelta(days=ahead + 7)), now, zone)


def _following(day: date, count: int) -> tuple[date, ...]:
    return tuple(day + timedelta(days=offset) for offset in range(count))


def _next(wall: time, days: tuple[date, ...], now: datetime, zone: tzinfo) -> datetime:
    """Return the first instant after `now` at which the clocks show `wall` on one of these days."""
    for day in days:
        moment = datetime.combine(day, wall)
        for instant in _readings(moment, zone):
            if instant > now:
                return _local(moment, zone) if _is_skipped(moment, zone) else instant
    raise ValueError(f"there is no {wall:%H:%M} ahead")  # cannot be: a day ahead always has one after `now`


def _readings(moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the instants of a wall-clock moment: the second differs where the clocks show it twice."""
    for fold in (0, 1):
        yield moment.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _is_skipped(moment: datetime, zone: tzinfo) -> bool:
    there = moment.replace(tzinfo=zone).astimezone(UTC)
    return there.astimezone(zone).replace(tzinfo=None, fold=0) != moment


def _local(moment: datetime, zone: tzinfo) -> datetime:
    if _is_skipped(moment, zone):
        raise ValueError(
            f"{moment:%H:%M} does not exist on {moment:%Y-%m-%d}: the clocks go forward over it; name another time"
        )
    return moment.replace(tzinfo=zone).astimezone(UTC)


def local_zone() -> tzinfo:
    """Return the zone that TZ names, else the machine's, with its clock changes; else the present offset alone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        if named:
            return ZoneInfo(named)
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return utc_now().astimezone().tzinfo or UTC
