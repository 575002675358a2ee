"""Runs placed by pricing their work do just the work, under all rules, and cost next to nothing more than the best."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.preemption.placing import FreeTime, Run, Terms
from greenrun.core.planning.preemption.table import Shape, cheapest_cells
from tests.sampling import examples

STEP_S = 300.0
Case = tuple[list[float | None], Terms]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """What each step of time costs, None where it is taken, and a job."""
    lengths = st.sampled_from([1, 1, 6])
    drawn = draw(st.lists(st.tuples(st.integers(2, 11), lengths), min_size=1, max_size=12))
    costs: list[float | None] = [50.0 * value for value, length in drawn for _ in range(length)]
    for at in draw(st.lists(st.integers(0, len(costs) - 1), max_size=4)):
        costs[at] = None
    work = draw(st.integers(1, max(1, len(costs) // 2)))
    min_run = draw(st.integers(0, min(8, work)))
    is_running = draw(st.booleans())
    forced = draw(st.integers(0, min_run)) if is_running and costs[0] is not None else 0
    return costs, Terms(
        length_s=work * STEP_S,
        min_run_s=min_run * STEP_S,
        restart_s=draw(st.integers(0, 2)) * STEP_S,
        is_running=is_running,
        forced_s=min(forced, work) * STEP_S,
        begins_s=0.0,
    )


def free_time(costs: list[float | None]) -> FreeTime:
    known = [(at * STEP_S, cost / STEP_S) for at, cost in enumerate(costs) if cost is not None]
    return FreeTime([at for at, _ in known], [at + STEP_S for at, _ in known], [rate for _, rate in known])


def best_g(costs: list[float | None], terms: Terms) -> float | None:
    """The least cost of all sets of whole steps."""
    goes_on = terms.is_running and costs[0] is not None
    found = cheapest_cells(
        np.array([np.inf if cost is None else cost for cost in costs]),
        Shape(
            work=round(terms.length_s / STEP_S),
            min_run=max(1, round(terms.min_run_s / STEP_S)),
            restart=round(terms.restart_s / STEP_S),
            running=goes_on,
            begun=terms.is_running and not goes_on,
            forced=round(terms.forced_s / STEP_S),
        ),
    )
    return None if found is None else found[0]


def check(runs: list[Run], costs: list[float | None], terms: Terms) -> None:
    """Fail unless the job can be run so."""
    goes_on = terms.is_running and runs[0][0] == 0.0
    restarts = len(runs) - 1 + (terms.is_running and not goes_on)
    assert sum(end - begin for begin, end in runs) == pytest.approx(terms.length_s + restarts * terms.restart_s)
    assert all(after[0] > before[1] for before, after in pairwise(runs))
    for nth, (begin, end) in enumerate(runs):
        assert all(cost is not None for cost in costs[int(begin // STEP_S) : int(-(-end // STEP_S))])
        restart_s = terms.restart_s if nth or (terms.is_running and not goes_on) else 0.0
        if nth == 0 and goes_on:
            assert end - begin >= terms.forced_s - 1e-6
        elif nth < len(runs) - 1:
            assert end - begin >= terms.min_run_s + restart_s - 1e-6
        assert end - begin > restart_s


@examples(300)
@given(cases())
def test_a_job_is_placed_where_it_may_run_and_all_of_it(case: Case) -> None:
    costs, terms = case
    found = free_time(costs).cheapest(terms)
    if found is None:
        return
    check(found[1], costs, terms)
    paid = sum(
        cost / STEP_S * max(0.0, min(end, (at + 1) * STEP_S) - max(begin, at * STEP_S))
        for begin, end in found[1]
        for at, cost in enumerate(costs)
        if cost is not None
    )
    assert found[0] == pytest.approx(paid)


@examples(150)
@given(cases())
def test_free_suspension_takes_the_cheapest_time(case: Case) -> None:
    costs, terms = case
    terms = terms._replace(restart_s=0.0, min_run_s=0.0, forced_s=0.0)
    found, known = free_time(costs).cheapest(terms), sorted(cost for cost in costs if cost is not None)
    work = round(terms.length_s / STEP_S)
    assert (found is None) == (len(known) < work)
    if found is not None:
        assert found[0] == pytest.approx(sum(known[:work]))


def test_nearly_all_jobs_are_placed_where_no_set_of_steps_is_cheaper() -> None:
    """Against the table that tries all sets of steps: seldom found dearer, and by little on the mean."""
    dice, above, missed = random.Random(7), [], 0
    for _ in range(300):
        costs: list[float | None] = []
        while len(costs) < 40:
            costs += [50.0 * dice.randint(2, 11)] * dice.choice([1, 6, 6])
        for at in dice.sample(range(len(costs)), 3):
            costs[at] = None
        work = dice.randint(1, 20)
        min_run = dice.randint(0, min(8, work))
        terms = Terms(work * STEP_S, min_run * STEP_S, dice.randint(0, 2) * STEP_S, False, 0.0, 0.0)
        best, found = best_g(costs, terms), free_time(costs).cheapest(terms)
        if best is None:
            continue
        missed += found is None
        if found is not None:
            above.append(found[0] / best - 1)
    assert missed == 0
    assert sum(ratio < 1e-6 for ratio in above) >= 0.9 * len(above)
    assert sum(above) / len(above) <= 0.005


@pytest.mark.parametrize(
    ("drawn", "terms", "expected"),
    [
        pytest.param("31313", Terms(600, 0, 0, False, 0, 0), [(300, 600), (900, 1200)], id="31313: both ones"),
        pytest.param("22222", Terms(600, 300, 300, False, 0, 0), [(0, 600)], id="flat: at once"),
        pytest.param("91119119", Terms(900, 300, 150, False, 0, 0), [(300, 1200)], id="a restart is not worth it"),
        pytest.param("19911", Terms(600, 600, 300, True, 600, 0), [(0, 600)], id="it must go on for two"),
        pytest.param(
            "1.911", Terms(600, 300, 0, True, 0, 0), [(0, 300), (900, 1200)], id="its GPU is taken: suspended"
        ),
        pytest.param("1.9.1", Terms(900, 600, 0, False, 0, 0), None, id="no run is long enough"),
    ],
)
def test_examples(drawn: str, terms: Terms, expected: list[Run] | None) -> None:
    found = free_time([None if cell == "." else float(cell) for cell in drawn]).cheapest(terms)
    assert (found and found[1]) == expected
