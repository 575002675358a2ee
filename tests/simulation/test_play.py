"""In virtual time the engine keeps its promises: limits, capacity, no look ahead, and the same every time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.simulation.case import Case
from greenrun.simulation.compare import compare, figures
from greenrun.simulation.play import World, play
from greenrun.simulation.policies import Arrival, policies_of
from greenrun.simulation.schedule import Schedule, peak_gpus
from tests.sampling import examples
from tests.simulation.build import HOUR, START, START_S, case, grid, hours, job

DAY = [90, 80, 60, 30, 20, 30, 60, 80, 90, 95, 90, 60] * 8


def test_a_job_alone_takes_its_cleanest_window_to_the_second() -> None:
    schedule = play(case([job(0.5, 1.5)], [90, 90, 90, 20, 10, 90, 90, 90]))
    assert hours(schedule.pieces[0]) == [(3.5, 5.0)]


def test_jobs_are_told_apart_by_their_row_also_when_the_file_is_not_in_order() -> None:
    schedule = play(case([job(3, 1, wait=0), job(0, 2, wait=0), job(1, 1, wait=0)], [50] * 9))
    assert [hours(pieces) for pieces in schedule.pieces] == [[(3, 4)], [(0, 2)], [(1, 2)]]


def test_a_job_goes_on_for_just_as_long_as_it_takes() -> None:
    odd = job(0, duration_s=1361.25, wait=0)
    ((start_s, end_s),) = play(case([odd], [50] * 9)).pieces[0]
    assert (start_s, end_s - start_s) == (START_S, pytest.approx(1361.25, abs=1e-6))


def test_more_jobs_than_gpus_run_one_after_another() -> None:
    schedule = play(case([job(0, 1, gpus=2, wait=9)] * 3, [50] * 20, gpus=2))
    assert sorted(hours(pieces)[0] for pieces in schedule.pieces) == [(0, 1), (1, 2), (2, 3)]


def test_as_many_gpus_as_are_ever_needed_are_enough_for_every_job_s_own_window() -> None:
    values = [90, 90, 90, 10, 90, 90, 90, 90, 90]
    found = compare(case([job(0), job(1), job(2)], values, gpus=None), policies_of(["greenrun"], []))
    assert found.figures["greenrun"].peak_gpus == 3
    assert found.figures["greenrun"].emissions_g == pytest.approx(30.0)
    assert found.bound.grams == pytest.approx(30.0)


def test_idle_weeks_between_jobs_cost_no_ticks() -> None:
    world = World(case([job(0, wait=0), job(600, wait=0)], [50] * 700))
    ticks = []
    tick = world.engine.tick
    world.engine.tick = lambda now: ticks.append(now) or tick(now)  # type: ignore[method-assign,func-returns-value]
    world.play()
    assert len(ticks) < 10


def test_a_plan_that_none_can_beat_is_not_made_anew_at_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan for each job that comes, and one for each suspension: not 80 slots' worth of them."""
    made: list[Situation] = []
    monkeypatch.setattr("greenrun.engine.planning.plan", lambda situation: made.append(situation) or plan(situation))
    arrivals = [replace(job(at, 4, wait=30), interruptible=True) for at in (0, 10, 20)]
    world = World(case(arrivals, DAY, gpus=None))
    schedule = world.play()
    suspended = sum(len(pieces) - 1 for pieces in schedule.pieces)
    assert suspended
    assert len(made) <= len(arrivals) + suspended


arrivals = st.builds(
    lambda at, length, gpus, wait: job(at / 4, length / 4, gpus=gpus, wait=wait / 2),
    st.integers(0, 40), st.integers(1, 16), st.integers(1, 3), st.integers(0, 24),
)  # fmt: skip


@examples(15)
@given(jobs=st.lists(arrivals, min_size=1, max_size=7), gpus=st.integers(3, 6))
def test_gpus_are_never_over_committed_and_nobody_starts_early_or_ends_short(jobs: list[Arrival], gpus: int) -> None:
    schedule = play(case(jobs, DAY, gpus=gpus))
    assert peak_gpus(schedule, jobs) <= gpus
    for pieces, own in zip(schedule.pieces, jobs, strict=True):
        assert pieces[0][0] >= own.submitted_s
        assert sum(end_s - start_s for start_s, end_s in pieces) == pytest.approx(own.duration_s)


@examples(15)
@given(jobs=st.lists(arrivals, min_size=1, max_size=7))
def test_with_gpus_enough_every_limit_is_kept_and_nobody_emits_more_than_at_once(jobs: list[Arrival]) -> None:
    found = compare(case(jobs, DAY, gpus=None), policies_of(["greenrun", "start-at-once"], []))
    own, at_once = found.figures["greenrun"], found.figures["start-at-once"]
    assert own.late == 0
    assert own.emissions_g is not None
    assert at_once.emissions_g is not None
    assert found.bound.grams is not None
    assert found.bound.grams <= own.emissions_g + 1e-6
    assert own.emissions_g <= at_once.emissions_g + 1e-6


def starts_before(schedule: Schedule, at_s: float, count: int) -> list[tuple[int, float]]:
    """Which of the first `count` rows started before an instant, and when."""
    rows = enumerate(schedule.pieces[:count])
    return [(row, pieces[0][0]) for row, pieces in rows if pieces and pieces[0][0] < at_s]


