"""Budgets in the engine: what is charged, which jobs wait for that, and when they are let go, in virtual time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.budgets.budget import Budget, Budgets, Measure, OverBudget, Owner, OwnerKind
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import Job, Outcome, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.transitions import Edit, Intent
from greenrun.core.planning.model import Options, Waiting
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.engine import Engine
from greenrun.store import Store
from tests.world import T0, WATTS, World, new_engine, open_store, run_until, spec

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
VISION, ADA = Owner(OwnerKind.PROJECT, "vision"), Owner(OwnerKind.USER, "ada")
G_PER_HOUR = WATTS.busy / 1000 * 300  # of a busy GPU, at 300 g/kWh
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


class Scene:
    """A world with budgets, an engine, and its store."""

    def __init__(self, store: Store, budgets: Budgets, **more: Any) -> None:
        self.store, self.budgets = store, budgets
        self.price = more.pop("price", None)
        self.settings = more.pop("settings", {})
        self.world = World(**{"values": [300.0] * 48 * 70, **more})
        self.restart()

    def restart(self, budgets: Budgets | None = None) -> None:
        """A new engine, as after a restart or a reload with other budgets."""
        self.budgets = self.budgets if budgets is None else budgets
        rules = BudgetRules(budgets=self.budgets, price=self.price)
        self.engine: Engine = new_engine(self.world, self.store, self.world.meter(), budgets=rules, **self.settings)
        self.engine.refresh(self.world.now)
        self.engine.tick(self.world.now)

    def submit(self, hours: float, *, user: str = "ada", **more: Any) -> Job:
        """Accept a job as the daemon does; raise InvalidJob."""
        wanted = spec(hours * 3600, **{"project": "vision", "power_w": WATTS.busy, "gpus": 1, **more})
        admitted = self.engine.admit([wanted], user=user, uid=1, now=self.world.now)
        job, _ = self.store.jobs.add_job(wanted, user=user, uid=1, now=self.world.now)
        self.engine.keep(admitted, {admitted.jobs[0].id: job}, self.world.now)
        return job

    def run(self, until: datetime, step: timedelta | None = None) -> None:
        run_until(self.world, self.engine, until, step=step)

    def job(self, job: Job) -> Job:
        return self.store.jobs.job(job.id)

    def code(self, job: Job) -> ReasonCode | None:
        """Why a job is where it is, as the plan in force has it."""
        reason = self.engine.plan.reason(job.id)
        return reason.code if reason else None

    def standing(self, owner: Owner = VISION) -> Standing:
        found = self.engine.budgets.standing(owner, self.world.now)
        assert found is not None
        return found

    def used(self, measure: Measure, owner: Owner = VISION) -> float:
        return self.standing(owner).used[measure].value


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def of_project(**own: Any) -> Budgets:
    most = own.pop("most", {})
    return Budgets(projects={"vision": Budget(most=most, **own)}, zone=own.pop("zone", UTC))


def grams(kg: float) -> dict[Measure, float]:
    return {Measure.KG_CO2E: kg}


# --- the budget of a month ---


def test_a_budget_of_1_kg_stops_the_next_job_and_the_next_month_releases_it(store: Store) -> None:
    """Nine hours take 945 g, and the tenth has no room, until midnight of the last of March."""
    scene = Scene(store, of_project(most=grams(1.0)), now=APRIL - 12 * HOUR)
    first = scene.submit(9, start_now=True)
    scene.run(APRIL - 2 * HOUR)
    assert scene.job(first).state is State.SUCCEEDED
    assert scene.used(Measure.KG_CO2E) == pytest.approx(9 * G_PER_HOUR / 1000)
    second = scene.submit(1)
    assert scene.code(second) is ReasonCode.BUDGET_SPENT
    scene.run(APRIL - HOUR)
    told = scene.job(second).reason
    assert told is not None
    assert told.text == (
        "waits until 2026-04-01 00:00:00Z, when the budget of project vision begins anew: of 1 kg CO2e this month "
        "945 g CO2e are used or set aside for jobs before it, and it is expected to take 105 g CO2e"
    )
    scene.run(APRIL - MINUTE)
    assert scene.job(second).state is State.QUEUED
    scene.run(APRIL + 2 * HOUR)
    assert scene.job(second).state is State.SUCCEEDED
    (run,) = store.runs.of_jobs([second.id])[second.id]
    assert run.started_at is not None
    assert run.started_at >= APRIL
    assert scene.used(Measure.KG_CO2E) == pytest.approx(G_PER_HOUR / 1000)


def test_charges_are_what_the_ledger_has_settled(store: Store) -> None:
    """To a billionth, by project and by user, whatever became of the runs, and again after a restart."""
    values = [100.0 + 37.0 * (slot % 11) for slot in range(48 * 5)]
    both = Budgets(
        projects={"*": Budget(most=grams(100.0))},
        users={"*": Budget(most={Measure.KWH: 100.0}, period=PeriodKind.WEEK)},
    )
    scene = Scene(store, both, values=values)
    jobs = [scene.submit(1.3, user="ada", start_now=True)]
    jobs.append(scene.submit(2.1, user="bob", start_now=True))
    jobs.append(scene.submit(0.7, user="bob", project="nlp", start_now=True))
    jobs.append(scene.submit(0.4, user="ada", exit_code=3, retries=2, start_now=True))
    scene.run(T0 + 8 * HOUR)
    assert {scene.job(job).state for job in jobs} == {State.SUCCEEDED, State.FAILED}
    runs = {job.id: [run.id for run in store.runs.of_jobs([job.id])[job.id]] for job in jobs}
    assert len(runs[jobs[-1].id]) == 3
    totals = store.books.run_totals([run for own in runs.values() for run in own])

    def settled(*numbers: int) -> float:
        found = [totals[run].settled_g for number in numbers for run in runs[jobs[number].id]]
        return fsum(gram or 0.0 for gram in found)

    for _ in range(2):
        assert scene.used(Measure.KG_CO2E) * 1000 == pytest.approx(settled(0, 1, 3), rel=1e-9)
        nlp = Owner(OwnerKind.PROJECT, "nlp")
        assert scene.used(Measure.KG_CO2E, nlp) * 1000 == pytest.approx(settled(2), rel=1e-9)
        bob = Owner(OwnerKind.USER, "bob")
        energy_j = fsum(totals[run].energy_j or 0.0 for number in (1, 2) for run in runs[jobs[number].id])
        assert scene.used(Measure.KWH, bob) == pytest.approx(energy_j / 3.6e6, rel=1e-9)
        scene.restart()


@pytest.mark.parametrize("looks", [0, 1], ids=["never seen", "seen"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside one that goes on"])
def test_runs_are_charged_that_start_and_end_between_two_looks(store: Store, looks: int, *, beside: bool) -> None:
    """Once, whether or not anything else starts or ends, and the same as after a restart."""
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 100.0}))
    scene.submit(0.5, start_now=True)
    scene.run(T0 + HOUR)
    if beside:
        scene.submit(9, project="nlp", start_now=True)
        scene.engine.tick(scene.world.now)
    for _ in range(5):
        scene.submit(0.1, start_now=True)
        for _ in range(looks + 1):
            scene.engine.tick(scene.world.now)
        scene.world.now += 10 * MINUTE
        scene.engine.tick(scene.world.now)
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(1.0)
    scene.restart()
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(1.0)


def test_what_runs_over_the_end_of_a_month_is_charged_to_both(store: Store) -> None:
    """To each what was used in it; and a job longer than a period waits for none."""
    budgets = of_project(most={Measure.GPU_HOURS: 800.0, Measure.KWH: 1e6})
    scene = Scene(store, budgets, now=APRIL - 3 * HOUR)
    long = scene.submit(40 * 24, start_now=True)
    scene.run(APRIL - MINUTE)
    assert scene.standing().period.name == "2026-03"
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(3 - 1 / 60, abs=0.02)
    scene.run(APRIL + 2 * HOUR)
    assert scene.standing().period.name == "2026-04"
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(2.0, abs=0.02)
    assert scene.used(Measure.KWH) == pytest.approx(2 * WATTS.busy / 1000, abs=0.02)
    assert scene.standing().running[Measure.GPU_HOURS] == pytest.approx(30 * 24 - 2, abs=0.1)
    assert scene.job(long).state is State.RUNNING


def test_running_jobs_are_not_ended_for_a_budget(store: Store) -> None:
    """One that takes longer than it said uses more than there is, which is charged, and it ends by itself."""
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 2.0}))
    longer = scene.submit(5, duration=HOUR)
    scene.run(T0 + 6 * HOUR)
    assert scene.job(longer).state is State.SUCCEEDED
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(5.0, abs=0.02)
    assert scene.code(scene.submit(0.1)) is ReasonCode.BUDGET_SPENT


def test_a_job_counts_in_the_budgets_of_its_user_and_its_project(store: Store) -> None:
    """Either may stop it, and the reason says which."""
    budgets = Budgets(
        projects={"vision": Budget(most={Measure.GPU_HOURS: 100.0})},
        users={"ada": Budget(most={Measure.GPU_HOURS: 1.0})},
    )
    scene = Scene(store, budgets)
    first, second, other = scene.submit(1), scene.submit(0.5), scene.submit(3, user="bob")
    assert scene.code(first) is not ReasonCode.BUDGET_SPENT
    assert scene.code(second) is ReasonCode.BUDGET_SPENT
    assert "user ada" in (scene.engine.plan.reason(second.id) or pytest.fail("no reason")).text
    assert scene.code(other) is not ReasonCode.BUDGET_SPENT
    assert scene.standing().queued[Measure.GPU_HOURS] == pytest.approx(4.0)


def test_a_reload_that_changes_a_budget_counts_what_was_used_before(store: Store) -> None:
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 2.0}))
    scene.submit(1.5)
    scene.run(T0 + 2 * HOUR)
    waits = scene.submit(1)
    assert scene.code(waits) is ReasonCode.BUDGET_SPENT
    scene.restart(of_project(most={Measure.GPU_HOURS: 3.0}))
    scene.run(T0 + 4 * HOUR)
    assert scene.job(waits).state is State.SUCCEEDED
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(2.5, abs=0.02)


def test_weeks_and_months_begin_at_midnight_of_the_sites_zone(store: Store) -> None:
    """Mumbai is half an hour off the hours of UTC, in which slices are summed."""
    zone = ZoneInfo("Asia/Kolkata")
    midnight = datetime(2026, 4, 1, tzinfo=zone).astimezone(UTC)
    scene = Scene(store, replace(of_project(most={Measure.KWH: 100.0}), zone=zone), now=midnight - HOUR)
    scene.submit(2, start_now=True)
    scene.run(midnight + HOUR + MINUTE)
    assert scene.standing().period.start == midnight
    assert scene.used(Measure.KWH) == pytest.approx(WATTS.busy / 1000, abs=0.01)


# --- what is wanted of queued jobs later ---


def wanted(job: Job, **changes: Any) -> Job:
    return replace(job, spec=replace(job.spec, **changes))


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize(
    "changes", [{"duration": 7 * HOUR}, {"gpus": 7}, {"project": "nlp", "duration": 1.5 * HOUR}], ids=str
)
def test_an_edit_takes_no_more_than_there_is_beside_others(store: Store, changes: dict[str, Any], tries: int) -> None:
    """However often it is tried: of ten GPU-hours five are others', and of the other project's two one is."""
    most = {"vision": 10.0, "nlp": 2.0}
    budgets = Budgets(projects={name: Budget(most={Measure.GPU_HOURS: hours}) for name, hours in most.items()})
    scene = Scene(store, budgets, gpus=8)
    grows = scene.submit(1, start_after=T0 + HOUR)
    for hours, project in [(5, "vision"), (1, "nlp")]:
        scene.submit(hours, project=project, start_after=T0 + HOUR)
    for _ in range(tries):
        admitted = scene.engine.readmit([wanted(grows, **changes)], scene.world.now)
    assert isinstance(row := admitted.rows[0], Waiting)
    assert row.reason.code is ReasonCode.BUDGET_SPENT
    assert scene.standing().queued[Measure.GPU_HOURS] == pytest.approx(6.0)
    fits = scene.engine.readmit([wanted(grows, duration=4.9 * HOUR)], scene.world.now)
    assert not (isinstance(row := fits.rows[0], Waiting) and row.reason.code is ReasonCode.BUDGET_SPENT)


def test_an_edit_without_room_is_refused_where_submissions_are(store: Store) -> None:
    """But for one that takes no more than before, though a reload has made all budgets smaller than what is queued."""
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 10.0}, over=OverBudget.REFUSE, queued_jobs=2))
    first, _ = [scene.submit(4, start_after=T0 + HOUR) for _ in range(2)]
    with pytest.raises(InvalidJob, match="the budget of project vision has no room"):
        scene.engine.readmit([wanted(first, duration=7 * HOUR)], scene.world.now)
    scene.restart(of_project(most={Measure.GPU_HOURS: 3.0}, over=OverBudget.REFUSE, queued_jobs=1))
    for changes in [{"name": "other"}, {"priority": 3}, {"duration": HOUR}]:
        scene.engine.readmit([wanted(first, **changes)], scene.world.now)


CHANGES: dict[str, dict[str, Any]] = {
    "moved": {"project": "vision"},
    "longer": {"duration": 2 * HOUR},
    "wider": {"gpus": 2},
    "hotter": {"power_w": 900.0},
}


@pytest.mark.parametrize("change", ["released", *CHANGES])
def test_a_job_that_has_changed_is_looked_at_again_at_once(store: Store, change: str) -> None:
    """By what it is now, whatever place a plan had found for what it was; also at the instant of a decision.

    Otherwise that holds for a while where only submissions come.
    """
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 10.0, Measure.KG_CO2E: 10.5 * G_PER_HOUR / 1000}), gpus=2)
    scene.submit(8.5, start_after=T0 + HOUR)
    middle = {"project": "nlp" if change == "moved" else "vision", "start_after": T0 + HOUR}
    job = scene.submit(2 if change in ("released", "moved") else 1, **middle)
    scene.submit(0.1, start_after=T0 + HOUR)
    now = scene.world.now
    if change == "released":
        store.jobs.intend(Intent.HOLD, [job.id], actor="ada", now=now, permit=lambda job: job)
    scene.engine.tick(now)
    assert job.id not in scene.engine.budgets.withheld
    assert change == "released" or scene.engine.plan.placement(job.id) is not None
    if change == "released":
        store.jobs.intend(Intent.RELEASE, [job.id], actor="ada", now=now, permit=lambda job: job)
    else:
        there = scene.job(job)
        edit = Edit(before=there, spec=wanted(there, **CHANGES[change]).spec)
        store.jobs.edit([edit], actor="ada", now=now)
    scene.engine.situation(now)
    assert scene.engine.budgets.withheld[job.id].code is ReasonCode.BUDGET_SPENT


# --- what becomes of jobs without room ---


def test_over_a_budget_a_job_is_refused_where_the_site_says_so(store: Store) -> None:
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 2.0}, over=OverBudget.REFUSE))
    scene.submit(1.5)
    with pytest.raises(InvalidJob, match="the budget of project vision has no room for the job: of 2 GPU-hours this"):
        scene.submit(1)
    assert len(store.jobs.jobs()) == 1


def test_over_a_budget_a_job_waits_for_an_admin_where_the_site_says_so(store: Store) -> None:
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 1.0}, over=OverBudget.ASK))
    asks = scene.submit(1.5)
    scene.run(T0 + HOUR)
    assert scene.code(asks) is ReasonCode.BUDGET_APPROVAL
    (approved,) = store.jobs.intend(
        Intent.APPROVE, [asks.id], actor="root", now=scene.world.now, permit=lambda job: job
    )
    assert isinstance(approved, Job)
    (event,) = store.jobs.events(kinds=["budget_approved"])
    assert (event.actor, event.job_id, event.after) == ("root", asks.id, {"over_budget": True})
    scene.restart()
    scene.run(T0 + 3 * HOUR)
    assert scene.job(asks).state is State.SUCCEEDED
    assert scene.used(Measure.GPU_HOURS) == pytest.approx(1.5, abs=0.02)


def test_what_never_fits_is_refused_at_once_with_all_that_is_wrong(store: Store) -> None:
    """A job of more than a whole budget, and of more GPUs than a quota has, would wait for ever."""
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 3.0}, gpus=1))
    with pytest.raises(InvalidJob) as refused:
        scene.submit(2, gpus=2)
    assert sorted(row.field for row in refused.value.problems) == ["", "gpus"]
    assert "4 GPU-hours, more than the whole budget of project vision, 3 GPU-hours a month" in str(refused.value)
    assert "project vision may hold 1 GPU at once, and the job needs 2" in str(refused.value)


def test_a_limit_that_would_be_missed_is_said_and_kept_only_where_the_site_says_so(store: Store) -> None:
    scene = Scene(store, of_project(most={Measure.GPU_HOURS: 1.0}))
    scene.submit(1)
    pressed = scene.submit(0.5, finish_by=T0 + 5 * HOUR)
    reason = scene.engine.plan.reason(pressed.id)
    assert reason is not None
    assert reason.text.endswith("; so it will miss its limit of 2026-03-02 05:00:00Z")
    scene.restart(of_project(most={Measure.GPU_HOURS: 1.0}, keep_limits=True))
    scene.run(T0 + 5 * HOUR)
    assert scene.job(pressed).state is State.SUCCEEDED


def test_jobs_wait_for_the_gpus_of_a_quota_and_take_them_in_turn(store: Store) -> None:
    """Never more than one at once, although two GPUs are free, and the one with a limit first."""
    scene = Scene(store, of_project(gpus=1))
    first, second = scene.submit(1), scene.submit(1)
    pressed = scene.submit(1, finish_by=T0 + 3 * HOUR)
    assert scene.code(second) is ReasonCode.GPU_QUOTA
    scene.run(T0 + 5 * HOUR)
    runs = {job.id: store.runs.of_jobs([job.id])[job.id][0] for job in (first, second, pressed)}
    spans = sorted((run.started_at, run.ended_at) for run in runs.values() if run.started_at and run.ended_at)
    assert len(spans) == 3
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert (runs[pressed.id].started_at or APRIL) < (runs[second.id].started_at or APRIL)


def test_no_more_jobs_are_queued_than_a_quota_allows(store: Store) -> None:
    scene = Scene(store, Budgets(users={"*": Budget(queued_jobs=2)}))
    for _ in range(2):
        scene.submit(1, start_after=T0 + DAY)
    with pytest.raises(InvalidJob, match="user ada may have 2 jobs queued at once, and 2 are"):
        scene.submit(1)
    scene.submit(1, user="bob")


# --- what is not known ---


def test_energy_that_nobody_measured_is_charged_by_an_estimate_and_that_is_told(store: Store) -> None:
    """While the meter is away a run's energy is not known; what it would draw is charged in its place."""
    scene = Scene(store, of_project(most={Measure.KWH: 10.0}))
    job = scene.submit(1)
    scene.run(T0 + 2 * HOUR)
    whole = scene.used(Measure.KWH)
    with store.database.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE slices SET energy_j = NULL, quality = 'unknown', booked_g = NULL, settled_g = NULL "
            "WHERE id IN (SELECT id FROM slices WHERE run_id IS NOT NULL ORDER BY id LIMIT 30)"
        )
    scene.restart()
    used = scene.standing().used[Measure.KWH]
    assert used.value == pytest.approx(whole, rel=0.02)
    assert used.assumed == pytest.approx(whole / 2, rel=0.05)
    assert scene.job(job).state is State.SUCCEEDED


