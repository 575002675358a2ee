"""Durations and instants are read as people mean them, on days of clock changes too."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.cli.times import parse_duration, parse_instant
from tests.cli.zones import BERLIN, LONDON

NOW = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)  # a Wednesday; 11:00 in London, 12:00 in Berlin


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("10m", 600), ("1h30m", 5400), ("6h", 21600), ("2d", 172800), ("1.5h", 5400), ("1d 12h", 129600),
        (" 2 H ", 7200), ("1w", 604800), ("0s", 0), ("250ms", 0.25),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "6 hours", "-1h", "1h-", "ten", "99999999w", "1e3s", "nan"])
def test_anything_else_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write it like 90s, 10m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["6", "90", "1.5"])
def test_a_number_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has no unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-06-03T10:00Z"),
        ("36h", "2026-06-04T22:00Z"),
        ("1h30m", "2026-06-03T11:30Z"),
        ("18:00", "2026-06-03T16:00Z"),
        ("12:00", "2026-06-04T10:00Z"),  # just now is not ahead
        ("11:59", "2026-06-04T09:59Z"),
        ("9am", "2026-06-04T07:00Z"),
        ("9 PM", "2026-06-03T19:00Z"),
        ("12am", "2026-06-03T22:00Z"),
        ("12:30pm", "2026-06-03T10:30Z"),
        ("noon", "2026-06-04T10:00Z"),
        ("midnight", "2026-06-03T22:00Z"),
        ("tomorrow 9am", "2026-06-04T07:00Z"),
        ("Tomorrow  09:00", "2026-06-04T07:00Z"),
        ("tomorrow midnight", "2026-06-03T22:00Z"),
        ("today 18:00:30", "2026-06-03T16:00:30Z"),
        ("friday 18:00", "2026-06-05T16:00Z"),
        ("wed 18:00", "2026-06-03T16:00Z"),
        ("wed 09:00", "2026-06-10T07:00Z"),
        ("2026-12-01T09:00Z", "2026-12-01T09:00Z"),
        ("2026-12-01T09:00+05:30", "2026-12-01T03:30Z"),
        ("2026-12-01 09:00", "2026-12-01T08:00Z"),
        ("2026-07-01T09:00:30", "2026-07-01T07:00:30Z"),
    ],
)
def test_instants_in_berlin(text: str, expected: str) -> None:
    assert parse_instant(text, now=NOW, zone=BERLIN) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        # London's clocks go from 01:00 GMT to 02:00 BST on 29 March 2026
        ("2026-03-28T12:00Z", "tomorrow 9am", "2026-03-29T08:00Z"),
        ("2026-03-28T12:00Z", "24h", "2026-03-29T12:00Z"),
        ("2026-03-28T23:00Z", "02:00", "2026-03-29T01:00Z"),
        ("2026-03-29T09:00Z", "01:30", "2026-03-30T00:30Z"),  # today's does not exist, but was not meant
        ("2026-03-29T00:30Z", "2026-03-29 02:30", "2026-03-29T01:30Z"),
        # and from 02:00 BST back to 01:00 GMT on 25 October 2026
        ("2026-10-24T12:00Z", "tomorrow 9am", "2026-10-25T09:00Z"),
        ("2026-10-24T22:00Z", "01:30", "2026-10-25T00:30Z"),  # the first of the two
        ("2026-10-25T00:45Z", "01:30", "2026-10-25T01:30Z"),  # the second is the next one ahead
        ("2026-10-25T01:45Z", "01:30", "2026-10-26T01:30Z"),
        ("2026-10-20T12:00Z", "2026-10-25 01:30", "2026-10-25T00:30Z"),
    ],
)
def test_instants_around_clock_changes(now: str, text: str, expected: str) -> None:
    found = parse_instant(text, now=datetime.fromisoformat(now), zone=LONDON)
    assert found == datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["01:30", "tomorrow 01:30", "2026-03-29 01:30", "sunday 1:30am"])
def test_a_time_that_the_clocks_skip_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="01:30 does not exist on 2026-03-29: the clocks go forward"):
        parse_instant(text, now=datetime(2026, 3, 28, 12, tzinfo=UTC), zone=LONDON)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a time; write it like 18:00"),
        ("18", "is not a time"),
        ("tomorrow", "is not a time"),
        ("soon", "is not a time"),
        ("25:00", "is not a time of day"),
        ("10:75", "is not a time of day"),
        ("13pm", "with am or pm go from 1 to 12"),
        ("0am", "with am or pm go from 1 to 12"),
        ("today 9am", "is past; say tomorrow 09:00"),
        ("2026-12-01", "names a day but no time"),
        ("2026-13-01 09:00", "is not a date and time"),
        ("2026-12-01 9am", "is not a date and time"),
        ("-3h", "is not a time"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_instant(text, now=NOW, zone=BERLIN)