@examples(10)
@given(jobs=st.lists(arrivals, min_size=2, max_size=7), late=st.integers(4, 36))
def test_jobs_that_come_later_change_no_start_before_them(jobs: list[Arrival], late: int) -> None:
    at_s = START_S + late / 4 * HOUR
    known = [own for own in jobs if own.submitted_s < at_s] or jobs[:1]
    later = [own for own in jobs if own.submitted_s >= at_s]
    with_them, without = (play(case(rows, DAY, gpus=4)) for rows in ([*known, *later], known))
    assert starts_before(with_them, at_s, len(known)) == starts_before(without, at_s, len(known))


def test_what_lies_beyond_the_horizon_changes_no_start_before_it_is_seen() -> None:
    jobs = [job(hour / 2, 2, wait=10) for hour in range(12)]
    seen, other = [90, 80, 70, 60, 50, 60, 70, 80], [10] * 40
    reach = timedelta(hours=4)
    one, two = (play(case(jobs, [*seen, *tail], reach=reach)) for tail in (other, [500] * 40))
    horizon_s = START_S + (len(seen) - 4) * HOUR  # from here on the two worlds look different
    assert starts_before(one, horizon_s, len(jobs)) == starts_before(two, horizon_s, len(jobs))


def test_equal_cases_give_equal_schedules() -> None:
    jobs = [job(hour / 3, 1.5, gpus=1 + hour % 3, wait=8) for hour in range(9)]
    one, two = (play(case(jobs, DAY)) for _ in range(2))
    assert one == two


def test_with_notice_room_is_kept_for_jobs_to_come_and_none_of_them_starts_before_it_may() -> None:
    """The first could wait for the cleanest hour, which the second then lacks: knowing that, it starts at once."""
    jobs = [job(0, 1, wait=3), job(2, 1, wait=1)]
    values = [60, 90, 90, 10, 500, 500, 500]
    sudden, known = (play(case(jobs, values, gpus=1, notice=timedelta(hours=own))) for own in (0, 48))
    assert [hours(pieces) for pieces in sudden.pieces] == [[(3, 4)], [(2, 3)]]
    assert [hours(pieces) for pieces in known.pieces] == [[(0, 1)], [(3, 4)]]
    late = [figures(own, case(jobs, values).jobs, grid(values)).late for own in (sudden, known)]
    assert late == [0, 0]


def test_a_forecast_that_was_wrong_is_paid_for_with_what_was() -> None:
    foretold = grid([90, 10, 90, 90, 90, 90, 90, 90])
    wrong = case([job(0)], [20, 80, 90, 90, 90, 90, 90, 90])
    from greenrun.simulation.foresight import ForesightIssue

    issue = ForesightIssue(issued_s=None, slots=foretold)
    wrong = Case(
        start=START, jobs=wrong.jobs, gpus=4, measured=wrong.measured, issues=(issue,), reach=timedelta(hours=24)
    )
    schedule = play(wrong)
    assert hours(schedule.pieces[0]) == [(1, 2)]
    assert figures(schedule, wrong.jobs, wrong.measured).emissions_g == pytest.approx(80.0)


@pytest.mark.parametrize("gpus", [4, None])
def test_under_a_power_cap_no_policy_draws_more_and_all_limits_that_can_be_met_are(gpus: int | None) -> None:
    """A week of jobs, with a lower cap in the evenings."""
    evening = Rule(days=frozenset(range(5)), start_min=17 * 60, end_min=20 * 60, value=600.0)
    jobs = [job(start, 1 + start % 3, wait=20, power_w=300.0 + 100 * (start % 4)) for start in range(0, 168, 5)]
    week = case(jobs, DAY * 3, gpus=gpus)
    site = SitePower(cap=Weekly.of([evening], 1500.0))
    found = compare(replace(week, site_power=site), policies_of(["greenrun", "start-at-once", "lowest-slot"], []))
    for name, schedule in found.schedules.items():
        assert found.figures[name].peak_w <= 1500.0
        assert not above(schedule, jobs, site)
    assert found.figures["greenrun"].late == 0
    assert found.figures["greenrun"].emissions_g < found.at_once.emissions_g
    free = compare(replace(week, site_power=SitePower(cap=Weekly.of([], 1e8))), policies_of(["greenrun"], []))
    assert free.schedules == compare(week, policies_of(["greenrun"], [])).schedules


def above(schedule: Schedule, jobs: list[Arrival], site: SitePower) -> list[datetime]:
    """The instants at which more is drawn than the cap, of those at which either changes."""
    rows = [(start_s, end_s, own.power_w) for own, spans in zip(jobs, schedule.pieces, strict=True)
            for start_s, end_s in spans]  # fmt: skip
    edges = {start_s for start_s, _, _ in rows}
    edges |= {at_s for span in site.caps(START, START + timedelta(days=36)) for at_s in span[:2]}
    found = []
    for at_s in edges:
        drawn = sum(watts for start_s, end_s, watts in rows if start_s <= at_s < end_s - 1e-3)
        cap_w = site.cap.at(datetime.fromtimestamp(at_s, UTC))
        if cap_w is not None and drawn > cap_w + 1e-6:
            found.append(datetime.fromtimestamp(at_s, UTC))
    return found
