"""Few jobs get the plan that the rules for many would miss."""

from dataclasses import replace

import pytest

from greenrun.core.planning.model import Options
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, job
from tests.core.situations import situation


def test_two_jobs_share_a_dip_that_either_would_take_for_itself() -> None:
    """Each alone would run around the middle of the dip; together they are cleanest from its edge on."""
    jobs = [job(1, slots=2), job(2, slots=2)]
    made = plan(situation(jobs, [500, 500, 200, 100, 100, 200, 500, 500]))
    assert made.expected_g == pytest.approx(0.5 * (200 + 100 + 100 + 200))
    assert [(row.start - T0) / SLOT for row in made.placements] == [2, 4]


def test_limits_that_only_one_order_meets_are_met() -> None:
    """Three jobs on one GPU, back to back, in the one order that their limits allow."""
    jobs = [
        job(1, slots=1, max_delay=4 * SLOT),
        job(2, slots=2, max_delay=2 * SLOT),
        job(3, slots=2, max_delay=0 * SLOT),
    ]
    made = plan(situation(jobs, [500, 400, 300, 200, 100, 50, 50, 50]))
    assert [(row.job_id, row.late) for row in made.placements] == [(3, False), (2, False), (1, False)]


def test_without_rearrangements_no_order_is_tried() -> None:
    jobs = [job(1, slots=2), job(2, slots=2)]
    asked = situation(jobs, [500, 500, 200, 100, 100, 200, 500, 500])
    quick = replace(asked, options=Options(rearrangements=0, iterations=0))
    assert plan(quick).expected_g >= plan(asked).expected_g  # type: ignore[operator]
