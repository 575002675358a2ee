"""TZ is understood in each form that POSIX has, and the C library, which shows times, agrees with what is read."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from greenrun.submission.local_zone import local_zone, settle_zone, zone_name

WINTER, SUMMER = datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 7, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("named", "winter", "summer"),
    [
        ("CET-1CEST,M3.5.0,M10.5.0/3", "13:00 CET", "14:00 CEST"),
        ("<+03>-3", "15:00 +03", "15:00 +03"),
        ("IST-5:30", "17:30 IST", "17:30 IST"),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", "01:00 NZDT", "00:00 NZST"),
        ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "09:00 -03", "10:00 -02"),
        ("CET-1CEST,J60,J300/3", "13:00 CET", "14:00 CEST"),
        ("CET-1CEST", "13:00 CET", "14:00 CEST"),  # without its rule
        (":CET-1CEST,M3.5.0,M10.5.0/3", "13:00 CET", "14:00 CEST"),
        ("GMT+5", "07:00 GMT", "07:00 GMT"),  # POSIX counts westwards
        ("UTC0", "12:00 UTC", "12:00 UTC"),
        ("", "12:00 UTC", "12:00 UTC"),
    ],
)
def test_a_rule_is_understood_and_the_c_library_agrees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str, winter: str, summer: str
) -> None:
    monkeypatch.setenv("TZ", named)
    time.tzset()
    settle_zone()
    assert [f"{at.astimezone(local_zone()):%H:%M} {zone_name(at)}" for at in (WINTER, SUMMER)] == [winter, summer]
    hours = [WINTER + timedelta(hours=number) for number in range(24 * 366)]
    assert [at for at in hours if at.astimezone().utcoffset() != at.astimezone(local_zone()).utcoffset()] == []
    assert capsys.readouterr().err == ""


def test_a_zone_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from greenrun.submission.local_zone import _ZONES

    if not (_ZONES / "Asia/Tokyo").is_file():
        pytest.skip("this machine has no database of zones")
    for named in ("Asia/Tokyo", ":Asia/Tokyo", f"{_ZONES}/Asia/Tokyo", f":{_ZONES}/Asia/Tokyo"):
        monkeypatch.setenv("TZ", named)
        time.tzset()
        assert (zone_name(WINTER), WINTER.astimezone(local_zone()).hour) == ("JST", 21)


@pytest.mark.parametrize(
    "named", ["Mars/Base", "foo", "A5", "CET-1CEST,M13.5.0,M10.5.0", "../../etc/passwd", "\x1b[2J"]
)
def test_an_unknown_zone_is_said_once_and_utc_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    monkeypatch.setenv("TZ", named)
    time.tzset()
    settle_zone()
    settle_zone()
    said = capsys.readouterr().err
    shown = named.replace("\x1b", "\\x1b")
    assert said == f"TZ={shown} names no time zone that this machine knows: times are in UTC\n"
    assert (local_zone().utcoffset(None), SUMMER.astimezone().hour, os.environ["TZ"]) == (timedelta(0), 12, "UTC0")
