"""The plan in force: jobs are put in at once, a plan made meanwhile takes them along, and promises are kept."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import After, ArrayPlace, Dependency, Job, JobRequest, JobSpec, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.admission import SHORT
from greenrun.core.planning.model import Placement, Situation
from greenrun.engine.engine import ELSEWHERE_FOR, Engine
from greenrun.engine.planning import Urgency
from greenrun.store import Store
from tests.core.situations import quickly
from tests.world import SLOT, T0, World, command, new_engine, open_store, run_until, spec

DAY = [300, 300, 100, 300, 200, 300, 50, 300, 300, 300] * 3
SOON = timedelta(seconds=1)


class Lab:
    """An engine and its store, and submissions as the daemon makes them."""

    def __init__(self, store: Store, **machine: int) -> None:
        self.world, self.store = World(DAY, **machine), store
        self.engine = new_engine(self.world, store, self.world.meter())
        self.engine.refresh(T0)
        self.engine.tick(T0)

    def submit(self, *specs: JobSpec, now: datetime = T0) -> Sequence[Job]:
        """Admit, store and keep."""
        admitted = self.engine.admit(specs, user="ada", uid=1, now=now)
        stored = self.store.jobs.add_jobs(specs, user="ada", uid=1, now=now)
        new = {asked.id: job for asked, (job, is_new) in zip(admitted.jobs, stored, strict=True) if is_new}
        self.engine.planning.keep(admitted, new)
        return [job for job, _ in stored]

    def urgency(self, now: datetime = T0) -> Urgency:
        """How urgent a plan is."""
        return self.engine.planning.urgency(self.engine.situation(now))


def test_a_submission_is_in_the_plan_at_once_and_a_new_plan_is_made_at_leisure(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (job,) = lab.submit(spec(1800, max_delay=4 * SLOT))
    place = lab.engine.plan.placement(job.id)
    assert place is not None
    assert place.start == T0 + 2 * SLOT
    assert lab.urgency() is Urgency.LEISURE
    lab.engine.tick(T0 + SOON)
    assert lab.urgency(T0 + SOON) is Urgency.NONE
    assert lab.engine.plan.placement(job.id) is not None


def test_jobs_that_came_while_a_plan_was_made_are_in_it(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    lab.submit(spec(1800, max_delay=4 * SLOT))
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    (later,) = lab.submit(spec(1800, finish_by=T0 + 3 * SLOT, gpus=2))
    lab.engine.take_over(made, situation, T0 + SOON)
    place = lab.engine.plan.placement(later.id)
    assert place is not None
    assert place.end <= T0 + 3 * SLOT
    assert lab.urgency(T0 + SOON) is Urgency.LEISURE


def test_a_plan_that_leaves_no_room_for_a_promise_given_meanwhile_does_not_take_over(tmp_path: Path) -> None:
    """It was made when both GPUs could still be given to others for the whole time until then."""
    lab = Lab(open_store(tmp_path))
    situation = lab.engine.situation(T0)
    (promised,) = lab.submit(spec(1800, finish_by=T0 + SLOT + SOON, gpus=2))
    fillers = [
        Job(id=100 + gpu, spec=spec(7200, start_now=True), user="ada", uid=1, state=State.QUEUED, submitted_at=T0)
        for gpu in range(2)
    ]
    crowded = replace(situation, jobs=(*situation.jobs, *fillers))
    made = lab.engine.planning.make(crowded)
    kept = lab.engine.plan
    lab.engine.take_over(made, crowded, T0 + SOON)
    assert lab.engine.plan is kept
    place = kept.placement(promised.id)
    assert place is not None
    assert not place.late
    assert lab.urgency(T0 + SOON) is Urgency.PROMPT


def test_a_job_that_ended_while_a_plan_was_made_is_not_put_in_again(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    (gone, stays) = lab.submit(spec(1800, max_delay=9 * SLOT), spec(900, max_delay=9 * SLOT))
    lab.store.jobs.intend(Intent.CANCEL, [gone.id], actor="ada", now=T0)
    lab.engine.observe(T0)
    lab.engine.take_over(made, situation, T0 + SOON)
    assert lab.engine.plan.row(gone.id) is None
    assert lab.engine.plan.row(stays.id) is not None


@pytest.mark.parametrize(
    ("intent", "code"), [(Intent.HOLD, ReasonCode.HELD), (Intent.CANCEL, ReasonCode.CANCEL_REQUESTED)]
)
def test_what_users_want_of_waiting_jobs_is_shown_at_once(tmp_path: Path, intent: Intent, code: ReasonCode) -> None:
    lab = Lab(open_store(tmp_path))
    jobs = lab.submit(*[spec(1800, max_delay=9 * SLOT)] * 3)
    changed = lab.store.jobs.intend(intent, [job.id for job in jobs[:2]], actor="ada", now=T0)
    lab.engine.revise([job for job in changed if isinstance(job, Job)], T0)
    assert [getattr(lab.engine.plan.reason(job.id), "code", None) for job in jobs[:2]] == [code, code]
    assert isinstance(lab.engine.plan.row(jobs[2].id), Placement)
    assert lab.urgency() is Urgency.PROMPT


def test_a_released_job_has_a_place_at_once(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (job,) = lab.submit(spec(1800, max_delay=9 * SLOT))
    for intent in (Intent.HOLD, Intent.RELEASE):
        (changed,) = lab.store.jobs.intend(intent, [job.id], actor="ada", now=T0)
        assert isinstance(changed, Job)
        lab.engine.revise([changed], T0)
    assert isinstance(lab.engine.plan.row(job.id), Placement)


@pytest.mark.parametrize("intents", [[Intent.HOLD, Intent.RELEASE], [Intent.START_NOW]])
def test_what_users_want_now_is_told_with_its_reason_at_once(tmp_path: Path, intents: list[Intent]) -> None:
    """One GPU is taken: the job waits for that, and not for a plan in which others may move."""
    lab = Lab(open_store(tmp_path), gpus=1)
    lab.submit(spec(9 * 1800, start_now=True))
    lab.engine.tick(T0 + SOON)
    now = T0 + 2 * SOON
    (job,) = lab.submit(spec(600, start_now=Intent.RELEASE in intents, max_delay=None), now=now)
    older = lab.engine.situation(now)
    made = lab.engine.planning.make(older)
    for intent in intents:
        hold_and_let_go(lab, intent, job, now=now)
    codes = [lab.engine.plan.reason(job.id)]
    lab.engine.take_over(made, older, now)  # one of before, which was being made beside
    codes.append(lab.engine.plan.reason(job.id))
    assert [reason and reason.code for reason in codes] == [ReasonCode.GPUS_BUSY] * 2


def test_nobody_sees_a_place_that_is_being_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API reads the plan from threads of its own, without waiting for whoever changes it."""
    lab = Lab(open_store(tmp_path), gpus=1)
    lab.submit(spec(9 * 1800, start_now=True))
    lab.engine.tick(T0 + SOON)
    now = T0 + 2 * SOON
    (job,) = lab.submit(spec(600), now=now)
    older = lab.engine.situation(now)
    made, planning = lab.engine.planning.make(older), lab.engine.planning
    before, looked, settle = planning.plan, list[Any](), planning.settle

    def settle_while_somebody_looks(ask: Callable[[], Situation]) -> None:
        looked.append((planning.shown, planning.plan.reason(job.id)))
        settle(ask)

    monkeypatch.setattr(planning, "settle", settle_while_somebody_looks)
    hold_and_let_go(lab, Intent.START_NOW, job, now=now)
    settled = planning.plan
    lab.engine.take_over(made, older, now)
    assert [shown is plan for (shown, _), plan in zip(looked, (before, settled), strict=True)] == [True, True]
    assert [reason.code for _, reason in looked] == [ReasonCode.PROVISIONAL] * 2
    assert planning.shown is planning.plan


