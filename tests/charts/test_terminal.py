"""Charts of characters tell true heights, the cleanest hours and their times, within the width they are given."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.charts import terminal
from greenrun.charts.terminal import CLEAN, CleanWindow, Step, cleanest, plot_lines

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def steps(*values: float | None, step: timedelta = HOUR) -> list[Step]:
    """StepCurve of these values one after another; None leaves a hole."""
    return [
        Step(T0 + index * step, T0 + (index + 1) * step, value)
        for index, value in enumerate(values)
        if value is not None
    ]


def test_it_looks_as_it_should() -> None:
    found = plot_lines(steps(*(300.0,) * 4, *(100.0,) * 4, None, None, *(200.0,) * 2), [False] * 10, 29, UTC)
    assert found == [
        "300 ┤████████",
        "    │████████",
        "    │████████",
        "    │████████",
        "200 ┤████████            ████",
        "    │████████            ████",
        "    │████████            ████",
        "    │████████            ████",
        "100 ┤████████████████    ████",
        "    │████████████████    ████",
        "    │████████████████    ████",
        "    │████████████████    ████",
        "    └────────▲▲▲▲▲▲▲▲────────",
        "     12:00       18:00",
    ]


def test_what_nobody_forecasts_is_drawn_lighter_and_said() -> None:
    found = plot_lines(steps(*(300.0,) * 8), [False] * 4 + [True] * 4, 40, UTC)
    assert found[5].endswith("█" + 18 * "░")
    assert found[-1] == "░ estimated, for nobody forecasts it"


@given(
    values=st.lists(st.floats(0, 2000), min_size=1, max_size=60),
    width=st.integers(30, 120),
    minutes=st.sampled_from([1 / 60, 5, 15, 60, 240]),
)
def test_it_never_is_wider_than_the_terminal_nor_higher_than_fifteen_lines(
    values: list[float], width: int, minutes: float
) -> None:
    found = plot_lines(steps(*values, step=timedelta(minutes=minutes)), [False] * len(values), width, UTC)
    assert max(map(len, found)) <= width
    assert len(found) == 14
    assert len({line.index(sign) for line in found[:12] for sign in line if sign in "┤│"}) == 1
    top = float(found[0].split()[0])
    assert max(values) <= top


@given(values=st.lists(st.one_of(st.none(), st.integers(1, 900)), min_size=1, max_size=40))
def test_the_cleanest_window_is_the_best_of_all_that_are_known(values: list[int | None]) -> None:
    known = [(sum(values[at : at + 4]) / 4, at) for at in range(len(values) - 3) if None not in values[at : at + 4]]
    best = min(known) if known and len({*values} - {None}) > 1 else None
    expected = best and CleanWindow(T0 + best[1] * HOUR, T0 + best[1] * HOUR + CLEAN, best[0])
    assert cleanest(steps(*values)) == expected


def test_a_yearly_mean_has_no_cleanest_window() -> None:
    assert cleanest(steps(*[344.0] * 24)) is None


def test_a_window_may_end_at_an_edge_where_steps_are_longer_than_it() -> None:
    """Of a step function the best window begins or ends at an edge."""
    found = cleanest(steps(200.0, 100.0, 300.0, step=6 * HOUR))
    assert found == (T0 + 6 * HOUR, T0 + 10 * HOUR, 100.0)


@pytest.mark.parametrize("count", [0, 3])
def test_too_little_is_drawn_without_a_window(count: int) -> None:
    found = steps(*(100.0,) * count)
    assert cleanest(found) is None
    assert "▲" not in "".join(plot_lines(found, [False] * count, 80, UTC))


def test_a_forecast_marks_its_cleanest_hour() -> None:
    assert terminal.forecast_lines(steps(100, 50, 25, 0), 8, UTC) == [
        "Mon 12:00    100  ████████",
        "Mon 13:00     50  ████",
        "Mon 14:00     25  ██",
        "Mon 15:00      0    ◀ cleanest",
    ]


def test_no_hour_is_marked_where_all_are_alike() -> None:
    assert not any("cleanest" in line for line in terminal.forecast_lines(steps(344.0, 344.0, 344.0), 20))


def test_short_steps_show_seconds_and_parts_of_a_column() -> None:
    assert terminal.forecast_lines(steps(8, 5, step=timedelta(seconds=1)), 1, UTC) == [
        "Mon 12:00:00      8  █",
        "Mon 12:00:01      5  ▋  ◀ cleanest",
    ]


def test_many_slots_are_merged_to_weighted_means() -> None:
    merged = terminal.merged(steps(*range(96), step=HOUR / 2))
    assert (len(merged), merged[0], merged[-1].g_per_kwh) == (48, terminal.Step(T0, T0 + HOUR, 0.5), 94.5)


def test_a_strip_is_blank_where_nothing_is_known() -> None:
    assert terminal.strip(steps(0, 70, 100), T0 - HOUR, T0 + 4 * HOUR, 10) == "  ▁▁▆▆██  "
    assert terminal.strip([], T0, T0 + HOUR, 3) == "   "


def test_bars_lie_on_their_hours_and_never_vanish() -> None:
    bars = [
        terminal.GanttBar("1", T0, T0 + 2 * HOUR),
        terminal.GanttBar("2", T0 + 3 * HOUR, T0 + 3 * HOUR + HOUR / 100),
    ]
    assert terminal.gantt_lines(bars, T0, T0 + 4 * HOUR, 8) == ["1  ████", "2        █"]
