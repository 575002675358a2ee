"""A file of values over time: read as written, read again when it changes, and every bad line told at once."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from greenrun.core.errors import ProviderError, ProviderGarbage
from greenrun.providers.csv_files.values import ValueFile, parse_values

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HEADER = "start,price_per_kwh\n"


def parsed(text: str) -> list[tuple[datetime, float]]:
    steps = parse_values(text.encode(), "prices.csv", "price_per_kwh", -10.0, 10.0)
    return [(row.start, row.value) for row in steps.spans()]


def test_values_hold_from_their_start_on_and_an_empty_one_is_a_hole() -> None:
    text = "2026-11-01T01:00+01:00,0.25\n2026-11-01T01:00Z,\n\n2026-11-01T02:00Z, -0.01\n"
    assert parsed("\ufeff" + HEADER + text) == [(T0, 0.25), (T0 + 2 * HOUR, -0.01)]


def test_every_bad_line_is_told() -> None:
    lines = ["2026-11-01T00:00Z,a", "2026-11-01T01:00,0.1", "2026-11-01T02:00Z,99", "2026-11-01T03:00Z", "x,1"]
    lines += ["2026-11-01T04:00Z,0.1", "2026-11-01T04:00Z,0.1", "2026-11-01T05:00Z,nan"]
    with pytest.raises(ProviderGarbage) as caught:
        parsed(HEADER + "\n".join(lines))
    told = str(caught.value)
    assert [number for number in range(1, 12) if f"line {number}:" in told] == [2, 3, 4, 5, 6, 8, 9]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "first line must be start,price_per_kwh"), (b"start,g_per_kwh\n", "first line must be"),
        (HEADER.encode(), "must follow one another"), (HEADER.encode() + b"\xff\xfe", "line 2 is not UTF-8"),
        (HEADER.encode() + b'"' + b"x" * 200_000, "not CSV"),
        (HEADER.encode() + b"2026-11-01T00:00Z,1\n2026-11-02T00:00Z,1\n", "at most 1:00:00 apart"),
    ],
    ids=["empty", "header", "no lines", "not text", "not CSV", "days"],
)  # fmt: skip
def test_a_file_that_is_no_series_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ProviderGarbage, match=why):
        parse_values(raw, "prices.csv", "price_per_kwh", -10.0, 10.0)


def test_a_change_is_read_and_a_bad_one_is_told_while_the_old_values_stay(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"

    def write(text: str, age: int) -> None:
        path.write_text(HEADER + text, encoding="utf-8")
        os.utime(path, ns=(age, age))

    def value() -> float:
        return file.steps().spans()[0].value

    write("2026-11-01T00:00Z,0.1\n2026-11-01T01:00Z,0.1\n", 1)
    file = ValueFile(path, "price_per_kwh", lowest=-10, highest=10)
    assert value() == 0.1
    write("2026-11-01T00:00Z,0.2\n2026-11-01T01:00Z,0.2\n", 2)
    assert value() == 0.2
    write("2026-11-01T00:00Z,oops\n", 3)
    with capture_logs() as logs:
        assert (value(), value()) == (0.2, 0.2)
    assert len(logs) == 1
    path.unlink()
    assert value() == 0.2


def test_a_file_that_is_not_there_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        ValueFile(tmp_path / "none.csv", "price_per_kwh", lowest=-10, highest=10)
