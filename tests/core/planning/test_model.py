"""Two plans are compared by what they decide, and how many places moved between them."""

from datetime import timedelta

import pytest

from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Placement, Plan
from tests.core.build import SLOT, T0

SOONEST = because(ReasonCode.SOONEST)


def place(job_id: int, after: timedelta, length: timedelta = SLOT) -> Placement:
    return Placement(job_id=job_id, start=T0 + after, end=T0 + after + length, gpus=1, reason=SOONEST)


@pytest.mark.parametrize(
    ("after", "length", "moves"),
    [
        (timedelta(0), SLOT, 0),
        (timedelta(minutes=1), SLOT, 0),
        (timedelta(minutes=2), SLOT, 1),
        (timedelta(0), SLOT + timedelta(minutes=2), 1),
    ],
)
def test_a_place_moves_when_its_start_or_end_does_by_more_than_a_minute(
    after: timedelta, length: timedelta, moves: int
) -> None:
    before, later = (Plan(made_at=T0, placements=(row,)) for row in (place(1, timedelta(0)), place(1, after, length)))
    assert later.moves_from(before, {1}) == moves
    assert before.moves_from(later, {1}) == moves


def test_jobs_that_are_new_or_not_asked_for_have_not_moved() -> None:
    before = Plan(made_at=T0, placements=(place(1, timedelta(0)),))
    later = Plan(made_at=T0, placements=(place(1, SLOT), place(2, SLOT)))
    assert later.moves_from(before, {2}) == 0
