"""Parse durations and instants as people write them; the present and the zone are arguments.

What is ambiguous is read by rules that docs/cli.md ("Times") lists; `ReadInstant.note` says what was made of it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple

from greenrun.core import parsing

# Patterns are compiled when they are first used: most submissions name no time.
_BARE_NUMBER = r"[1-9]\d*(?:\.\d*)?|0+\.\d+"
_UNIT_WORDS = r"(?<=\d)\s*(seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?)\b"
_ONE = r"\ban?\s+(?=second|sec|minute|min|hour|hr|day|week)"
_SPAN = r"(?:in |now ?\+ ?|\+)?((?:\d+(?:\.\d+)?\s*[smhdw]\s*)+)(?:from now)?"
_CLOCK = r"(?<![\d:])(?:(\d{1,2})(?::(\d{2}))?(?::(\d{2}))? ?(am|pm)|(\d{1,2}):(\d{2})(?::(\d{2}))?)(?![\d:a-z])"
_NAMED_CLOCK = r"\b(noon|midnight)\b"
_DATE = r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?![\d-])[ t]?"
_OFFSET = (
    r"(?:(?<=\d)|(?<=[ap]m)|(?<=noon)|(?<=midnight)|^) ?(?:(z|utc|gmt)|(?:utc|gmt)?([+-])(\d{1,2})(?::?(\d{2}))?)$"
)
_PLACE = r" ?\b([a-z_]+(?:/[a-z0-9_+-]+)+)$"
_ABBREVIATION = r"(?:(?<=\d)|(?<=[ap]m)|(?<=noon)|(?<=midnight)) (?!am|pm)([a-z]{2,5})$"
_ISO = r"\d{4}-?(?:\d{2}-?\d{2}|w\d{2}-?\d)t?\d{2}.*|\d{4}-\d{2}-\d{2} \d{2}:\d{2}.*"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*"
_MONTH_DAY = rf"(?:(\d{{1,2}})(?:st|nd|rd|th)? {_MONTH}|{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?)(?: (\d{{4}}))?"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_OTHER_DAYS = {"yesterday": -1, "tomorrow": 1, "day after tomorrow": 2, "the day after tomorrow": 2}
_EVENING, _MORNING = time(20), time(6)  # what `tonight` alone is, and when a night is over

DURATION_FORMS = "90s, 10m, 1h30m, 6h or 2d"
INSTANT_FORMS = "18:00, tomorrow 9am, friday 18:00, in 36h, 2026-12-01 09:00 or 18:00Z"


class ReadInstant(NamedTuple):
    """An instant in UTC, and what was made of a form that could mean several; "" where it could not."""

    at: datetime
    note: str = ""


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `1h30m`, `6h`, `2 days`; raise ValueError with a sentence for anything else.

    A number without a unit is refused, because some take it for minutes and some for seconds.
    """
    raw = "".join(_with_short_units(text.lower()).split())
    if re.fullmatch(_BARE_NUMBER, raw):
        raise ValueError(f"'{text}' has no unit; write it like {DURATION_FORMS}")
    try:
        return parsing.parse_duration(raw)
    except ValueError as exc:
        raise ValueError(f"'{text}' is not a duration; write it like {DURATION_FORMS}") from exc


