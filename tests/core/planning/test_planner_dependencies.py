"""Jobs that come after others are planned behind them, and those before them start early enough for their limits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.jobs.job import ArrayPlace, Dependency, Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.model import Running, Situation
from greenrun.core.planning.planner import plan, start_at_once
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation, suggested
from tests.core.sound import CLOCK, check
from tests.sampling import examples

CLEAN_LATE = [400.0, 300, 300, 300, 200, 200, 100, 100, 50, 50, 50, 50]


def after(*ids: int) -> tuple[Dependency, ...]:
    return tuple(Dependency(job_id=job_id) for job_id in ids)


def waiting_for(asked: Situation, **more: Any) -> Situation:
    """The same situation with the states of the queued jobs that others wait for."""
    return replace(asked, states={one.id: State.QUEUED for one in asked.jobs}, **more)


def chained(*jobs: Job, **more: Any) -> Situation:
    return waiting_for(situation(jobs, CLEAN_LATE, **more))


@st.composite
def graphs(draw: st.DrawFn) -> Situation:
    """Any situation in which some jobs wait for earlier ones, queued, running, or live with a known end."""
    asked = draw(drawn.situations())
    live = {201: asked.now + draw(drawn.seconds(0, 7200))}
    jobs: list[Job] = []
    for one in asked.jobs:
        ids = [*(before.id for before in jobs), *live, *(run.job.id for run in asked.running)]
        chosen = draw(st.lists(st.sampled_from(ids), max_size=2, unique=True))
        jobs.append(replace(one, spec=replace(one.spec, after=after(*sorted(chosen)))))
    states = {one.id: State.QUEUED for one in jobs} | {201: State.RUNNING, 101: State.RUNNING}
    return replace(asked, jobs=tuple(jobs), states=states, ends=live)


def check_order(asked: Situation, made: Any) -> None:
    """No job starts before those it waits for have ended, nor has a place when one of them has none."""
    placed = {row.job_id: row for row in made.placements}
    ends = {**asked.ends, **{row.job_id: row.end for row in made.placements}}
    for one in asked.jobs:
        if one.id not in placed or not one.spec.after:
            continue
        assert placed[one.id].reason.code is ReasonCode.WAITS_FOR
        assert placed[one.id].start >= max(ends[row.job_id] for row in one.spec.after) - CLOCK


@quickly(60)
@given(graphs(), drawn.seconds(1, 7200), drawn.seconds(0, 7200))
def test_no_job_is_planned_before_those_that_it_waits_for_have_ended(
    asked: Situation, passed: timedelta, overrun: timedelta
) -> None:
    made = plan(asked)
    waits = {row.job_id for row in made.waiting if row.reason.code is ReasonCode.WAITS_FOR}
    check(replace(asked, jobs=tuple(one for one in asked.jobs if one.id not in waits)),
          replace(made, waiting=tuple(row for row in made.waiting if row.job_id not in waits)))  # fmt: skip
    check_order(asked, made)
    assert made == plan(asked)
    ends = {key: max(end, asked.now + passed) + overrun for key, end in asked.ends.items()}
    later = replace(asked, now=asked.now + passed, last=made, prices=made.prices, ends=ends)
    check_order(later, plan(later))


@quickly(40)
@given(graphs())
def test_limits_that_are_met_when_all_starts_as_soon_as_it_can_are_met(asked: Situation) -> None:
    made = plan(asked)
    rows = [one for one in asked.jobs if made.placement(one.id)]
    soonest = start_at_once(rows, asked)
    if not any(one.misses_limit(soonest[one.id], soonest[one.id] + one.remaining) for one in rows):
        assert not [one.id for one in rows if (place := made.placement(one.id)) and place.late]


lengths = st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=5)


@examples(40)
@given(lengths, st.integers(0, 4))
def test_a_chain_meets_the_finish_by_of_its_last_job(chain: list[tuple[int, bool]], spare: int) -> None:
    end = T0 + (sum(slots for slots, _ in chain) + spare) * SLOT
    last = len(chain)
    jobs = [
        job(key, slots=slots, after=after(key - 1) if key > 1 else (), interruptible=divided, min_run=SLOT,
            restart_cost=timedelta(0), finish_by=end if key == last else None)
        for key, (slots, divided) in enumerate(chain, start=1)
    ]  # fmt: skip
    made = plan(chained(*jobs))
    placed = [made.placement(key) for key in range(1, last + 1)]
    assert all(row is not None and not row.late for row in placed)
    check_order(chained(*jobs), made)


@given(st.permutations(range(6)), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=9))
def test_rows_are_put_behind_those_they_come_after_and_otherwise_stay_in_order(
    rows: list[int], pairs: list[tuple[int, int]]
) -> None:
    edges: dict[int, tuple[int, ...]] = {}
    for a, b in pairs:
        if a != b:
            edges[max(a, b)] = (*edges.get(max(a, b), ()), min(a, b))
    found = in_order(rows, edges)
    assert sorted(found) == sorted(rows)
    assert all(found.index(before) < found.index(row) for row, others in edges.items() for before in others)
    assert in_order(rows, {}) == rows
    assert in_order(found, edges) == found


def test_a_long_chain_is_no_deeper_than_calls_can_be_nested() -> None:
    size = 5000
    assert in_order(range(size)[::-1], {row: (row - 1,) for row in range(1, size)}) == list(range(size))


def test_a_job_says_for_which_it_waits_and_when_it_is_planned() -> None:
    made = plan(chained(job(1, max_delay=2 * SLOT), job(2, max_delay=6 * SLOT, after=after(1))))
    assert made.reason(2) is not None
    assert made.reason(2).text == "waits for job 1 to succeed and is planned for 2026-03-02 03:00:00Z"  # type: ignore[union-attr]


def test_the_end_of_a_running_job_is_waited_for() -> None:
    asked = situation([job(2, after=after(1), start_now=True)], CLEAN_LATE, 2, states={1: State.RUNNING})
    known = replace(asked, ends={1: T0 + 2.5 * SLOT})
    assert [row.start for row in plan(known).placements] == [T0 + 2.5 * SLOT]
    assert [row.reason.text for row in plan(asked).waiting] == ["waits for job 1 to succeed"]


def test_a_job_that_may_be_suspended_goes_on_so_that_what_waits_for_it_is_in_time() -> None:
    run = Running(job=job(1, slots=2, interruptible=True, min_run=timedelta(0)), devices=("gpu0",), since=T0)
    second = job(2, slots=2, after=after(1), finish_by=T0 + 4 * SLOT)
    asked = situation([second], CLEAN_LATE, running=(run,), states={1: State.RUNNING})
    made = plan(asked)
    assert [(row.job_id, row.start, row.late) for row in made.placements] == [(1, T0, False), (2, T0 + 2 * SLOT, False)]


def test_what_waits_for_a_job_without_a_place_has_none() -> None:
    asked = chained(replace(job(1), held=True), job(2, after=after(1)), job(3, after=after(2)))
    codes = {row.job_id: row.reason.code for row in plan(asked).waiting}
    assert codes == {1: ReasonCode.HELD, 2: ReasonCode.WAITS_FOR, 3: ReasonCode.WAITS_FOR}


@pytest.mark.parametrize("restart", [timedelta(0), timedelta(minutes=5)], ids=["free", "at a cost"])
def test_a_job_that_may_be_suspended_starts_late_rather_than_before_the_one_it_waits_for(restart: timedelta) -> None:
    more = {"interruptible": True, "restart_cost": restart, "min_run": timedelta(0)}
    made = plan(chained(job(1, slots=6), job(2, slots=2, after=after(1), max_delay=SLOT, **more)))
    assert [(row.job_id, row.start) for row in made.placements] == [(1, T0), (2, T0 + 6 * SLOT)]


def test_no_more_of_an_array_that_waits_are_planned_than_may_run_at_once() -> None:
    members = [job(key, after=after(1), array=ArrayPlace(key="a", index=key, size=3, at_once=2)) for key in (2, 3, 4)]
    made = plan(chained(job(1), *members, gpus=4))
    assert [row.job_id for row in made.placements if row.job_id != 1] == [2, 3]
    assert [(row.job_id, row.reason.code) for row in made.waiting] == [(4, ReasonCode.WAITS_FOR)]


def test_a_finish_by_that_cannot_be_met_after_what_it_waits_for_is_refused_and_the_suggested_one_is_accepted() -> None:
    queue = chained(job(1, slots=3), job(2, slots=2, after=after(1)))
    tight = job(3, after=after(2), finish_by=T0 + 5.5 * SLOT)
    with pytest.raises(InvalidJob, match="--finish-by 2026-03-02T03:01:01Z") as refused:
        admit_all(queue, [tight])
    assert "can start at 2026-03-02 02:30:00Z at the soonest" in str(refused.value)
    fine = replace(tight, spec=replace(tight.spec, finish_by=T0 + 6.1 * SLOT))
    place = admit_all(queue, [fine]).placement(3)
    assert place is not None
    assert not place.late


@quickly(30)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=4), st.integers(1, 8))
def test_the_finish_by_that_is_suggested_behind_other_jobs_is_accepted(
    queue: list[tuple[int, int]], limit: int
) -> None:
    jobs = [
        job(key, slots=slots, after=after(key - back) if 0 < back < key else ())
        for key, (slots, back) in enumerate(queue, start=1)
    ]
    last = len(jobs) + 1
    newest = job(last, after=after(last - 1), finish_by=T0 + limit * SLOT)
    try:
        admit_all(chained(*jobs), [newest])
    except InvalidJob as refused:
        fine = replace(newest, spec=replace(newest.spec, finish_by=suggested(refused)))
        place = admit_all(chained(*jobs), [fine]).placement(fine.id)
        assert place is not None
        assert not place.late
