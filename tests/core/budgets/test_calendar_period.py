"""Weeks and months of the calendar, by the clock on a site's wall."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from greenrun.core.budgets.calendar_period import PeriodKind, period_of

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "at", "name", "hours"),
    [
        (PeriodKind.MONTH, datetime(2026, 11, 30, 23, 59, tzinfo=BERLIN), "2026-11", 30 * 24),
        (PeriodKind.MONTH, datetime(2026, 12, 31, 23, 59, tzinfo=BERLIN), "2026-12", 31 * 24),
        (PeriodKind.MONTH, datetime(2024, 2, 29, tzinfo=BERLIN), "2024-02", 29 * 24),
        (PeriodKind.MONTH, datetime(2026, 3, 30, tzinfo=BERLIN), "2026-03", 31 * 24 - 1),  # the clocks skip an hour
        (PeriodKind.WEEK, datetime(2026, 10, 25, 23, tzinfo=BERLIN), "2026-W43", 7 * 24 + 1),  # ... or show one twice
        (PeriodKind.WEEK, datetime(2027, 1, 3, 23, tzinfo=BERLIN), "2026-W53", 7 * 24),
        (PeriodKind.WEEK, datetime(2027, 1, 4, tzinfo=BERLIN), "2027-W01", 7 * 24),
    ],
)
def test_a_period_is_the_calendars_however_long_it_is(kind: PeriodKind, at: datetime, name: str, hours: int) -> None:
    found = period_of(kind, at.astimezone(UTC), BERLIN)
    assert (found.name, (found.end - found.start) / HOUR) == (name, hours)
    assert found.start <= at < found.end
    assert period_of(kind, found.end, BERLIN).start == found.end
    assert period_of(kind, found.start - timedelta(microseconds=1), BERLIN).end == found.start


def test_a_share_is_the_part_of_a_time_inside() -> None:
    month = period_of(PeriodKind.MONTH, datetime(2026, 11, 5, tzinfo=UTC), UTC)
    assert month.share(month.end - HOUR, month.end + 3 * HOUR) == 0.25
    assert month.share(month.start - 2 * HOUR, month.start - HOUR) == 0.0
    assert month.share(month.start, month.start) == 1.0
