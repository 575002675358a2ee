"""A bad trace is refused in sentences that name the file, the line and what to do; a good one is read fast."""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import ProviderError, ProviderGarbage
from greenrun.providers import open_provider
from greenrun.providers.csv_files.trace import parse_trace
from greenrun.providers.settings import FileSettings
from tests.providers.traces import BEGIN, anchored, write

GOOD = ["2020-06-01T00:00Z,10", "2020-06-01T00:30Z,20", "2020-06-01T01:00Z,30", "2020-06-01T01:30Z,40"]

BAD_LINES = {
    "NaN": ("2020-06-01T01:00Z,NaN", "line 4: 'NaN' is not a number"),
    "infinite": ("2020-06-01T01:00Z,inf", "line 4: 'inf' is not a number"),
    "empty": ("2020-06-01T01:00Z,", "line 4: its value is empty"),
    "a word": ("2020-06-01T01:00Z,clean", "line 4: 'clean' is not a number"),
    "underscores": ("2020-06-01T01:00Z,1_0", "line 4: '1_0' is not a number"),
    "negative": ("2020-06-01T01:00Z,-1", "line 4: -1 is not between 0 and 5000"),
    "absurd": ("2020-06-01T01:00Z,93000", "line 4: 93000 is not between 0 and 5000; the unit must be g CO2e per kWh"),
    "naive": ("2020-06-01T01:00,30", "line 4: '2020-06-01T01:00' has no zone"),
    "not an instant": ("yesterday,30", "line 4: 'yesterday' is not an instant"),
    "beyond the calendar": ("9999-12-31T23:59Z,30", "line 4: '9999-12-31T23:59Z' is outside the years 1990 to 2200"),
    "too few columns": ("2020-06-01T01:00Z", "line 4: it has 1 columns instead of 2"),
    "too many columns": ("2020-06-01T01:00Z,30,g", "line 4: it has 3 columns instead of 2"),
    "twice": ("2020-06-01T00:30Z,30", "line 4: the slot at 2020-06-01T00:30:00+00:00 is there twice"),
    "unsorted": ("2020-05-01T00:30Z,30", "line 4: the slot at 2020-05-01T00:30:00+00:00 is before the line above"),
    "overlap": ("2020-06-01T00:45Z,30", "line 4: the slot at 2020-06-01T00:45:00+00:00 begins before the one above"),
}

BAD_FILES = {
    "empty": (b"", "it is empty; its first line must be start,g_per_kwh"),
    "blank": (b"\n\n", "it is empty"),
    "header only": (b"start,g_per_kwh\n", "it has a header but no slots"),
    "no header": (b"2020-06-01T00:00Z,10\n", "line 1: its header is '2020-06-01T00:00Z,10' instead of start,g_per_kwh"),
    "other header": (b"time,value\n", "line 1: its header is 'time,value' instead of"),
    "one slot": (b"start,g_per_kwh\n2020-06-01T00:00Z,10\n", "it has one slot only"),
    "not text": (b"start,g_per_kwh\n\xff\xfe,10\n", "line 2: it is not UTF-8 text"),
    "open quote": (b'start,g_per_kwh\n"2020-06-01T00:00Z,10\n', "it is not CSV"),
}


def parse(*lines: str, keep_holes: bool = False) -> object:
    return parse_trace("\n".join(["start,g_per_kwh", *lines]).encode(), "t.csv", keep_holes=keep_holes)


