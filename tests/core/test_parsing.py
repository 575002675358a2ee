"""Durations and instants are read as people write them, and nothing doubtful is accepted."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.core.parsing import parse_duration, parse_instant

GOOD = {"90s": 90, "10m": 600, "6h": 21_600, "2d": 172_800, "1w": 604_800, "1h30m": 5_400, "1.5h": 5_400, "250ms": 0.25}
BAD = [
    "",
    "-5s",
    "5 parsecs",
    "s",
    "6 h",
    "6H",
    "1e3",
    "nan",
    "inf",
    True,
    -1,
    float("nan"),
    1e300,
    "9" * 400,
    None,
    [5],
    "٣s",
]


@pytest.mark.parametrize(("text", "seconds"), [*GOOD.items(), (5, 5), ("5", 5), (0.5, 0.5), (0, 0)])
def test_a_duration_is_text_with_units_or_plain_seconds(text: object, seconds: float) -> None:
    """All the forms of interfaces and settings."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_what_is_no_duration_is_refused(value: object) -> None:
    """Negative, endless and unknown forms are never taken for something."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


def test_an_instant_needs_a_zone_and_becomes_utc() -> None:
    """A time of day without a zone names no instant."""
    assert (
        parse_instant("2020-06-01T02:00+02:00")
        == parse_instant("2020-06-01T00:00Z")
        == datetime(2020, 6, 1, tzinfo=UTC)
    )
    assert parse_instant("2020-06-01T02:00+02:00").tzinfo is UTC
    for text in ("2020-06-01T00:00", "2020-06-01", "noon", "", "0001-01-01T00:00+10:00"):
        with pytest.raises(ValueError, match=r"zone|instant|calendar"):
            parse_instant(text)
