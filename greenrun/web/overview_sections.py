"""What the first page shows, as one visitor may see it: rows and cards, ready for its templates.

Who is not known sees what /metrics tells to everybody on this machine, and no more: of running jobs what the site
lists, of those that wait only how many do and why.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from greenrun.api.job_models import JobOut
from greenrun.api.routes.budgets import BudgetOut, get_budgets
from greenrun.api.routes.status import conditions_of
from greenrun.api.service import Service
from greenrun.api.visibility import hides_jobs, seen_jobs
from greenrun.core.carbon.intensity import Signal
from greenrun.core.conditions import Condition
from greenrun.core.energy.ledger import sum_of_known
from greenrun.core.energy.model import Quality, boards, gpus
from greenrun.core.jobs.access import Sharing, Viewer, name_for_others
from greenrun.core.jobs.job import LIVE, Job, Run, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.web.rendering import capitalised

MOST_RUNNING = 30
MOST_WAITING = 25
MOST_BUDGETS = 12
_LOOKED_THROUGH = 500  # rows of the plan, for those that the visitor may see

Powers = Mapping[str, float]  # of GPUs, by id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRow:
    """A job that runs: since when, until when it is expected to, and what it draws and has emitted so far."""

    id: int
    name: str
    user: str
    state: str
    devices: tuple[str, ...]
    lanes: tuple[str, ...]
    gpus: int
    since: datetime | None
    until: datetime | None
    power_w: float | None
    energy_j: float | None
    energy_quality: Quality | None
    emissions_g: float | None
    may_act: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A job that waits: when it is to run, and why then, or why it has no place."""

    id: int
    name: str
    user: str
    gpus: int
    start: datetime | None
    end: datetime | None
    g_per_kwh: float | None
    signal: Signal | None
    expected_g: float | None
    start_now_g: float | None
    held: bool
    reason: str
    may_act: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many jobs wait for one reason."""

    reason: str
    jobs: int


def running_rows(daemon: Service, visitor: Viewer | None) -> list[RunningRow]:
    """Return the jobs that run, as far as they are shown, at most MOST_RUNNING."""
    live = daemon.store.runs.live_runs()[:MOST_RUNNING]
    jobs = {job.id: job for job in daemon.store.jobs.jobs(tuple(LIVE), limit=2 * MOST_RUNNING)}
    runs = {run.job_id: run for run in live if run.job_id in jobs}
    there = [jobs[job_id] for job_id in runs]
    powers, lanes = daemon.scheduler.host.powers_w(), gpu_lanes(daemon)
    if visitor is not None:
        outs = seen_jobs(daemon, visitor, there)
        return [_running(out, jobs[out.id], runs[out.id], powers, lanes, daemon) for out in outs if out.id is not None]
    if daemon.settings.access.others is Sharing.PRIVATE:
        return []
    totals = daemon.store.books.run_totals([run.id for run in runs.values()])
    shows_commands = daemon.settings.access.others is Sharing.OPEN
    rows = []
    for job in there:
        run, total = runs[job.id], totals.get(runs[job.id].id)
        rows.append(
            RunningRow(
                id=job.id, name=job.name if shows_commands else name_for_others(job), user=job.user,
                state=job.state.value, devices=run.devices, lanes=_lanes_of(run, lanes), gpus=job.spec.gpus,
                since=run.started_at, until=None, power_w=_sum(powers, run), energy_j=total.energy_j if total else None,
                energy_quality=total.quality if total else None,
                emissions_g=total.emissions_g if total else None,
            )
        )  # fmt: skip
    return rows


def _running(
    out: JobOut, job: Job, run: Run, powers: Powers, lanes: Mapping[str, str], daemon: Service
) -> RunningRow:  # fmt: skip
    told = out.runs[-1] if out.runs else None
    is_told = out.access != "listed"
    until = expected_end(job, run, daemon.now())
    return RunningRow(
        id=job.id, name=out.name, user=out.user, state="stopping" if job.cancel_requested else job.state.value,
        devices=run.devices, lanes=_lanes_of(run, lanes), gpus=job.spec.gpus, since=run.started_at, until=until,
        power_w=_sum(powers, run) if is_told else None, energy_j=told.energy_j if told else None,
        energy_quality=told.energy_quality if told else None,
        emissions_g=told.emissions_g if told else None, may_act=out.access == "all" and not job.cancel_requested,
    )  # fmt: skip


def expected_end(job: Job, run: Run, now: datetime) -> datetime:
    """Return when a run is expected to end; one that takes longer than expected, any moment."""
    return max(now, (run.started_at or now) + job.remaining)


def _sum(powers: Powers, run: Run) -> float | None:
    """Return what the GPUs of a run draw; None where one of them cannot say, or it has none."""
    drawn = [powers.get(device) for device in run.devices]
    return sum(w for w in drawn if w is not None) if drawn and None not in drawn else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPower:
    """What the GPUs draw that tell it; `silent` are how many do not, so that more is drawn than is told."""

    power_w: float | None
    silent: int


def gpu_power(daemon: Service) -> GpuPower:
    """Return what all GPUs draw together, each board once; None where none tells it."""
    powers = daemon.scheduler.host.powers_w()
    drawn = [powers.get(board.id) for board in boards(daemon.scheduler.host.devices())]
    return GpuPower(power_w=sum_of_known(drawn), silent=drawn.count(None))


def gpu_lanes(daemon: Service) -> dict[str, str]:
    """Return the lane of each GPU that a job can get, by its id: parts of one board have a lane each."""
    return {device.id: f"GPU {device.name}" for device in gpus(daemon.scheduler.host.devices())}


def _lanes_of(run: Run, lanes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(lanes[device] for device in run.devices if device in lanes)


def queue_rows(daemon: Service, visitor: Viewer) -> list[QueueRow]:
    """Return the jobs that start next, then those that have no place, as far as they are shown."""
    outs: list[JobOut] = []
    ids = _planned_ids(daemon)
    while len(outs) < MOST_WAITING and (some := list(islice(ids, MOST_WAITING))):
        outs += seen_jobs(daemon, visitor, [job for job in jobs_there(daemon, some) if job.state is State.QUEUED])
    known = {out.id for out in outs}
    if len(outs) < MOST_WAITING:  # submitted since the plan was made
        uid = visitor.uid if hides_jobs(daemon, visitor) else None
        newest = daemon.store.jobs.jobs((State.QUEUED,), uid=uid, limit=MOST_WAITING, newest_first=True)
        outs += seen_jobs(daemon, visitor, [job for job in newest if job.id not in known])
    return [_waiting(out) for out in outs[:MOST_WAITING]]


def _planned_ids(daemon: Service) -> Iterator[int]:
    plan = daemon.scheduler.plan()
    yield from (row.job_id for row in islice(plan.placements, _LOOKED_THROUGH))
    yield from (row.job_id for row in islice(plan.waiting, _LOOKED_THROUGH))


def jobs_there(daemon: Service, ids: Sequence[int]) -> Sequence[Job]:
    """Return the jobs that are still there, in order: one may have been deleted since."""
    there = daemon.store.jobs.job_states(ids)
    return daemon.store.jobs.jobs_of([job_id for job_id in ids if job_id in there])


def _waiting(out: JobOut) -> QueueRow:
    planned = out.planned
    return QueueRow(
        id=out.id or 0, name=out.name, user=out.user, gpus=out.gpus, start=planned.start if planned else None,
        end=planned.end if planned else None, g_per_kwh=planned.g_per_kwh if planned else None,
        signal=planned.signal if planned else None,
        expected_g=planned.expected_g if planned else None, start_now_g=planned.start_now_g if planned else None,
        held=out.held, reason=capitalised(out.reason.text) if out.reason else "", may_act=out.access == "all",
    )  # fmt: skip


def reason_counts(daemon: Service) -> list[ReasonCount]:
    """Return why jobs wait and how many, the most first: what is told to everybody."""
    plan = daemon.scheduler.plan()
    running = {run.job_id for run in daemon.store.runs.live_runs()}
    codes: Counter[ReasonCode] = Counter(
        row.reason.code for rows in (plan.placements, plan.waiting) for row in rows if row.job_id not in running
    )
    return [ReasonCount(reason=code.value.replace("_", " "), jobs=count) for code, count in codes.most_common()]


def budgets(daemon: Service, visitor: Viewer | None) -> list[BudgetOut]:
    """Return the budgets that the visitor may see, the fullest first."""
    if visitor is None or not daemon.scheduler.budgets.rules:
        return []
    found = get_budgets(daemon, visitor).budgets
    return sorted(found, key=lambda row: -max((line.ratio for line in row.lines), default=0.0))[:MOST_BUDGETS]


def conditions(daemon: Service) -> list[Condition]:
    """Return what is wrong with the daemon or its machine."""
    return conditions_of(daemon, daemon.scheduler.health())


def next_start(daemon: Service) -> datetime | None:
    """Return when the next job is planned to start that does not run; None where nothing is planned."""
    running = {run.job_id for run in daemon.store.runs.live_runs()}
    return next((row.start for row in daemon.scheduler.plan().placements if row.job_id not in running), None)


def month_start(now: datetime) -> datetime:
    """Return the first instant of this month (UTC)."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