@pytest.mark.parametrize(("line", "told"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named(line: str, told: str) -> None:
    """The message names the file, the line, and what is wrong with it."""
    with pytest.raises(ProviderGarbage) as caught:
        parse(GOOD[0], GOOD[1], line, GOOD[3])
    assert str(caught.value).startswith("greenrun does not use t.csv")
    assert told in str(caught.value)


@pytest.mark.parametrize(("raw", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_trace_is_refused(raw: bytes, told: str) -> None:
    """What cannot be understood at all is told in one sentence."""
    with pytest.raises(ProviderGarbage) as caught:
        parse_trace(raw, "t.csv", keep_holes=True)
    assert told in str(caught.value)


def test_all_problems_are_told_at_once_but_not_endlessly() -> None:
    """Every bad line is counted, the first twenty are told."""
    starts = [(BEGIN + i * timedelta(hours=1)).isoformat() for i in range(30)]
    with pytest.raises(ProviderGarbage) as caught:
        parse(*(f"{start},dirty" for start in starts))
    told = str(caught.value).splitlines()
    assert told[0] == "greenrun does not use t.csv, which has 30 problems:"
    assert [line.split(":")[0].strip() for line in told[1:-1]] == [f"line {n}" for n in range(2, 22)]
    assert told[-1].strip() == "and 10 more"


def test_a_hole_is_refused_with_its_place_and_length() -> None:
    """The first hole is named, with what to do about it."""
    later = [line.replace("-01T", "-02T") for line in GOOD]
    with pytest.raises(ProviderGarbage) as caught:
        parse(*GOOD, *later)
    assert str(caught.value) == (
        "greenrun does not use t.csv: line 6: before it is a hole of 22:00:00 from 2020-06-01T02:00:00+00:00;"
        ' fill it in, or set holes = "keep" and greenrun plans around it and says so'
    )


def test_a_hole_can_be_kept_but_an_overlap_cannot() -> None:
    """`holes = "keep"` accepts missing slots and nothing else."""
    trace = parse_trace("\n".join(["start,g_per_kwh", *GOOD[:2], GOOD[3]]).encode(), "t.csv", keep_holes=True)
    assert trace.issues[0].values.tolist() == [10, 20, 40]
    with pytest.raises(ProviderGarbage, match="begins before"):
        parse(*GOOD, "2020-06-01T01:45Z,1", keep_holes=True)


def test_a_spreadsheet_s_byte_order_mark_and_line_ends_are_accepted() -> None:
    """Files saved by spreadsheets are read like any other."""
    raw = b"\xef\xbb\xbf" + "\r\n".join(["start,g_per_kwh", *GOOD, ""]).encode()
    assert parse_trace(raw, "t.csv", keep_holes=False).issues[0].values.tolist() == [10, 20, 30, 40]


def test_other_zones_of_time_are_converted() -> None:
    """An instant with an offset is the same instant as in UTC."""
    trace = parse_trace(
        b"start,g_per_kwh\n2020-06-01T02:00+02:00,1\n2020-06-01T01:00+00:00,2\n", "t.csv", keep_holes=False
    )
    assert np.diff(trace.issues[0].starts_us).tolist() == [3_600_000_000]


def test_issues_are_kept_apart_and_must_be_in_order() -> None:
    """Forecasts as issued overlap each other, not themselves."""
    header, night, day = "issued_at,start,g_per_kwh", "2020-06-01T00:00Z", "2020-06-01T12:00Z"
    rows = [f"{issued},{row}" for issued in (night, day) for row in GOOD]
    trace = parse_trace("\n".join([header, *rows]).encode(), "t.csv", keep_holes=False)
    assert [len(issue.values) for issue in trace.issues] == [4, 4]
    with pytest.raises(ProviderGarbage, match="line 6: its issued_at is before the line above"):
        parse_trace("\n".join([header, *rows[4:], *rows[:4]]).encode(), "t.csv", keep_holes=False)


def test_a_file_of_twenty_thousand_rows_is_read_at_once(tmp_path: Path) -> None:
    """A year of half-hours does not hold anything up; the bound is generous, benchmarks measure."""
    path = write(tmp_path / "t.csv", (float(i % 300) for i in range(20_000)))
    began = time.process_time()
    open_provider("trace", FileSettings(path=path), anchored())
    assert time.process_time() - began < 3


_INSTANTS = st.sampled_from(["2020-06-01T00:00Z", "2020-06-01T01:00Z", "2020-06-01T02:00Z", "2020-06-01T03:30+01:00"])
_CELLS = st.one_of(_INSTANTS, st.floats().map(str), st.text(max_size=8))
_LINES = st.lists(st.lists(_CELLS, min_size=1, max_size=3).map(",".join), max_size=6)
_PORTAL = [
    "Datetime (UTC),Carbon intensity gCO₂eq/kWh (LCA)",
    "Datetime (UTC),Zone id,Carbon intensity gCO2eq/kWh (LCA)",
]
_HEADERS = st.sampled_from(["start,g_per_kwh", "issued_at,start,g_per_kwh", *_PORTAL])
_NEARLY = st.builds(lambda header, lines: "\n".join([header, *lines]).encode("utf-8", "replace"), _HEADERS, _LINES)


@given(raw=st.one_of(st.binary(max_size=200), _NEARLY), keep_holes=st.booleans())
def test_whatever_a_file_holds_it_is_a_valid_series_or_a_provider_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, keep_holes: bool
) -> None:
    """No bytes lead to anything but a valid series or a sentence."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(raw)
    settings = FileSettings(path=path, holes="keep" if keep_holes else "refuse")
    with suppress(ProviderError):
        series = open_provider("any", settings, anchored()).forecast("GB", BEGIN).series
        assert len(series) > 0
        assert keep_holes or series.holes() == []
        assert np.isfinite(series.values).all()


def test_a_file_that_changes_from_hours_to_quarters_and_back_has_no_hole() -> None:
    """Each value holds until the next one begins, whichever step is usual."""
    hours = [f"2026-10-25T{hour:02}:00Z,{hour}" for hour in range(6)]
    quarters = [f"2026-10-25T{6 + index // 4:02}:{index % 4 * 15:02}Z,1" for index in range(16)]
    more = [f"2026-10-25T{hour:02}:00Z,{hour}" for hour in range(10, 14)]
    raw = "\n".join(["start,g_per_kwh", *hours, *quarters, *more]).encode()
    (issue,) = parse_trace(raw, "t.csv", keep_holes=False).issues
    lengths_us = (issue.ends_us - issue.starts_us).tolist()
    assert lengths_us == [3_600_000_000] * 6 + [900_000_000] * 16 + [3_600_000_000] * 4


def test_an_empty_value_is_a_hole_where_holes_are_kept() -> None:
    """It is just what a missing line is, also at the beginning and at the end."""
    lines = [f"{(BEGIN + number * timedelta(minutes=30)).isoformat()},{number}" for number in range(12)]
    gone = {0, 5, 11}
    emptied = [line.partition(",")[0] + ", " if number in gone else line for number, line in enumerate(lines)]
    empty = parse(*emptied, keep_holes=True)
    missing = parse(*(line for number, line in enumerate(lines) if number not in gone), keep_holes=True)
    for one, other in zip(empty.issues, missing.issues, strict=True):  # type: ignore[attr-defined]
        assert one.starts_us.tolist() == other.starts_us.tolist()
        assert one.ends_us.tolist() == other.ends_us.tolist()
        assert one.values.tolist() == other.values.tolist()


def test_a_file_of_empty_values_is_refused() -> None:
    with pytest.raises(ProviderGarbage, match="all of its values are empty"):
        parse("2020-06-01T00:00Z,", "2020-06-01T00:30Z,", keep_holes=True)
