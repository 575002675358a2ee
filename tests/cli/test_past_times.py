"""Times of the past are read as people write them, by the local calendar, and as ISO 8601."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from greenrun.cli.past_times import parse_past

NOW = datetime(2026, 11, 30, 12, 15, tzinfo=UTC)  # a Monday
NEW_YORK = ZoneInfo("America/New_York")  # UTC-5, UTC-4 before November


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-30T12:15"), ("7d", "2026-11-23T12:15"), ("2h", "2026-11-30T10:15"),
        ("1h30m", "2026-11-30T10:45"),
        ("90 minutes ago", "2026-11-30T10:45"), ("last 7 days", "2026-11-23T12:15"), ("2 weeks", "2026-11-16T12:15"),
        ("today", "2026-11-30T05:00"), ("yesterday", "2026-11-29T05:00"), ("Yesterday 18:00", "2026-11-29T23:00"),
        ("this week", "2026-11-30T05:00"), ("last week", "2026-11-23T05:00"), ("this month", "2026-11-01T04:00"),
        ("last month", "2026-10-01T04:00"), ("this year", "2026-01-01T05:00"), ("last year", "2025-01-01T05:00"),
        ("monday", "2026-11-30T05:00"), ("last monday", "2026-11-23T05:00"), ("friday", "2026-11-27T05:00"),
        ("fri 9am", "2026-11-27T14:00"), ("last friday", "2026-11-27T05:00"), ("6:00", "2026-11-30T11:00"),
        ("18:00", "2026-11-29T23:00"), ("9pm", "2026-11-30T02:00"), ("noon", "2026-11-29T17:00"),
        ("2026-11-02T09:00Z", "2026-11-02T09:00"), ("2026-11-02 09:00", "2026-11-02T14:00"),
    ],
)  # fmt: skip
def test_an_instant_of_the_past_is_read(text: str, meant: str) -> None:
    assert parse_past(text, now=NOW, zone=NEW_YORK) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soonish", "last", "last blue moon", "7", "-3d", "25:00", "yesterday 25:00", "yesterdays"]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like|not a time of day|has no unit|is not a"):
        parse_past(text, now=NOW, zone=NEW_YORK)


@pytest.mark.parametrize("text", ["yest", "tod 18:00", "monday at 9", "last friday 7", "the day"])
def test_what_is_no_time_is_told_as_it_was_typed(text: str) -> None:
    with pytest.raises(ValueError, match=f"^'{text}' is not a time in the past"):
        parse_past(text, now=NOW, zone=NEW_YORK)
