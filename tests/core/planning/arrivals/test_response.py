"""Expected arrivals answer prices with a true value and gradient, and their room is held softly."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenrun.core.planning.arrivals.response import AHEAD_S, ExpectedArrivals
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.model import JobClass, Situation
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, grid, job

NOW_S = T0.timestamp()
CLASS = JobClass(length_s=5400.0, wait_s=6 * 3600.0, gpus_per_s=1 / 1800, watts_per_gpu=300.0)

classes = st.builds(
    JobClass,
    length_s=st.floats(600, 2e5),
    wait_s=st.floats(0, 1e5),
    gpus_per_s=st.floats(1e-6, 1e-2),
    watts_per_gpu=st.floats(50, 900),
)


def expected(
    arrivals: tuple[JobClass, ...], values: list[float], *, pools: int = 1, offset_s: float = 0.0
) -> ExpectedArrivals:
    outlook = grid(values)
    knots_s = np.concatenate([[NOW_S + offset_s], np.unique(outlook.ends_s)])
    return ExpectedArrivals.of(arrivals, NOW_S + offset_s, range(pools), knots_s, outlook)


@settings(max_examples=40, deadline=None)
@given(st.lists(classes, min_size=1, max_size=3), st.integers(1, 3), st.floats(0, 1700), st.integers(0, 2**32 - 1))
def test_usage_is_how_the_value_rises_with_the_prices(
    arrivals: list[JobClass], pools: int, offset_s: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    own = expected(tuple(arrivals), rng.uniform(20, 500, 200).tolist(), pools=pools, offset_s=offset_s)
    prices = rng.uniform(0, 2e-3, (pools, len(own.knots_s) - 1))
    direction = rng.uniform(-1, 1, prices.shape) * 1e-8
    before, after = own.respond(prices - direction)[0], own.respond(prices + direction)[0]
    used = own.respond(prices)[1]
    assert used.min() >= -1e-9
    slope = float((used * np.diff(own.knots_s) * 2 * direction).sum())
    assert after - before == pytest.approx(slope, rel=1e-3, abs=1e-7 * abs(after))


@settings(max_examples=40, deadline=None)
@given(classes, st.floats(0, 1700))
def test_all_that_arrives_is_used_for_as_long_as_it_runs(one: JobClass, offset_s: float) -> None:
    own = expected((one,), [100.0] * 1000, offset_s=offset_s)
    used = own.respond(np.zeros((1, len(own.knots_s) - 1)))[1]
    arrived = one.gpus_per_s * (AHEAD_S - offset_s % 3600)
    assert float((used * np.diff(own.knots_s)).sum()) == pytest.approx(arrived * one.length_s, rel=1e-6)


def test_arrivals_wait_for_cleaner_hours_the_more_the_cleaner_they_are() -> None:
    clean = expected((CLASS,), [300.0] * 8 + [100.0] * 4 + [300.0] * 80)
    used = clean.respond(np.zeros((1, len(clean.knots_s) - 1)))[1][0]
    assert used[8:12].min() > 3 * used[:7].max()
    dear = np.zeros((1, len(clean.knots_s) - 1))
    dear[0, 8:12] = 1.0
    assert clean.respond(dear)[1][0][8:12].max() < 1e-3


def test_what_is_beyond_the_outlook_asks_for_nothing() -> None:
    own = expected((replace(CLASS, length_s=1e6),), [100.0] * 48)
    value, used = own.respond(np.zeros((1, len(own.knots_s) - 1)))
    assert (value, used.max()) == (0.0, 0.0)


instants = st.integers(0, 320).map(lambda nth: nth / 64)  # a timeline takes those within a microsecond for the same


@given(
    st.lists(st.integers(0, 4), min_size=6, max_size=6),
    st.lists(st.tuples(instants, instants.filter(bool), st.integers(1, 4)), max_size=6),
)
def test_letting_go_gives_back_what_was_held_and_nothing_else(
    held: list[int], taken: list[tuple[float, float, int]]
) -> None:
    alone = Timeline(8)
    holding = alone.holding(np.arange(7.0), np.array(held))
    for begin, length, units in taken:
        alone.reserve(begin, begin + length, units)
        holding.reserve(begin, begin + length, units)
    free = holding.copy().letting_go()
    knots = np.linspace(0, 9, 91)
    assert free.means(knots) == pytest.approx(alone.means(knots))
    each = np.repeat(held, 10)
    assert (holding.means(knots) - alone.means(knots))[:60] == pytest.approx(each, abs=1e-6)


def crowded(*, max_delay: timedelta) -> Situation:
    jobs = tuple(job(nth + 1, slots=2, max_delay=max_delay) for nth in range(4))
    steady = JobClass(length_s=3600.0, wait_s=4 * 3600.0, gpus_per_s=4 / 3600, watts_per_gpu=300.0)
    return Situation(
        now=T0,
        jobs=jobs,
        devices=tuple(f"gpu{nth}" for nth in range(4)),
        forecast=grid([200.0] * 4 + [100.0] * 2 + [400.0] * 200),
        arrivals=(steady,),
    )


def test_room_is_left_for_those_to_come_but_no_limit_is_missed_for_them() -> None:
    tight = plan(crowded(max_delay=4 * SLOT))
    assert not any(place.late for place in tight.placements)
    alone = plan(replace(crowded(max_delay=12 * SLOT), arrivals=()))
    beside = plan(crowded(max_delay=12 * SLOT))
    in_clean = [sum(row.start == T0 + 4 * SLOT for row in made.placements) for made in (alone, beside)]
    assert in_clean[0] == 4 > in_clean[1]


def test_a_job_that_fits_only_where_room_is_held_starts_there() -> None:
    full = replace(
        crowded(max_delay=timedelta(0)), jobs=tuple(job(n, slots=2, max_delay=timedelta(0)) for n in (1, 2, 3, 4))
    )
    assert {row.start for row in plan(full).placements} == {T0}
