"""A forecast drawn large tells true heights, its cleanest four hours and its times, within the width it is given."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.cli.chart import Step
from greenrun.cli.plot import CLEAN, Window, cleanest, plot_lines

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def steps(*values: float | None, step: timedelta = HOUR) -> list[Step]:
    """Steps of these values one after another; None leaves a hole."""
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
    expected = best and Window(T0 + best[1] * HOUR, T0 + best[1] * HOUR + CLEAN, best[0])
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
