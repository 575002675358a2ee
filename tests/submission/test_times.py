"""Durations and instants are read as people mean them, on days of clock changes too."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from greenrun.submission.times import parse_duration, parse_instant, read_instant
from tests.cli.zones import BERLIN, LONDON

NOW = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)  # a Wednesday; 11:00 in London, 12:00 in Berlin


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("10m", 600), ("1h30m", 5400), ("6h", 21600), ("2d", 172800), ("1.5h", 5400), ("1d 12h", 129600),
        (" 2 H ", 7200), ("1w", 604800), ("0s", 0), ("250ms", 0.25),
        ("6 hours", 21600), ("an hour and 30 minutes", 5400), ("2 days", 172800), ("1 hr 5 mins", 3900),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "6 moons", "-1h", "1h-", "ten", "99999999w", "1e3s", "nan"])
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
    ("text", "expected", "note"),
    [
        ("18:00", "2026-06-03T16:00Z", ""),
        ("9am tomorrow", "2026-06-04T07:00Z", ""),
        ("at 9 a.m. tomorrow", "2026-06-04T07:00Z", ""),
        ("tomorrow noon", "2026-06-04T10:00Z", ""),
        ("day after tomorrow 9am", "2026-06-05T07:00Z", ""),
        ("tonight", "2026-06-03T18:00Z", "tonight is taken as today, Wed 20:00"),
        ("tonight at 11pm", "2026-06-03T21:00Z", ""),
        ("tonight 1am", "2026-06-03T23:00Z", ""),
        ("midnight", "2026-06-03T22:00Z", ""),
        ("00:00", "2026-06-03T22:00Z", ""),
        ("11:59", "2026-06-04T09:59Z", "11:59 has passed: tomorrow, Thu 11:59"),
        ("9am UTC", "2026-06-04T09:00Z", "9am UTC has passed: tomorrow, Thu 11:00"),
        ("monday", "2026-06-07T22:00Z", "monday is taken as its beginning: Mon 00:00"),
        ("monday at noon", "2026-06-08T10:00Z", ""),
        ("wednesday 8:00", "2026-06-10T06:00Z", "wednesday 8:00 has passed: Wed 2026-06-10 08:00"),
        ("next monday 8:00", "2026-06-08T06:00Z", "next monday is the first after today: Mon 2026-06-08 08:00"),
        ("next wed 8:00", "2026-06-10T06:00Z", "next wed is the first after today: Wed 2026-06-10 08:00"),
        ("tomorrow", "2026-06-03T22:00Z", "tomorrow is taken as its beginning: Thu 00:00"),
        ("2026-12-01", "2026-11-30T23:00Z", "2026-12-01 is taken as its beginning: Tue 2026-12-01 00:00"),
        ("1 Dec 18:00", "2026-12-01T17:00Z", ""),
        ("January 5th 9am", "2027-01-05T08:00Z", ""),
        ("in 3 hours", "2026-06-03T13:00Z", ""),
        ("in an hour and 30 minutes", "2026-06-03T11:30Z", ""),
        ("now + 2h", "2026-06-03T12:00Z", ""),
        ("18:00Z", "2026-06-03T18:00Z", ""),
        ("18:00 UTC", "2026-06-03T18:00Z", ""),
        ("6pm utc", "2026-06-03T18:00Z", ""),
        ("18:00+02:00", "2026-06-03T16:00Z", ""),
        ("18:00 -0800", "2026-06-04T02:00Z", ""),
        ("18:00 UTC+5", "2026-06-03T13:00Z", ""),
        ("18:00 CET", "2026-06-03T17:00Z", ""),  # by name, though it is summer
        ("friday 18:00Z", "2026-06-05T18:00Z", ""),
        ("2026-12-01 9am", "2026-12-01T08:00Z", ""),
        ("9:00 2026-12-01 +01:00", "2026-12-01T08:00Z", ""),
        ("2026-12-01T9:00", "2026-12-01T08:00Z", ""),
        ("2026-12-01t09:00z", "2026-12-01T09:00Z", ""),
        ("20261201T0900Z", "2026-12-01T09:00Z", ""),
    ],
)
def test_what_people_write_and_what_was_made_of_it(text: str, expected: str, note: str) -> None:
    assert read_instant(text, now=NOW, zone=BERLIN) == (datetime.fromisoformat(expected), note)


def test_of_a_time_that_comes_twice_it_is_said_which_is_meant() -> None:
    before, between = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    first, second = (read_instant("01:30", now=now, zone=LONDON).note for now in (before, between))
    assert first == "01:30 comes twice on 2026-10-25: the first is meant; 2026-10-25 01:30+00:00 is the other"
    assert second == "01:30 comes twice on 2026-10-25: the second is meant; 2026-10-25 01:30+01:00 is the other"
    other = read_instant("2026-10-25 01:30+00:00", now=before, zone=LONDON)
    assert other == (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "")
    assert read_instant("01:30 GMT", now=before, zone=LONDON).at == other.at


@pytest.mark.parametrize("when", ["evening", "night"])
def test_tonight_is_what_is_left_of_the_night(when: str) -> None:
    if when == "evening":
        with pytest.raises(ValueError, match="'tonight' alone is 20:00, which is past"):
            read_instant("tonight", now=datetime(2026, 6, 3, 19, tzinfo=UTC), zone=BERLIN)
        return
    now = datetime(2026, 6, 3, 23, tzinfo=UTC)  # 01:00 in Berlin
    assert parse_instant("tonight 3am", now=now, zone=BERLIN) == datetime(2026, 6, 4, 1, tzinfo=UTC)


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
        ("tomorrow 9", "is not a time"),
        ("12/01 9am", "is not a time"),
        ("9am 10am", "is not a time"),
        ("in 3 months", "is not a time"),
        ("mondays 9am", "is not a time"),
        ("soon", "is not a time"),
        ("tom 9am", "is not a time"),
        ("next tomorrow 9am", "is not a time"),
        ("the 9am", "is not a time"),
        ("yes", "is not a time"),
        ("next day", "is not a time"),
        ("25:00", "is not a time of day"),
        ("10:75", "is not a time of day"),
        ("13pm", "with am or pm go from 1 to 12"),
        ("0am", "with am or pm go from 1 to 12"),
        ("today 9am", "is past; say tomorrow 09:00"),
        ("today", "names a day but no time"),
        ("tonight 9:00", "is in the morning; write it like tonight 21:00"),
        ("18:00 PST", "'PST' is no zone of this machine, and such letters stand for several"),
        ("18:00 Mars/Base", "names a zone that this machine does not know"),
        ("18:00+25:00", "has no offset from UTC that a place has"),
        ("feb 30 9am", "is not a date and time"),
        ("9999-12-31 23:59-08:00", "is beyond the calendar"),
        ("2026-13-01 09:00", "is not a date and time"),
        ("-3h", "is not a time"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_instant(text, now=NOW, zone=BERLIN)


@pytest.mark.parametrize(
    ("zone", "now", "text", "expected"),
    [
        ("America/Santiago", "2026-09-05T12:00Z", "tomorrow", "2026-09-06T04:00Z"),
        ("Africa/Cairo", "2026-04-20T12:00Z", "24 april", "2026-04-23T22:00Z"),
        ("Asia/Beirut", "2026-03-28T12:00Z", "sunday", "2026-03-28T22:00Z"),
    ],
)
def test_a_day_without_a_midnight_begins_when_the_clocks_have_gone_forward(
    zone: str, now: str, text: str, expected: str
) -> None:
    found = read_instant(text, now=datetime.fromisoformat(now), zone=ZoneInfo(zone))
    assert (found.at, "is taken as its beginning" in found.note) == (datetime.fromisoformat(expected), True)


def test_a_day_that_a_place_never_had_is_refused() -> None:
    now = datetime(2011, 12, 29, 22, tzinfo=UTC)
    with pytest.raises(ValueError, match="does not exist"):
        read_instant("2011-12-30", now=now, zone=ZoneInfo("Pacific/Apia"))
