"""What people are shown of the caps, what counts towards them, and jobs that they leave no place."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import admit
from greenrun.core.planning.planner import plan
from greenrun.core.planning.power_cap.planned_power import planned_power
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.site_limits.reserved import Reserved
from tests.core.build import SLOT, T0, job
from tests.core.situations import situation

FLAT = [100.0] * 96
HOUR = timedelta(hours=1)


def lower(low: float, high: float | None, *days: int) -> Weekly:
    """A lower cap from 01:00 to 02:00 UTC, on Mondays unless other days are named."""
    return Weekly.of([Rule(days=frozenset(days or (0,)), start_min=60, end_min=120, value=low)], high)


def test_each_cap_is_told_with_the_most_that_is_planned_under_it() -> None:
    jobs = [job(1, slots=6, start_now=True, power_w=400.0), job(2, slots=2, start_now=True, power_w=500.0)]
    idle = {"gpu0": 50.0, "gpu1": 50.0}
    site = SitePower(cap=lower(700.0, 2000.0), host_w=100.0, idle_w=idle)
    asked = replace(situation(jobs, FLAT, 2), power=site)
    told = [(row.start, row.end, row.cap_w, row.planned_w) for row in planned_power(plan(asked), asked)]
    assert told == [
        (T0, T0 + HOUR, 2000.0, 1000.0),
        (T0 + HOUR, T0 + 2 * HOUR, 700.0, 550.0),
        (T0 + 2 * HOUR, T0 + 3 * HOUR, 2000.0, 550.0),
    ]
    assert planned_power(plan(replace(asked, power=None)), replace(asked, power=None)) == ()


def test_unknown_watts_are_the_limit_of_the_gpus_and_never_nothing() -> None:
    site = SitePower(cap=Weekly.of([], 1e6), limit_w={"gpu0": 300.0, "gpu1": 700.0})
    unknown = job(1, gpus=2, power_w=None)
    assert site.watts_of(unknown, ("gpu0", "gpu1")) == 1400.0
    assert site.watts_of(unknown, ("gpu9",)) == 2000.0
    assert site.watts_of(replace(unknown, spec=replace(unknown.spec, power_w=90.0)), ("gpu0",)) == 90.0


@pytest.mark.parametrize("interruptible", [False, True])
def test_a_job_that_no_hour_has_power_for_is_refused_with_the_reason(interruptible: bool) -> None:
    asked = replace(situation([], FLAT, 2), power=SitePower(cap=lower(200.0, 900.0)))
    with pytest.raises(InvalidJob, match=r"draw 1 kW with 1 GPU, and the site.s power cap leaves at most 900 W"):
        admit(asked, [job(1, interruptible=interruptible)])
    made = plan(replace(asked, jobs=(job(1, interruptible=interruptible),)))
    assert [row.reason.code for row in made.waiting] == [ReasonCode.TOO_MUCH_POWER]


def test_a_job_that_is_too_long_for_every_gap_between_caps_is_refused_unless_it_may_be_suspended() -> None:
    every_day = SitePower(cap=lower(200.0, 2000.0, *range(7)))
    asked = replace(situation([], FLAT, 1), power=every_day)
    with pytest.raises(InvalidJob, match="site's power cap"):
        admit(asked, [job(1, slots=50)])
    made = admit(asked, [job(1, slots=50, interruptible=True, restart_cost=SLOT / 6, max_delay=24 * HOUR)])
    (place,) = made.placements
    assert not any(begin < T0 + 2 * HOUR and end > T0 + HOUR for begin, end in place.intervals)


@pytest.mark.parametrize("limit", [{"finish_by": T0 + 3 * HOUR}, {"max_delay": HOUR}])
def test_a_limit_that_the_cap_cannot_keep_is_refused_with_the_reason(limit: dict[str, datetime | timedelta]) -> None:
    asked = replace(situation([], FLAT, 1), power=SitePower(cap=lower(200.0, 2000.0)))
    with pytest.raises(InvalidJob, match="power cap does not leave it for long enough"):
        admit(asked, [job(1, slots=4, **limit)])
    assert admit(asked, [job(1, slots=2, **limit)]).placements[0].start == T0


def test_the_hours_follow_the_clock_on_the_wall() -> None:
    """On 2026-03-29 clocks in Berlin are set on by an hour: 01:00 there is 00:00Z before, and 02:00 is 03:00."""
    rule = Rule(days=frozenset({5, 6}), start_min=60, end_min=180, value=500.0)
    site = SitePower(cap=Weekly.of([rule], None, ZoneInfo("Europe/Berlin")))
    start = datetime(2026, 3, 28, tzinfo=UTC)
    told = [(begin, end) for begin, end, _ in site.caps(start, start + timedelta(days=2))]
    hours = [(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)) for begin, end in told]
    assert sum(((end - begin) for begin, end in hours), timedelta(0)) == 3 * HOUR
    assert (hours[0][0], hours[-1][1]) == (start, start + 25 * HOUR)


def test_a_higher_limit_of_carbon_is_no_reason_to_pass_the_cap() -> None:
    """Two jobs would both like the one clean hour; only one of them has power for it."""
    values = [300.0, 300.0, 50.0, 50.0, 300.0, 300.0] + [300.0] * 40
    jobs = [job(number, slots=2, max_delay=5 * HOUR, power_w=1000.0) for number in (1, 2)]
    asked = replace(situation(jobs, values, 2), power=SitePower(cap=Weekly.of([], 1500.0)))
    made = plan(asked)
    assert sorted(row.start for row in made.placements)[0] != sorted(row.start for row in made.placements)[1]
    assert made.gap_ratio == pytest.approx(0.0, abs=0.01)


def under_way(device: str, until: datetime) -> Reserved:
    return Reserved(device=device, gpu=device, start=T0 - HOUR, end=until, whose="for bob", name="reservation 1")


def test_what_people_draw_on_a_reserved_gpu_counts_until_their_time_is_over_and_no_longer() -> None:
    site = SitePower(
        cap=Weekly.of([], 1000.0), limit_w={"gpu0": 700.0, "gpu1": 700.0}, drawn_w={"gpu1": 700.0},
        idle_w={"gpu0": 50.0, "gpu1": 50.0},
    )  # fmt: skip
    one = job(1, power_w=700.0, max_delay=10 * HOUR)
    asked = situation([], FLAT, 2, power=site, reserved=(under_way("gpu1", T0 + HOUR),))
    assert admit(asked, [one]).placements[0].start == T0 + HOUR
    asked = replace(asked, jobs=(one,))
    made = plan(asked)
    assert [row.start for row in made.placements] == [T0 + HOUR]
    assert [(row.start, row.planned_w) for row in planned_power(made, asked)] == [(T0, 750.0)]
    still = replace(asked, reserved=(*asked.reserved, replace(asked.reserved[0], start=T0 + HOUR, end=T0 + 2 * HOUR)))
    assert [row.start for row in plan(still).placements] == [T0 + HOUR], "nobody knows what the next ones will draw"


def test_a_gpu_counts_once_that_is_reserved_away_or_still_held_by_a_job() -> None:
    site = SitePower(cap=Weekly.of([], 1000.0), limit_w={"gpu0": 700.0, "gpu1": 700.0}, drawn_w={"gpu1": 600.0})
    one = job(1, power_w=400.0, max_delay=10 * HOUR)
    asked = situation([one], FLAT, 2, power=site, reserved=(under_way("gpu1", T0 + 4 * HOUR),))
    assert plan(asked).placements[0].start == T0
    overruns = replace(asked, busy={"gpu1": T0 + HOUR})
    assert plan(overruns).placements[0].start == T0
    others = replace(overruns, elsewhere={"gpu1": "another daemon"})
    assert plan(others).placements[0].start == T0
    tight = replace(site, drawn_w={"gpu1": 650.0})
    starts = [plan(replace(each, power=tight)).placements[0].start for each in (asked, overruns, others)]
    assert starts == [T0 + 4 * HOUR, T0 + HOUR, T0 + 4 * HOUR]


def test_a_job_that_power_keeps_waiting_as_well_is_not_told_that_a_reservation_does() -> None:
    site = SitePower(cap=Weekly.of([], 1000.0), limit_w={"gpu0": 700.0, "gpu1": 700.0}, drawn_w={"gpu0": 600.0})
    one = job(1, power_w=700.0, start_now=True)
    busy = {"gpu0": T0 + 3 * HOUR}
    asked = situation([one], FLAT, 2, power=site, busy=busy, reserved=(under_way("gpu1", T0 + 2 * HOUR),))
    (place,) = plan(asked).placements
    assert (place.start, place.reason.code) == (T0 + 3 * HOUR, ReasonCode.POWER_CAP)
    (place,) = plan(
        replace(asked, reserved=(under_way("gpu1", T0 + 4 * HOUR),), busy={"gpu0": T0 + 9 * HOUR})
    ).placements
    assert (place.start, place.reason.code) == (T0 + 9 * HOUR, ReasonCode.POWER_CAP)
    modest = replace(one, spec=replace(one.spec, power_w=300.0))
    (place,) = plan(replace(asked, jobs=(modest,))).placements
    assert (place.start, place.reason.code) == (T0 + 2 * HOUR, ReasonCode.RESERVED)