def test_a_job_of_unknown_power_is_expected_to_draw_what_its_gpus_do(store: Store) -> None:
    settings = {"options": Options(due_grace=MINUTE)}
    scene = Scene(store, of_project(most={Measure.KWH: 1.0}), settings=settings)
    scene.submit(2, power_w=None)
    waits = scene.submit(2, power_w=None)
    reason = scene.engine.plan.reason(waits.id)
    assert reason is not None
    assert "0.6 kWh (its power is not known, so 300 W for each GPU are assumed)" in reason.text


def test_money_is_what_the_electricity_of_each_hour_costs(store: Store) -> None:
    def price(start: datetime, end: datetime) -> Steps:
        edge = T0 + HOUR
        rows = [Span(start, edge, 0.5), Span(edge, end, 0.1)] if start < edge < end else [Span(start, end, 0.1)]
        return Steps.of(rows)

    scene = Scene(store, of_project(most={Measure.MONEY: 1.0}), price=price)
    scene.submit(2, start_now=True)
    scene.run(T0 + 3 * HOUR)
    assert scene.used(Measure.MONEY) == pytest.approx(WATTS.busy / 1000 * 0.6, rel=0.02)


# --- cleaner hours ---


def test_jobs_of_a_tight_budget_of_grams_wait_for_cleaner_hours_although_they_asked_to_start(store: Store) -> None:
    """Started at once both would emit 420 g; in the clean night after it 70 g, and so both fit into 200 g."""
    dirty_then_clean = [600.0] * 8 + [100.0] * 48 * 4
    scene = Scene(store, of_project(most=grams(0.2)), values=dirty_then_clean)
    jobs = [scene.submit(1, run_below_g_per_kwh=1000.0), scene.submit(1, run_below_g_per_kwh=1000.0)]
    scene.run(T0 + 8 * HOUR)
    assert [scene.job(job).state for job in jobs] == [State.SUCCEEDED] * 2
    assert scene.used(Measure.KG_CO2E) <= 0.2
    starts = [store.runs.of_jobs([job.id])[job.id][0].started_at or T0 for job in jobs]
    assert max(starts) >= T0 + 4 * HOUR


def test_jobs_that_a_month_has_let_go_may_still_wait_for_a_clean_hour(store: Store) -> None:
    """A longest delay of a day had passed long ago; that the budget was spent is not held against the job."""
    values = [300.0] * 48 * 30 + [500.0] * 8 + [50.0] * 48 * 4
    settings = {"options": Options(gpu_power_w=WATTS.busy, due_grace=MINUTE, default_max_delay=4 * HOUR)}
    budgets = of_project(most={Measure.GPU_HOURS: 1.0})
    scene = Scene(store, budgets, values=values, settings=settings, now=APRIL - 7 * HOUR)
    scene.submit(1, start_now=True)
    waits = scene.submit(1)
    scene.run(APRIL + 6 * HOUR)
    (run,) = store.runs.of_jobs([waits.id])[waits.id]
    assert run.started_at is not None
    assert run.started_at >= APRIL + 4 * HOUR
    assert run.outcome is Outcome.SUCCEEDED