def parse_instant(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Read an instant and return it in UTC; see `read_instant`."""
    return read_instant(text, now=now, zone=zone).at


def read_instant(text: str, *, now: datetime, zone: tzinfo) -> ReadInstant:
    """Read an instant, as people write it or as ISO 8601; raise ValueError with a sentence.

    A form without a zone is wall-clock time in `zone`; of a time that the clocks show twice the first is meant, and one
    that they skip is refused. A lone time is its next occurrence after `now`, a lone day its beginning.
    """
    try:
        return _read(text, now, zone)
    except OverflowError as exc:
        raise ValueError(f"'{text}' is beyond the calendar") from exc


def _read(text: str, now: datetime, zone: tzinfo) -> ReadInstant:
    raw = " ".join(text.lower().replace(",", " ").replace("a.m.", "am").replace("p.m.", "pm").split())
    if raw == "now":
        return ReadInstant(now.astimezone(UTC))
    span = re.fullmatch(_SPAN, _with_short_units(raw))
    if span:
        return ReadInstant(now.astimezone(UTC) + parse_duration(span[1]))
    if re.fullmatch(_ISO, raw) and (iso := _iso(text)) is not None:
        return _said(iso, zone) if iso.tzinfo is None else ReadInstant(iso.astimezone(UTC))
    return _Instant(text, raw, now, zone).reading()


def _with_short_units(raw: str) -> str:
    """Return `1h 30m` for `an hour and 30 minutes`."""
    counted = re.sub(_ONE, "1 ", raw.replace("half an hour", "30m"))
    return re.sub(_UNIT_WORDS, lambda found: found[1][0], counted).replace(" and ", " ")


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip().upper())
    except ValueError:
        return None


class _Instant:
    """One text that is read: a day, a time of day and a zone, in any order, each taken out as it is found."""

    def __init__(self, text: str, raw: str, now: datetime, zone: tzinfo) -> None:
        self.text = text
        self.raw = raw
        self.now = now
        self.zone = zone
        self.local = zone

    def reading(self) -> ReadInstant:
        """Return what it means."""
        date_ = self._take_date()
        self.zone = self._take_zone()
        clock = self._take_clock()
        day = " ".join(word for word in self.raw.split() if word not in ("at", "on", "this"))
        if clock is None and date_ is None and not day:
            raise self._unreadable()
        if date_ is not None and day:
            raise self._unreadable()
        return self._on_date(date_, clock) if date_ is not None else self._on_day(day, clock)

    def _unreadable(self) -> ValueError:
        return ValueError(f"'{self.text}' is not a time; write it like {INSTANT_FORMS}")

    # the parts

    def _take(self, found: re.Match[str]) -> None:
        self.raw = " ".join(f"{self.raw[: found.start()]} {self.raw[found.end() :]}".split())

    def _take_date(self) -> date | None:
        found = re.search(_DATE, self.raw)
        if not found:
            return None
        self._take(found)
        try:
            return date(*map(int, found.groups()))
        except ValueError as exc:
            raise ValueError(f"'{self.text}' is not a date and time; write it like 2026-12-01 09:00") from exc

    def _take_zone(self) -> tzinfo:
        if found := re.search(_OFFSET, self.raw):
            self._take(found)
            return self._offset(found)
        if found := re.search(_PLACE, self.raw):
            self._take(found)
            return self._place(found[1])
        found = re.search(_ABBREVIATION, self.raw)
        if found and not _is_day(found[1]) and found[1][:3] not in _MONTHS:
            self._take(found)
            return self._abbreviated(found[1])
        return self.zone

    def _offset(self, found: re.Match[str]) -> tzinfo:
        if found[1]:
            return UTC
        length = timedelta(hours=int(found[3]), minutes=int(found[4] or 0))
        if length > timedelta(hours=15) or int(found[4] or 0) > 59:
            raise ValueError(f"'{self.text}' has no offset from UTC that a place has; write it like 18:00+02:00")
        return timezone(length if found[2] == "+" else -length)

    def _place(self, name: str) -> tzinfo:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        written = re.search(re.escape(name), self.text, re.IGNORECASE)
        for spelt in (written[0] if written else name, name.title().replace("_Of_", "_of_")):
            try:
                return ZoneInfo(spelt)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
        raise ValueError(f"'{self.text}' names a zone that this machine does not know; write it like 18:00+02:00")

    def _abbreviated(self, name: str) -> tzinfo:
        """Return the offset that the local zone calls so, in winter or in summer; others mean several zones."""
        for weeks in range(53):
            there = (self.now + timedelta(weeks=weeks)).astimezone(self.zone)
            if (there.tzname() or "").lower() == name:
                return timezone(there.utcoffset() or timedelta(), name.upper())
        if re.search(_CLOCK, self.raw) or re.search(_NAMED_CLOCK, self.raw):
            why = f"'{name.upper()}' is no zone of this machine, and such letters stand for several"
            raise ValueError(f"'{self.text}' is not a time that can be told: {why}; write it like 18:00+02:00")
        raise self._unreadable()

    def _take_clock(self) -> time | None:
        if found := re.search(_NAMED_CLOCK, self.raw):
            self._take(found)
            return time(12) if found[1] == "noon" else time(0)
        found = re.search(_CLOCK, self.raw)
        if not found:
            return None
        self._take(found)
        hour, minute, second = (int(part or 0) for part in (found.group(1, 2, 3) if found[4] else found.group(5, 6, 7)))
        if found[4]:
            hour = self._hour_of_day(hour, afternoon=found[4] == "pm")
        if hour > 23 or minute > 59 or second > 59:
            why = "hours go from 0 to 23, minutes and seconds from 0 to 59"
            raise ValueError(f"'{self.text}' is not a time of day; {why}")
        return time(hour, minute, second)

    def _hour_of_day(self, hour: int, *, afternoon: bool) -> int:
        if not 1 <= hour <= 12:
            raise ValueError(f"'{self.text}' is not a time of day; hours with am or pm go from 1 to 12")
        return hour % 12 + (12 if afternoon else 0)

    # what they mean together

    @property
    def today(self) -> date:
        """The present day where the time is meant."""
        return self.now.astimezone(self.zone).date()

    def _on_date(self, day: date, clock: time | None) -> ReadInstant:
        if clock is not None:
            return _said(datetime.combine(day, clock), self.zone)
        beginning = datetime.combine(day, time())
        if _is_skipped(beginning, self.zone):  # where the clocks go forward at midnight, a day begins at 01:00
            first = _first_after(beginning, self.zone)
            if first.astimezone(self.zone).date() == day:
                return self._from_its_beginning(ReadInstant(first))
        return self._from_its_beginning(_said(beginning, self.zone))

    def _on_day(self, day: str, clock: time | None) -> ReadInstant:
        if not day:
            assert clock is not None, "a text without a day and a time was refused"
            return self._next(clock, [self.today + timedelta(days=ahead) for ahead in range(3)])
        if day == "today":
            return self._today(clock)
        if day in ("tonight", "today night"):
            return self._tonight(clock)
        if day in _OTHER_DAYS:
            return self._on_date(self.today + timedelta(days=_OTHER_DAYS[day]), clock)
        if _is_weekday(day.removeprefix("next ")):
            return self._on_weekday(day, clock)
        if found := re.fullmatch(_MONTH_DAY, day):
            return self._on_month_day(found, clock)
        raise self._unreadable()

    def _today(self, clock: time | None) -> ReadInstant:
        if clock is None:
            raise ValueError(f"'{self.text}' names a day but no time; write it like today 18:00")
        return self._ahead(_said(datetime.combine(self.today, clock), self.zone), clock)

    def _ahead(self, found: ReadInstant, clock: time) -> ReadInstant:
        if found.at <= self.now:
            raise ValueError(f"'{self.text}' is past; say tomorrow {clock:%H:%M} if that is meant")
        return found

    def _tonight(self, clock: time | None) -> ReadInstant:
        is_night = self.now.astimezone(self.zone).time() < _MORNING
        if clock is not None and _MORNING <= clock < time(12):
            raise ValueError(f"'{self.text}' is in the morning; write it like tonight {clock.hour + 12}:00")
        at = _EVENING if clock is None else clock
        day = self.today + timedelta(days=1 if at < _MORNING and not (is_night and at > self._time_now()) else 0)
        found = _said(datetime.combine(day, at), self.zone)
        if clock is not None:
            return self._ahead(found, at)
        if found.at <= self.now:
            raise ValueError(f"'{self.text}' alone is 20:00, which is past; say when, like tonight 22:00")
        return ReadInstant(found.at, f"{self.text} is taken as {self._day_text(found.at)}")

    def _time_now(self) -> time:
        return self.now.astimezone(self.zone).time()

    def _on_weekday(self, day: str, clock: time | None) -> ReadInstant:
        name = day.removeprefix("next ")
        ahead = (_weekday(name) - self.today.weekday()) % 7
        if day != name:
            found = self._on_date(self.today + timedelta(days=ahead or 7), clock)
            there = found.at.astimezone(self.local)
            return ReadInstant(found.at, f"{day} is the first after today: {there:%a %Y-%m-%d %H:%M}")
        if clock is None:
            return self._on_date(self.today + timedelta(days=ahead or 7), None)
        return self._next(clock, [self.today + timedelta(days=ahead), self.today + timedelta(days=ahead + 7)])

    def _on_month_day(self, found: re.Match[str], clock: time | None) -> ReadInstant:
        month = _MONTHS.index(found[2] or found[3]) + 1
        years = [int(found[5])] if found[5] else [self.today.year, self.today.year + 1]
        try:
            days = [date(year, month, int(found[1] or found[4])) for year in years]
        except ValueError as exc:
            raise ValueError(f"'{self.text}' is not a date and time; write it like 2026-12-01 09:00") from exc
        return self._on_date(next((day for day in days if day >= self.today), days[-1]), clock)

    def _next(self, clock: time, days: list[date]) -> ReadInstant:
        """Return the first instant ahead at which the clocks show this on one of these days."""
        for day in days:
            moment = datetime.combine(day, clock)
            for instant in _readings(moment, self.zone):
                if instant > self.now:
                    found = _said(moment, self.zone, after=self.now)
                    return ReadInstant(found.at, found.note or self._passed(clock, day, days[0], found.at))
        raise ValueError(f"there is no {clock:%H:%M} ahead")  # cannot be: a day ahead always has one after `now`

    def _passed(self, clock: time, day: date, first: date, at: datetime) -> str:
        if day == first or clock == time():  # nothing else could be meant: the midnight ahead is the next day's
            return ""
        return f"{self.text} has passed: {self._day_text(at)}"

    def _from_its_beginning(self, found: ReadInstant) -> ReadInstant:
        made = f"{self.text} is taken as its beginning: {self._day_text(found.at).removeprefix('tomorrow, ')}"
        return ReadInstant(found.at, found.note or made)

    def _day_text(self, at: datetime) -> str:
        there = at.astimezone(self.local)
        ahead = (there.date() - self.now.astimezone(self.local).date()).days
        said = f"{there:%a %H:%M}" if ahead < 6 else f"{there:%a %Y-%m-%d %H:%M}"
        return f"{('today, ', 'tomorrow, ')[ahead]}{said}" if 0 <= ahead < 2 else said


def _is_day(word: str) -> bool:
    return _is_weekday(word) or word in ("today", "tonight", *_OTHER_DAYS)


def _is_weekday(word: str) -> bool:
    return len(word) >= 3 and any(name.startswith(word) for name in _DAYS)


def _weekday(word: str) -> int:
    return next(index for index, name in enumerate(_DAYS) if name.startswith(word))


def _said(moment: datetime, zone: tzinfo, after: datetime | None = None) -> ReadInstant:
    """Return the instant of a wall-clock moment: of two the first, or the first ahead; raise ValueError for none."""
    if _is_skipped(moment, zone):
        raise ValueError(
            f"{moment:%H:%M} does not exist on {moment:%Y-%m-%d}: the clocks go forward over it; name another time"
        )
    first, second = _readings(moment, zone)
    if first == second:
        return ReadInstant(first)
    at = second if after is not None and first <= after else first
    taken, other = ("second", first) if at == second else ("first", second)
    offset = f"{other.astimezone(zone):%z}"
    advice = f"{moment:%Y-%m-%d %H:%M}{offset[:3]}:{offset[3:]} is the other"
    return ReadInstant(at, f"{moment:%H:%M} comes twice on {moment:%Y-%m-%d}: the {taken} is meant; {advice}")


def _readings(moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the two instants of a wall-clock moment: they differ where the clocks show it twice."""
    for fold in (0, 1):
        yield moment.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _first_after(moment: datetime, zone: tzinfo) -> datetime:
    """Return the instant at which the clocks go forward over a wall-clock moment that they skip."""
    after, before = _readings(moment, zone)  # read by the offset before the change, and by the one after it
    low, high, offset = int(before.timestamp()), int(after.timestamp()), before.astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        is_before = datetime.fromtimestamp(middle, zone).utcoffset() == offset
        low, high = (middle, high) if is_before else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def _is_skipped(moment: datetime, zone: tzinfo) -> bool:
    there = moment.replace(tzinfo=zone).astimezone(UTC)
    return there.astimezone(zone).replace(tzinfo=None, fold=0) != moment
