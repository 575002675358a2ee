"""Crowded queues played through the engine: never more late, nor later, than first come first served."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.simulation.case import Case
from greenrun.simulation.compare import figures
from greenrun.simulation.foresight import ForesightIssue
from greenrun.simulation.play import play
from greenrun.simulation.policies import Arrival, dispatch, start_at_once
from greenrun.simulation.schedule import Schedule
from tests.sampling import sampled

START = datetime(2026, 3, 2, tzinfo=UTC)


def crowded(number: int) -> Case:
    """Two days in which jobs ask for 1.1 to 1.6 times the GPUs there are, and two weeks in which to work them off."""
    rng = np.random.default_rng(number)
    gpus, count, span_s = int(rng.integers(3, 9)), 50, 2 * 86_400.0
    wanted = rng.choice([1, 2, 3], count, p=[0.8, 0.15, 0.05])
    length_s = np.exp(rng.normal(0.0, 1.3, count))
    length_s *= rng.uniform(1.1, 1.6) * gpus * span_s / float(length_s @ wanted)
    rows = zip(np.sort(rng.uniform(0.0, span_s, count)), length_s, wanted, rng.integers(0, 25, count), strict=True)
    jobs = tuple(
        Arrival(
            submitted_s=START.timestamp() + float(at_s), duration_s=float(round(own_s)), gpus=int(need),
            power_w=300.0 * int(need), max_delay_s=3600.0 * int(hours),
        )
        for at_s, own_s, need, hours in rows
    )  # fmt: skip
    values = 300 + 150 * np.sin(np.arange(16 * 24) / 24 * 2 * np.pi) + rng.normal(0.0, 20.0, 16 * 24)
    starts_s = START.timestamp() + 3600.0 * np.arange(len(values))
    grid = Series(
        SeriesId(provider="test", zone="X"), starts_s, starts_s + 3600, values, (Kind.MEASURED,) * len(values)
    )
    foretold = (ForesightIssue(issued_s=None, slots=grid),)
    return Case(start=START, jobs=jobs, gpus=gpus, measured=grid, issues=foretold, reach=timedelta(hours=48))


def lateness_s(schedule: Schedule, jobs: tuple[Arrival, ...]) -> float:
    return sum(max(0.0, own[0][0] - job.latest_start_s) for own, job in zip(schedule.pieces, jobs, strict=True))


@pytest.mark.parametrize("number", sampled(range(40), "crowded queues", user=2, ci=6))
def test_a_crowded_queue_is_played_no_worse_than_first_come_first_served(number: int) -> None:
    case = crowded(number)
    ours = play(case)
    plain = Schedule.whole(dispatch(case.jobs, [start_at_once(job) for job in case.jobs], case.gpus), case.jobs)
    own, other = (figures(each, case.jobs, case.measured).late for each in (ours, plain))
    assert own <= other
    assert lateness_s(ours, case.jobs) <= lateness_s(plain, case.jobs) + 1.0
