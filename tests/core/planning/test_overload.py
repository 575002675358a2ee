"""Where limits cannot all be met, a plan misses the fewest, then by the least, and is no worse than a plain queue."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job
from greenrun.core.planning.model import Plan, Situation
from greenrun.core.planning.planner import plan, start_at_once
from tests.core.build import SLOT, T0, grid, job
from tests.sampling import examples

HOUR = timedelta(hours=1)
DEVICES = ("gpu0", "gpu1", "gpu2")

asked = st.tuples(
    st.integers(1, 8),  # half hours
    st.integers(1, 3),  # GPUs
    st.integers(0, 12),  # half hours for which it may be put off
    st.integers(0, 20),  # half hours since it was submitted
    st.booleans(),  # whether it has a finish-by
)


def crowded(rows: list[tuple[int, int, int, int, bool]]) -> list[Job]:
    jobs = []
    for number, (slots, gpus, delay, age, is_promised) in enumerate(sorted(rows, key=lambda row: -row[3]), start=1):
        submitted = T0 - age * SLOT
        latest = submitted + delay * SLOT
        limit = {"finish_by": latest + slots * SLOT} if is_promised else {"max_delay": delay * SLOT}
        jobs.append(job(number, slots=slots, gpus=gpus, submitted=submitted, power_w=1000.0 * gpus, **limit))
    return jobs


def situation(jobs: list[Job], values: list[int]) -> Situation:
    return Situation(now=T0, jobs=tuple(jobs), devices=DEVICES, forecast=grid([float(value) for value in values]))


def missed(jobs: list[Job], starts: dict[int, datetime]) -> tuple[int, int, float]:
    """Finish-bys missed that could still be met at first, other such limits, and hours of lateness."""
    savable = [row for row in jobs if row.misses_limit(T0, T0 + row.spec.duration) is False]
    late = [row for row in savable if row.misses_limit(starts[row.id], starts[row.id] + row.spec.duration)]
    promised = sum(row.spec.finish_by is not None for row in late)
    by = (max(timedelta(0), starts[row.id] - max(T0, row.latest_start(HOUR))) / HOUR for row in jobs)
    return promised, len(late) - promised, round(sum(by), 3)


def starts_of(made: Plan) -> dict[int, datetime]:
    return {row.job_id: row.start for row in made.placements}


@examples(60)
@given(st.lists(asked, min_size=6, max_size=30), st.lists(st.integers(50, 600), min_size=96, max_size=96))
def test_no_plan_is_worse_than_first_come_first_served(
    rows: list[tuple[int, int, int, int, bool]], values: list[int]
) -> None:
    jobs = crowded(rows)
    world = situation(jobs, values)
    made, in_order = plan(world), start_at_once(jobs, world)
    ours, theirs = missed(jobs, starts_of(made)), missed(jobs, in_order)
    assert ours <= theirs
    if ours == theirs and made.expected_g is not None and made.start_at_once_g is not None:
        assert made.expected_g <= made.start_at_once_g * (1 + 1e-9)


def test_one_long_job_gives_way_where_many_short_ones_would_be_late() -> None:
    """First come first served is late with all six, by their limits with the last of them, and so is cleaner."""
    long = job(1, slots=12, gpus=3, max_delay=SLOT)
    short = [job(number, slots=1, gpus=3, max_delay=(number - 2) * SLOT) for number in range(2, 8)]
    made = plan(situation([long, *short], [300] * 60))
    late = [row.job_id for row in made.placements if row.late]
    assert late == [1]
    assert starts_of(made)[1] == T0 + 6 * SLOT


def test_what_is_late_already_goes_by_size_and_before_what_can_wait() -> None:
    """Two whose limits have passed, and one that has nine hours: it meets its limit, and they run first."""
    lost = [job(1, slots=8, gpus=3, max_delay=SLOT, submitted=T0 - 4 * HOUR)]
    lost += [job(2, slots=2, gpus=3, max_delay=SLOT, submitted=T0 - 3 * HOUR)]
    made = starts_of(plan(situation([*lost, job(3, slots=2, gpus=3, max_delay=9 * HOUR)], [100] + [500] * 90)))
    assert made == {2: T0, 1: T0 + 2 * SLOT, 3: T0 + 10 * SLOT}


def test_a_job_whose_limit_is_lost_does_not_cost_another_its_own() -> None:
    lost = job(1, slots=8, gpus=3, max_delay=SLOT, submitted=T0 - 4 * HOUR)
    made = plan(situation([lost, job(2, slots=2, gpus=3, max_delay=timedelta(0))], [300] * 90))
    assert starts_of(made) == {2: T0, 1: T0 + 2 * SLOT}


def test_a_finish_by_outweighs_any_number_of_other_limits() -> None:
    promised = job(1, slots=4, gpus=3, finish_by=T0 + 4 * SLOT)
    made = plan(situation([promised, *(job(number, gpus=3, max_delay=SLOT) for number in range(2, 9))], [300] * 60))
    assert starts_of(made)[1] == T0
