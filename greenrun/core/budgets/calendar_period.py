"""The weeks and months of the calendar in a site's time zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum


class PeriodKind(StrEnum):
    """How often a budget begins anew: on Mondays, or on the first of each month, at midnight."""

    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarPeriod:
    """One period `[start, end)` by its name: `2026-11`, `2026-W48`."""

    name: str
    start: datetime
    end: datetime

    def share(self, start: datetime, end: datetime) -> float:
        """Return which part of `[start, end)` is inside, 0 to 1."""
        length = (end - start).total_seconds()
        if length <= 0:
            return float(self.start <= start < self.end)
        inside = (min(end, self.end) - max(start, self.start)).total_seconds()
        return max(0.0, inside) / length


def period_of(kind: PeriodKind, at: datetime, zone: tzinfo) -> CalendarPeriod:
    """Return the period that an instant is in, by the clock on the wall of `zone`."""
    today = at.astimezone(zone).date()
    if kind is PeriodKind.WEEK:
        first = today - timedelta(days=today.weekday())
        year, week, _ = first.isocalendar()
        return _period(f"{year}-W{week:02}", first, first + timedelta(days=7), zone)
    first = today.replace(day=1)
    return _period(f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1), zone)


def _period(name: str, first: date, last: date, zone: tzinfo) -> CalendarPeriod:
    start, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, last))
    return CalendarPeriod(name=name, start=start, end=end)
