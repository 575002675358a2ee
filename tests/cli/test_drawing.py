"""Charts and tables are drawn with characters that one can read."""

from datetime import UTC, datetime, timedelta

from greenrun.cli import chart
from greenrun.cli.tables import plain_lines

START = datetime(2026, 6, 3, 12, 0, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)


def steps(*values: float, step: timedelta = HOUR) -> list[chart.Step]:
    return [chart.Step(START + index * step, START + (index + 1) * step, value) for index, value in enumerate(values)]


def test_a_forecast_marks_its_cleanest_hour() -> None:
    assert chart.forecast_lines(steps(100, 50, 25, 0), 8, UTC) == [
        "Wed 12:00    100  ████████",
        "Wed 13:00     50  ████",
        "Wed 14:00     25  ██",
        "Wed 15:00      0    ◀ cleanest",
    ]


def test_no_hour_is_marked_where_all_are_alike() -> None:
    assert not any("cleanest" in line for line in chart.forecast_lines(steps(344.0, 344.0, 344.0), 20))


def test_short_steps_show_seconds_and_parts_of_a_column() -> None:
    assert chart.forecast_lines(steps(8, 5, step=timedelta(seconds=1)), 1, UTC) == [
        "Wed 12:00:00      8  █",
        "Wed 12:00:01      5  ▋  ◀ cleanest",
    ]


def test_many_slots_are_merged_to_weighted_means() -> None:
    merged = chart.merged(steps(*range(96), step=HOUR / 2))
    assert (len(merged), merged[0], merged[-1].g_per_kwh) == (48, chart.Step(START, START + HOUR, 0.5), 94.5)


def test_a_strip_is_blank_where_nothing_is_known() -> None:
    assert chart.strip(steps(0, 70, 100), START - HOUR, START + 4 * HOUR, 10) == "  ▁▁▆▆██  "
    assert chart.strip([], START, START + HOUR, 3) == "   "


def test_bars_lie_on_their_hours_and_never_vanish() -> None:
    bars = [chart.Bar("1", START, START + 2 * HOUR), chart.Bar("2", START + 3 * HOUR, START + 3 * HOUR + HOUR / 100)]
    assert chart.gantt_lines(bars, START, START + 4 * HOUR, 8) == ["1  ████", "2        █"]


def test_a_plain_table_is_aligned() -> None:
    assert plain_lines(("id", "name"), [["1", "a"], ["12", "bcd"]], right=("id",)) == ["ID  NAME", " 1  a", "12  bcd"]
