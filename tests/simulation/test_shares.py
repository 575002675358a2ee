"""Users of equal shares and equal demand, under virtual time: two days of it, and a week in the long tests."""

from collections import defaultdict
from collections.abc import Sequence
from math import fsum, sin, tau

import pytest

from greenrun.core.planning.precedence.fair_share import AccountOf, Shares
from greenrun.simulation.play import play
from tests.sampling import EFFORT, Effort, dice
from tests.simulation.build import HOUR, START_S, case, job

DAYS, GPUS, LENGTHS, SIZES = (7, 4, (2, 4, 8), (1, 2)) if EFFORT is Effort.LONG else (2, 2, (4,), (1,))
DEMAND = 1.3  # of what there is
HALF_A_JOB_H = 0.0 if EFFORT is Effort.LONG else 2.0  # two days cannot be shared any finer


@pytest.mark.parametrize("users", [("ann", "ben"), *([("ann", "ben", "cid")] if EFFORT is Effort.LONG else [])])
def test_users_of_equal_shares_and_equal_demand_get_equal_gpu_hours(users: Sequence[str]) -> None:
    """All want more than there is, and ben brings his all at once."""
    random = dice("days of shares")
    jobs = []
    for user in users:
        wanted_h = DEMAND * DAYS * 24 * GPUS / len(users)
        while wanted_h > 0:
            length, size = random.choice(LENGTHS), random.choice(SIZES)
            at = 0.0 if user == "ben" else float(random.randrange(6))
            jobs.append(job(at, length, gpus=size, wait=24 * (DAYS + 1), user=user, power_w=300.0 * size))
            wanted_h -= length * size
    shares = Shares(by=AccountOf.USER, weights=dict.fromkeys(users, 1.0))
    values = [300 - 60 * sin(tau * hour / 24) for hour in range(24 * (3 * DAYS + 3))]
    schedule = play(case(jobs, values, GPUS, shares=shares))
    end_s = START_S + DAYS * 24 * HOUR
    got: defaultdict[str, float] = defaultdict(float)
    for pieces, each in zip(schedule.pieces, jobs, strict=True):
        got[each.user] += sum(max(0.0, min(end, end_s) - start) * each.gpus for start, end in pieces) / HOUR
    mean = fsum(got.values()) / len(users)
    assert max(abs(own - mean) for own in got.values()) <= max(0.05 * mean, HALF_A_JOB_H), dict(got)