def test_a_long_queue_is_not_planned_while_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenrun.engine.planning.SHORT", 0)
    lab = Lab(open_store(tmp_path), gpus=1)
    lab.submit(spec(9 * 1800, start_now=True))
    lab.engine.tick(T0 + SOON)
    (job,) = lab.submit(spec(600, max_delay=4 * SLOT), now=T0 + 2 * SOON)
    hold_and_let_go(lab, Intent.START_NOW, job, now=T0 + 2 * SOON)
    reason = lab.engine.plan.reason(job.id)
    assert (reason and reason.code, lab.urgency(T0 + 2 * SOON)) == (ReasonCode.PROVISIONAL, Urgency.PROMPT)


def test_a_known_unique_key_gives_no_second_place(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    asked = spec(1800, max_delay=9 * SLOT, unique_key="once")
    (first,) = lab.submit(asked)
    (again, other) = lab.submit(asked, spec(900, max_delay=9 * SLOT))
    assert first.id == again.id
    assert sorted(row.job_id for row in lab.engine.plan.placements) == [first.id, other.id]


def test_places_are_those_of_the_stored_ids(tmp_path: Path) -> None:
    """Ids of jobs that are long gone are not given again."""
    store = open_store(tmp_path)
    for number in range(3):
        store.jobs.add_job(spec(60, start_now=True, unique_key=str(number)), user="ada", uid=1, now=T0)
    lab = Lab(store)
    run_until(lab.world, lab.engine, T0 + SLOT)
    admitted = lab.engine.admit([spec(1800)], user="ada", uid=1, now=lab.world.now)
    assert [job.id for job in admitted.jobs] == [4]


def test_an_outdated_plan_starts_only_what_is_due_just_now(tmp_path: Path) -> None:
    """After the machine slept, every job of the night is due in it; a new plan knows better."""
    lab = Lab(open_store(tmp_path))
    (job,) = lab.submit(spec(1800, max_delay=4 * SLOT))
    later = T0 + 9 * SLOT
    lab.world.now = later
    situation = lab.engine.observe(later)
    lab.engine.act(situation, later, is_outdated=True)
    assert lab.store.jobs.job(job.id).state is State.QUEUED
    lab.engine.tick(later)
    assert lab.store.jobs.job(job.id).state is not State.QUEUED


def test_a_plan_from_before_a_restart_starts_nothing_until_one_is_made(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    lab = Lab(store)
    (job,) = lab.submit(spec(1800, max_delay=4 * SLOT))
    lab.engine.tick(T0)
    again = new_engine(lab.world, store, lab.world.meter())
    later = T0 + 2 * SLOT
    again.act(again.observe(later), later)
    assert store.jobs.job(job.id).state is State.QUEUED
    again.tick(later)
    assert store.jobs.job(job.id).state is not State.QUEUED


@st.composite
def days(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """What happens in an hour: submissions, plans begun and plans done, in any order."""
    event = st.tuples(
        st.sampled_from(["submit", "promise", "begin", "end", "cancel"]),
        st.integers(1, 4), st.integers(1, 2), st.integers(0, 12),
    )  # fmt: skip
    return draw(st.lists(event, max_size=24))


@quickly(40)
@given(days())
def test_whatever_happens_while_plans_are_made_every_accepted_promise_is_in_the_plan(
    events: list[tuple[str, int, int, int]],
) -> None:
    """And no job is lost, doubled, or left in it once it is gone."""
    with TemporaryDirectory() as folder, closing(open_store(Path(folder))) as store:
        _play(Lab(store), events)


def _play(lab: Lab, events: list[tuple[str, int, int, int]]) -> None:
    begun, now = None, T0
    for kind, slots, gpus, slack in events:
        if kind in ("submit", "promise"):
            limit = {"finish_by": now + (slots + slack) * SLOT} if kind == "promise" else {"max_delay": slack * SLOT}
            try:
                lab.submit(spec(1800 * slots, gpus=gpus, start_after=T0 + SLOT, **limit), now=now)
            except InvalidJob:
                continue
        elif kind == "begin":
            situation = lab.engine.situation(now)
            begun = situation, lab.engine.planning.make(situation)
        elif kind == "end" and begun:
            lab.engine.take_over(begun[1], begun[0], now)
            begun = None
        elif kind == "cancel" and (queued := lab.store.jobs.jobs([State.QUEUED])):
            ids = [queued[slack % len(queued)].id]
            changed = lab.store.jobs.intend(Intent.CANCEL, ids, actor="ada", now=now)
            lab.engine.revise([job for job in changed if isinstance(job, Job)], now)
        _check(lab.engine, lab.store)
    lab.engine.tick(now)
    _check(lab.engine, lab.store)
    assert lab.urgency() is Urgency.NONE


def _check(engine: Engine, store: Store) -> None:
    wanted = [job for job in store.jobs.jobs([State.QUEUED]) if not job.cancel_requested]
    told = [row.job_id for row in (*engine.plan.placements, *engine.plan.waiting)]
    assert len(told) == len(set(told))
    assert {job.id for job in wanted} <= set(told)
    late = [row.job_id for row in engine.plan.placements if row.late]
    assert not [job.id for job in wanted if job.spec.finish_by and job.id in late]


def hold_and_let_go(lab: Lab, intent: Intent, *jobs: Job, now: datetime = T0) -> None:
    """Do as a user asks, as the daemon does."""
    changed = lab.store.jobs.intend(intent, [job.id for job in jobs], actor="ada", now=now)
    lab.engine.revise([job for job in changed if isinstance(job, Job)], now)


def test_a_plan_made_meanwhile_knows_what_later_jobs_wait_for(tmp_path: Path) -> None:
    """The one that it waits for has succeeded, so it has a place, and its promise counts."""
    lab = Lab(open_store(tmp_path))
    (first,) = lab.submit(spec(60, start_now=True))
    run_until(lab.world, lab.engine, T0 + SLOT)
    now = lab.world.now
    assert lab.store.jobs.job(first.id).state is State.SUCCEEDED
    situation = lab.engine.situation(now)
    made = lab.engine.planning.make(situation)
    after = (Dependency(job_id=first.id, on=After.OK),)
    (later,) = lab.submit(spec(1800, finish_by=now + 2 * SLOT, after=after), now=now)
    assert lab.urgency(now) is Urgency.LEISURE
    lab.engine.take_over(made, situation, now)
    assert isinstance(lab.engine.plan.row(later.id), Placement)


def test_a_job_released_while_a_plan_was_made_is_not_held_in_it(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (job,) = lab.submit(spec(1800, max_delay=9 * SLOT))
    hold_and_let_go(lab, Intent.HOLD, job)
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    hold_and_let_go(lab, Intent.RELEASE, job)
    lab.engine.take_over(made, situation, T0 + SOON)
    assert isinstance(lab.engine.plan.row(job.id), Placement)
    assert lab.urgency(T0 + SOON) is Urgency.PROMPT


def test_a_plan_made_meanwhile_starts_no_more_of_an_array_than_may_run_at_once(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    first, second = lab.submit(
        *(spec(1800, start_now=True, array=ArrayPlace(key="a", index=index, size=2, at_once=1)) for index in range(2))
    )
    hold_and_let_go(lab, Intent.HOLD, first)
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    assert made.placement(second.id)
    hold_and_let_go(lab, Intent.RELEASE, first)
    lab.engine.act(lab.engine.observe(T0), T0, is_outdated=True)
    assert lab.store.jobs.job(first.id).state is State.STARTING
    lab.engine.take_over(made, situation, T0)
    assert lab.store.jobs.job(second.id).state is State.QUEUED


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_a_promise_is_kept_beside_one_that_is_starting_and_is_to_be_suspended_for_it(tmp_path: Path, gpus: int) -> None:
    lab = Lab(open_store(tmp_path))
    yields = {"interruptible": True, "min_run": SLOT, "restart_cost": timedelta(0), "max_delay": 2 * SLOT}
    fills = [spec(5 * 1800, gpus=gpus, start_now=True)] if gpus < 2 else []  # what the other one leaves
    promised = spec(1800, gpus=gpus, start_after=T0 + 2 * SLOT, finish_by=T0 + 4 * SLOT)
    first, *_, last = lab.submit(spec(7 * 1800, gpus=gpus, **yields), *fills, promised)
    lab.engine.tick(T0)
    assert lab.store.jobs.job(first.id).state is State.STARTING
    situation = lab.engine.situation(T0 + SOON)
    assert [row.job.id for row in situation.running] == [first.id]
    place = lab.engine.planning.make(situation).placement(last.id)
    assert place is not None
    assert place.end <= T0 + 4 * SLOT


def test_under_a_steady_stream_of_submissions_plans_are_stored(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (first,) = lab.submit(spec(1800, max_delay=4 * SLOT))
    for second in range(1, 4):
        now = T0 + second * SOON
        situation = lab.engine.situation(now)
        made = lab.engine.planning.make(situation)
        lab.submit(spec(1800, max_delay=9 * SLOT), now=now)
        lab.engine.take_over(made, situation, now)
        lab.engine.act(lab.engine.observe(now), now)
    kept = lab.store.plans.last_plan()
    assert kept is not None
    assert kept.placement(first.id)
    assert lab.store.jobs.job(first.id).reason is not None


def test_a_plan_whose_places_are_taken_by_what_started_meanwhile_breaks_no_promise(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (promised,) = lab.submit(spec(1800, finish_by=T0 + 4 * SLOT, gpus=2, start_after=T0 + SLOT))
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    early = replace(made, placements=tuple(replace(row, start=T0 + SLOT, end=T0 + 2 * SLOT) for row in made.placements))
    kept = lab.engine.plan
    place = kept.placement(promised.id)
    assert place is not None
    assert place.start == T0 + 2 * SLOT
    lab.submit(spec(3600, start_now=True))
    lab.engine.act(lab.engine.observe(T0), T0)
    before = lab.engine.plan
    lab.engine.take_over(early, situation, T0 + SOON)
    assert lab.engine.plan is before
    assert lab.urgency(T0 + SOON) is Urgency.PROMPT


def test_a_gpu_that_others_hold_keeps_no_plan_from_taking_over(tmp_path: Path) -> None:
    """It is said to be back half a minute from now whenever one looks, so every place there seems to be taken."""
    lab = Lab(open_store(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "held_elsewhere", lambda self, devices: dict.fromkeys(devices, "somebody"))
        lab.submit(spec(1800, finish_by=T0 + 9 * SLOT, gpus=2))
        situation = lab.engine.situation(T0)
        made = lab.engine.planning.make(situation)
        start = T0 + ELSEWHERE_FOR
        early = replace(made, placements=tuple(replace(row, start=start, end=start + SLOT) for row in made.placements))
        lab.engine.take_over(early, situation, T0 + SOON)
        assert lab.engine.plan is early


def test_a_promise_is_not_given_for_gpus_of_a_run_that_takes_longer_than_planned(tmp_path: Path) -> None:
    lab = Lab(open_store(tmp_path))
    (running,) = lab.submit(spec(1200, start_now=True, gpus=2, command=command(7200)))
    run_until(lab.world, lab.engine, T0 + timedelta(minutes=15))
    assert lab.store.jobs.job(running.id).state is State.RUNNING
    now = T0 + timedelta(minutes=23)  # no tick has come since it was to end
    with pytest.raises(InvalidJob):
        lab.submit(spec(1800, finish_by=now + SLOT + SOON), now=now)
    (accepted,) = lab.submit(spec(1800, finish_by=now + 4 * SLOT), now=now)
    place = lab.engine.plan.placement(accepted.id)
    assert place is not None
    assert not place.late
    assert place.start > now


def test_a_job_that_started_while_a_plan_was_made_is_not_suspended_by_it(tmp_path: Path) -> None:
    """To the plan it still waited; a run that is cut short at once counts as one that got nowhere."""
    lab = Lab(open_store(tmp_path))
    (job,) = lab.submit(spec(1800, start_now=True, interruptible=True, min_run=timedelta(0)))
    situation = lab.engine.situation(T0)
    made = lab.engine.planning.make(situation)
    later = replace(made, placements=tuple(replace(row, start=T0 + SLOT, end=T0 + 2 * SLOT) for row in made.placements))
    for seconds in (0, 1):
        lab.world.now = T0 + seconds * SOON
        lab.engine.act(lab.engine.observe(lab.world.now), lab.world.now)
    assert lab.store.jobs.job(job.id).state is State.RUNNING
    lab.world.now += SOON
    lab.engine.take_over(later, situation, lab.world.now)
    assert lab.engine.plan.placement(job.id) is not None
    assert not any(process.is_asked for process in lab.world.processes.values())
    assert lab.urgency(lab.world.now) is Urgency.PROMPT


def test_a_promise_is_not_given_for_gpus_of_a_run_that_the_plan_does_not_know(tmp_path: Path) -> None:
    """It was not among those that may be suspended, as while its GPUs are not all to be seen, and now it is."""
    lab = Lab(open_store(tmp_path))
    (running,) = lab.submit(spec(7200, start_now=True, gpus=2, interruptible=True))
    lab.engine.act(lab.engine.observe(T0), T0)
    situation = lab.engine.situation(T0)
    held = dict.fromkeys(situation.devices, T0 + 4 * SLOT)
    lab.engine.planning.replan(replace(situation, running=(), busy=held))
    lab.world.now = now = T0 + SOON
    lab.engine.observe(now)
    assert lab.store.jobs.job(running.id).state is State.RUNNING
    assert lab.engine.plan.placement(running.id) is None
    with pytest.raises(InvalidJob):
        lab.submit(spec(1800, finish_by=now + SLOT, gpus=2), now=now)


@pytest.mark.parametrize(("gpus", "together"), [(0, True), (1, False), (1, True), (2, False)])
def test_a_job_that_is_to_start_at_once_gets_what_others_freed_early_before_a_long_queue_is_planned(
    tmp_path: Path, gpus: int, together: bool
) -> None:
    lab = Lab(open_store(tmp_path))
    begun = lab.submit(*[spec(60, duration=4 * SLOT, start_now=True, gpus=int(gpus > 0)) for _ in range(2)])
    lab.submit(*[spec(1800, max_delay=40 * SLOT) for _ in range(SHORT + 1)])
    lab.engine.tick(T0 + SOON)
    assert {job.id for job in begun} <= {run.job_id for run in lab.store.runs.live_runs()}  # for two hours, they say
    lab.world.now = now = T0 + timedelta(minutes=2)
    lab.engine.observe(now)
    assert not {job.id for job in begun} & {run.job_id for run in lab.store.runs.live_runs()}
    urgent = spec(600, start_now=True, gpus=gpus)
    if together:
        requests = [JobRequest(specs=[each], user="ada", uid=1, now=now) for each in (spec(1800), urgent)]
        admitted = lab.engine.admit_together(requests, now)[1]
    else:
        admitted = lab.engine.admit([urgent], user="ada", uid=1, now=now)
    assert admitted is not None
    (row,) = admitted.rows
    assert isinstance(row, Placement)
    assert (row.start, row.reason.code) == (now, ReasonCode.ASKED_NOW)
