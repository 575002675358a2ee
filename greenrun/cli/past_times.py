"""Parse instants of the past as people write them: `7d`, `yesterday`, `last week`, by the local calendar."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo

from greenrun.submission.times import parse_duration, parse_instant

PAST_FORMS = "7d (ago), yesterday, last week, monday, 18:00, 2026-11-02 or 2026-11-02T09:00Z"

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SPAN = re.compile(r"(?:(?:the )?(?:last|past) )?(?P<span>\d.*?)(?: ago)?")
_UNITS = {"minute": "m", "min": "m", "hour": "h", "day": "d", "week": "w", "second": "s"}
_CLOCK = re.compile(r"\d{1,2}(?::\d{2}){1,2}\s*(?:am|pm)?|\d{1,2}\s*(?:am|pm)|noon|midnight")
_DAY = re.compile(r"(?P<day>(?:last )?[a-z]+)(?: (?:at )?(?P<clock>.+))?")


def parse_past(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Read an instant of the past and return it in UTC; raise ValueError with a sentence.

    A span is that long ago; a day, week, month or year is its beginning in `zone`; a day of the week or a time of day
    is the latest one that is not ahead. Anything else is read like an instant to come.
    """
    raw = " ".join(text.lower().split())
    today = now.astimezone(zone).date()
    if raw == "now":
        return now.astimezone(UTC)
    if (begin := _period(raw, today)) is not None:
        return _on(begin, "", now, zone)
    if _CLOCK.fullmatch(raw):
        return _latest_clock(raw, today, now, zone)
    if (ago := _ago(raw)) is not None:
        return now.astimezone(UTC) - ago
    found = _DAY.fullmatch(raw)
    day = _day(found["day"], today) if found else None
    if found and day is not None and (not found["clock"] or _CLOCK.fullmatch(found["clock"])):
        return _on(day, found["clock"] or "", now, zone)
    try:
        return parse_instant(text, now=now, zone=zone)
    except ValueError as exc:
        raise ValueError(f"'{text}' is not a time in the past; write it like {PAST_FORMS}") from exc


def _period(raw: str, today: date) -> date | None:
    """Return the first day of `this week`, `last month` and the like."""
    which, _, unit = raw.partition(" ")
    if which not in ("this", "last"):
        return None
    back = which == "last"
    if unit == "week":
        return today - timedelta(days=today.weekday() + 7 * back)
    if unit == "month":
        first = today.replace(day=1)
        return (first - timedelta(days=1)).replace(day=1) if back else first
    if unit == "year":
        return date(today.year - back, 1, 1)
    return None


def _day(word: str, today: date) -> date | None:
    """Return the day that is meant by `today`, `yesterday`, `monday` or `last monday`; None for no such word."""
    if word in ("today", "yesterday"):
        return today - timedelta(days=word == "yesterday")
    name = word.removeprefix("last ")
    index = next((at for at, day in enumerate(_DAYS) if len(name) >= 3 and day.startswith(name)), None)
    if index is None:
        return None
    ago = (today.weekday() - index) % 7
    return today - timedelta(days=7 if not ago and name != word else ago)


def _ago(raw: str) -> timedelta | None:
    found = _SPAN.fullmatch(raw)
    if found is None:
        return None
    span = re.sub(r"([a-z]+?)s?\b", lambda word: _UNITS.get(word[1], word[0]), found["span"])
    try:
        return parse_duration(span)
    except ValueError:
        return None


def _latest_clock(clock: str, today: date, now: datetime, zone: tzinfo) -> datetime:
    instant = _on(today, clock, now, zone)
    return instant if instant <= now else _on(today - timedelta(days=1), clock, now, zone)


def _on(day: date, clock: str, now: datetime, zone: tzinfo) -> datetime:
    return parse_instant(f"{day.isoformat()} {clock}".strip(), now=now, zone=zone)
