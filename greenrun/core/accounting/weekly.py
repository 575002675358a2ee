"""Values that go by the clock on the wall (a price, a cap): days of the week and hours, in one time zone."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from greenrun.core.accounting.step_function import Span, Steps

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A value on some days (0 is Monday) from a minute of the day to another, or to that of the next day."""

    days: frozenset[int]
    start_min: int
    end_min: int
    value: float

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield `[start, end)` in minutes of the week; one that reaches into the next week is cut in two."""
        length = self.end_min - self.start_min
        for day in sorted(self.days):
            start = day * DAY_MIN + self.start_min
            end = start + (length if length > 0 else length + DAY_MIN)
            yield start, min(end, WEEK_MIN)
            if end > WEEK_MIN:
                yield 0, end - WEEK_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekly:
    """The value of each minute of the week: `values[i]` holds from `starts_min[i]` to the next; None: there is none.

    The week is that of the clock on the wall in `zone`: an hour that comes twice has its value twice, one that is left
    out has none.
    """

    starts_min: tuple[int, ...]
    values: tuple[float | None, ...]
    zone: tzinfo = UTC

    @classmethod
    def of(cls, rules: Sequence[Rule], rest: float | None, zone: tzinfo = UTC) -> "Weekly":
        """Return the values where `rest` holds where no rule does; raise ValueError where two rules do."""
        clashes = overlaps(rules)
        if clashes:
            raise ValueError(clashes[0])
        starts: list[int] = []
        values: list[float | None] = []
        at = 0
        for start, end, value in _spans(rules):
            if start > at:
                starts, values = [*starts, at], [*values, rest]
            starts, values, at = [*starts, start], [*values, value], end
        if at < WEEK_MIN:
            starts, values = [*starts, at], [*values, rest]
        return cls(starts_min=tuple(starts), values=tuple(values), zone=zone)

    def at(self, instant: datetime) -> float | None:
        """Return the value at an instant; None where there is none."""
        return self.values[self._index(_in_week(instant, self.zone))]

    def steps(self, start: datetime, end: datetime) -> Steps:
        """Return the values over `[start, end)`."""
        return Steps.of(self._pieces(start, end))

    def mean(self, start: datetime, end: datetime) -> float | None:
        """Return the time-weighted mean over `[start, end)`; None unless there is a value throughout."""
        return self.steps(start, end).mean(start, end)

    def _pieces(self, start: datetime, end: datetime) -> Iterator[Span]:
        for begin, stop in _of_one_offset(start, end, self.zone):
            at = begin
            while at < stop:
                since_monday = _in_week(at, self.zone)
                index = self._index(since_monday)
                edge_min = self.starts_min[index + 1] if index + 1 < len(self.starts_min) else WEEK_MIN
                after = min(stop, at + edge_min * _MINUTE - since_monday)
                if (value := self.values[index]) is not None:
                    yield Span(at, after, value)
                at = after

    def _index(self, since_monday: timedelta) -> int:
        return bisect_right(self.starts_min, since_monday // _MINUTE) - 1


def overlaps(rules: Sequence[Rule], what: str = "price") -> list[str]:
    """Return a sentence for each time of the week that two rules claim."""
    found, reached = [], 0
    for start, end, _ in _spans(rules):
        if start < reached:
            found.append(f"two rules claim {_clock(start)} to {_clock(min(reached, end))}; a time has one {what}")
        reached = max(reached, end)
    return found


def first_gap(rules: Sequence[Rule]) -> str | None:
    """Return the first time of the week that no rule tells a value of; None when there is none."""
    reached = 0
    for start, end, _ in _spans(rules):
        if start > reached:
            break
        reached = max(reached, end)
    return _clock(reached) if reached < WEEK_MIN else None


def parse_days(text: str) -> frozenset[int]:
    """Return the days that text like "mon-fri" or "sat,sun" names (0 is Monday); raise ValueError."""
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        ends = part.split("-")
        if len(ends) > 2 or any(end not in DAYS for end in ends):
            raise ValueError(f'{text!r} names no days; write them like "mon-fri" or "sat,sun"')
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        found |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return frozenset(found)


def parse_clock(text: str) -> int:
    """Return the minute of the day that text like "07:00" names, up to "24:00"; raise ValueError."""
    hours, colon, minutes = text.strip().partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2 and int(minutes) < 60):
        raise ValueError(f'{text!r} is no time of the day; write it like "07:00"')
    found = int(hours) * 60 + int(minutes)
    if found > DAY_MIN:
        raise ValueError(f"{text!r} is later than 24:00")
    return found


def _spans(rules: Sequence[Rule]) -> list[tuple[int, int, float]]:
    return sorted((start, end, rule.value) for rule in rules for start, end in rule.spans())


def _clock(minute: int) -> str:
    day, rest = divmod(minute, DAY_MIN)
    return f"{DAYS[day % 7]} {rest // 60:02}:{rest % 60:02}"


def _in_week(instant: datetime, zone: tzinfo) -> timedelta:
    """Return how far the clock on the wall is from the Monday's midnight before."""
    local = instant.astimezone(zone).replace(tzinfo=None)
    return timedelta(days=local.weekday()) + (local - local.replace(hour=0, minute=0, second=0, microsecond=0))


def _of_one_offset(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Yield `[start, end)` cut at least once a day, and to the second where the clock on the wall is changed."""
    at = start.astimezone(UTC)
    while at < end:
        until = min(end, at + _DAY)
        if _offset(at, zone) != _offset(until, zone):
            until = _change(at, until, zone)
        yield at, until
        at = until


def _change(start: datetime, end: datetime, zone: tzinfo) -> datetime:
    """Return the first whole second of `(start, end]` at which the offset is not that of `start` any more."""
    low, high = int(start.timestamp()), -int(-end.timestamp() // 1)
    while high - low > 1:
        middle = (low + high) // 2
        same = _offset(datetime.fromtimestamp(middle, UTC), zone) == _offset(start, zone)
        low, high = (middle, high) if same else (low, middle)
    return min(end, datetime.fromtimestamp(high, UTC))


def _offset(instant: datetime, zone: tzinfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
