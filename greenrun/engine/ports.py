"""The engine's ports, all in one place: providers, executor, meter and stores.

They are structural: an adapter matches by its methods. Each part of the engine names the narrowest that it needs; what
is put together here from several is for those who hand them on.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from greenrun.core.budgets.charges import ChargedHour
from greenrun.core.carbon.intensity import Forecast, Series, SeriesId
from greenrun.core.energy.baseline import Comparable, Compared
from greenrun.core.energy.ledger import Entry, Priced, Stage, UnsettledSlice
from greenrun.core.energy.merging import WITHIN
from greenrun.core.energy.model import Device, GpuUse, Mark, Reading
from greenrun.core.energy.power_limit import LimitAnswer, LimitChange, LimitEnd, LimitPeriod
from greenrun.core.jobs.availability import Drain, ProcessOwner
from greenrun.core.jobs.history import FinishedJob, GpuTime
from greenrun.core.jobs.job import Anomaly, Job, Origin, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode, RuleResult
from greenrun.core.jobs.runs.status import EndedBy as EndedBy
from greenrun.core.jobs.runs.status import Phase as Phase
from greenrun.core.jobs.runs.status import RunStatus as RunStatus
from greenrun.core.planning.model import Plan
from greenrun.core.planning.site_limits.reserved import Reservation


class ForecastProvider(Protocol):
    """Forecasts carbon intensity, in series of its `name`. `refresh_every`: how often a new request can bring news."""

    name: str
    refresh_every: timedelta

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast known at `now`, its slots in time order; raise ProviderError."""


class HistoryProvider(Protocol):
    """Reports measured intensities. A value counts as final `settle_after` past its slot's end."""

    name: str
    settle_after: timedelta

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots inside `[start, end)` that are published at `now`; raise ProviderError."""


class Executor(Protocol):
    """Starts runs and reports their status; works after a restart of either side."""

    def room(self, gpus: int = 0) -> AbstractContextManager[None]:
        """Keep ready what a start with so many GPUs takes, for the block; raise HostShort while that is lacking."""

    def start(self, run: Run, job: Job) -> None:
        """Spawn the run's supervisor and return; raise ExecutorError when nothing was spawned.

        It is a StartPostponed where that is not the job's fault.
        """

    def poll(self, run: Run) -> RunStatus:
        """Return the run's status now. LOST is reported only after its whole process tree is gone."""

    def fence(self, run: Run) -> bool:
        """Make sure an ABSENT run can never start; return False when it did start after all."""

    def stop(self, run: Run, by: str) -> None:
        """Ask for TERM, the job's grace, then KILL; idempotent, also over a checkpoint. `by` says who asked."""

    def checkpoint(self, run: Run, by: str) -> None:
        """Ask for the job's checkpoint signal, to its main process alone, and after its grace for a stop.

        Idempotent, and nothing once a stop was asked for. Until the run ends, `poll` says `is_checkpointing`; so it
        does, whatever becomes of the daemon, as soon as anything was done.
        """

    def held_elsewhere(self, devices: Sequence[str]) -> Mapping[str, str]:
        """Return those devices that somebody outside this store holds, with who."""

    def owners(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        """Return whose these processes are, as far as that can be told; `live` are the runs that have not ended."""


class OpenExecutor(Executor, Protocol):
    """An executor as the daemon owns it: it also cleans up after finished runs, and has to be closed."""

    def prune(self, keep: set[str], before: datetime) -> int:
        """Delete what is left of runs that changed last before `before`, except labels in `keep`; return how many.

        `keep` must hold the label of every live run. Raise ExecutorError.
        """

    def close(self) -> None:
        """Release what this executor holds; runs go on. Harmless when repeated."""


class Meter(Protocol):
    """Reports the devices of this host and their cumulative energy; a missed read loses nothing."""

    def devices(self) -> Sequence[Device]:
        """Return the devices it meters, GPUs and others, each kind in index order."""

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return the readings after `since[device]` (all it still has, for a device not in it), in time order.

        The last reading of each device is as fresh as it can be had at once; the call never waits for a hung driver.
        """

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return what was last told of who uses each GPU, and of those that are lost; a GPU not told of is absent.

        That is asked every few seconds, and now if it `is_urgent`; the call never waits for a hung driver.
        """


class PowerLimits(Protocol):
    """Reads and sets the power limits that the drivers of GPUs enforce."""

    def change(self, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        """Set the limits of devices, each only if it is as expected; return what each reads now, or why that failed.

        Every device has an answer, within seconds; the call never raises.
        """


class JobReader(Protocol):
    """Returns jobs."""

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""


class ReasonStore(Protocol):
    """Keeps why jobs are where they are."""

    def set_reason(self, reasons: Mapping[int, Reason], *, now: datetime) -> None:
        """Keep the latest reason of unfinished jobs; an event is written for a job whose reason's code changed."""


class QueueStore(Protocol):
    """Keeps the jobs that wait. A transition that lost its race returns False."""

    def unfinished(self) -> Mapping[int, Job]:
        """Return the unfinished jobs by id, in order: the very same mapping for as long as none of them changes."""

    def last_id(self) -> int:
        """Return the id of the latest job that was ever stored; 0 before the first."""

    def job_states(self, job_ids: Collection[int]) -> Mapping[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""

    def change_states(
        self, old: State, moves: Mapping[int, tuple[State, Reason]], *, actor: str, now: datetime
    ) -> bool:
        """Compare-and-set the state of jobs without a live run from `old` to new ones, all of them or none."""

    def end_pauses(self, job_ids: Collection[int], *, now: datetime) -> None:
        """Let these jobs be tried again at once, without the rest of a pause after a failure."""

    def miss_limits(self, job_ids: Collection[int], *, now: datetime) -> None:
        """Count, once each, that these jobs have missed a limit of their user's while they wait."""


class JobStore(JobReader, ReasonStore, QueueStore, Protocol):
    """Keeps the jobs."""

    def submissions(self, since: datetime, limit: int) -> Sequence[Job]:
        """Return the jobs submitted at or after `since`, whatever became of them, by id; the newest `limit` of them."""


class RunReader(Protocol):
    """Returns runs."""

    def live_runs(self) -> Sequence[Run]:
        """Return the runs without an outcome, by id."""

    def of_jobs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""


class RunLifecycle(RunReader, Protocol):
    """Keeps the runs, from claim to end. A step that lost its race returns False or None."""

    def claim(self, job_id: int, devices: Sequence[str], *, reason: Reason, now: datetime) -> Run | None:
        """Move queued to starting, add the run and lease its devices, all or nothing; None when the race was lost."""

    def confirm(self, run_id: int, *, started_at: datetime, log: str | None, now: datetime) -> bool:
        """Move starting to running: the executor has it since `started_at`."""

    def close_run(
        self,
        run_id: int,
        *,
        outcome: Outcome,
        exit_code: int | None,
        started_at: datetime | None,
        ended_at: datetime,
        log: str | None,
        job_state: State,
        reason: Reason,
        now: datetime,
        progress: timedelta | None = None,
        retry_at: datetime | None = None,
        ran: timedelta | None = None,
        image: str | None = None,
    ) -> bool:
        """End a live run, free its devices and move its job to `job_state` at once; False when it had ended already.

        `progress` is what a run that ended CHECKPOINTED has done of its job; it is added to the job's. The job is not
        claimed before `retry_at`. `ran` is how long it took by a clock that nobody can set.
        """


class WorkStore(Protocol):
    """Keeps what runs say to have done."""

    def gpu_time(self, *, after: int, among: Collection[int], since: datetime) -> Sequence[GpuTime]:
        """Return for how long ended runs held GPUs: ids above `after`, or among these, that ended from `since` on.

        Runs without GPUs are left out.
        """

    def keep_work(self, run_id: int, *, work: float, unit: str, at: datetime) -> bool:
        """Keep what a run says to have done, unless that is no more than before; False when nothing was changed."""

    def note_ignored_work(self, run_id: int, why: str, *, now: datetime) -> bool:
        """Add an event that the work a run reported was ignored; False when it has one already."""


class AnomalyNotes(WorkStore, Protocol):
    """Keeps the anomalies of runs, and the work that they are judged by."""

    def note_anomaly(self, run_id: int, result: RuleResult, anomaly: Anomaly, *, stop: bool, now: datetime) -> bool:
        """Add an event that an anomaly of a live run began or is over, as `result` says, and count those that began.

        With `stop`, its job is asked to end at once, with a reason that says why. False when the run had ended.
        """

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[AnomalyEpisode]]:
        """Return the anomalies of each run of these jobs by its id, in order; a run without any is absent."""


class RunStore(RunLifecycle, AnomalyNotes, Protocol):
    """Keeps the runs, their progress and their anomalies."""


class FinishedJobStore(Protocol):
    """Returns finished jobs, to learn from them."""

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        """Return the user's latest succeeded jobs of this stated name ("": those without one) or project, newest first.

        Only the newest of each have their energy, and only where all of it was measured or integrated.
        """


class IntensityReader(Protocol):
    """Returns measured intensities of the grid."""

    def intensities(
        self, series_id: SeriesId, start: datetime, end: datetime, *, final_after: timedelta | None = None
    ) -> Series:
        """Return the latest revision of the measured slots that touch `[start, end)`.

        With `final_after` only those that were fetched, or fetched again unchanged, that long past their end or later.
        """


class IntensityWriter(Protocol):
    """Keeps measured intensities of the grid."""

    def save_intensities(self, series: Series, *, fetched_at: datetime) -> int:
        """Keep measured values; a changed value becomes a new revision. Return how many rows were new."""


class OutlookReader(Protocol):
    """Returns what an outlook is learned from."""

    def issues(self, zone: str, since: datetime, every: timedelta) -> Sequence[Forecast]:
        """Return the forecasts of a zone as they were first fetched, the first of each series in every `every`."""

    def measured(self, zone: str, start: datetime, end: datetime, *, without: Collection[str] = ()) -> Series | None:
        """Return what `intensities` does, of that series of the zone which covers most of it; None when it has none.

        Series that end a day before the one that reaches furthest are out of use, as are those of sources in `without`.
        """


class GridStore(IntensityReader, IntensityWriter, OutlookReader, Protocol):
    """Keeps forecasts and measured intensities of the grid."""

    def save_forecast(self, forecast: Forecast) -> bool:
        """Keep a forecast as issued; False when it says just what the last one of its series said."""

    def forecasts(self, zone: str, since: datetime) -> Sequence[Forecast]:
        """Return the forecasts fetched at or after `since`, and the last one before it, oldest first."""


class SettlementStore(Protocol):
    """Returns slices that wait for a price, and keeps it."""

    def unsettled(
        self, before: datetime, *, after: datetime | None = None, limit: int = 5000, stage: Stage = Stage.SETTLED
    ) -> Sequence[UnsettledSlice]:
        """Return the slices that ended after `after` and by `before` and are not settled, oldest first."""

    def settle(self, prices: Mapping[int, Priced], *, now: datetime, stage: Stage = Stage.SETTLED) -> int:
        """Book the settled (or marginal) price of each slice id once; return how many were new."""


class BookStore(SettlementStore, Protocol):
    """Keeps slices of energy and their prices."""

    def marks(self) -> Mapping[str, Mark]:
        """Return how far each device's energy is booked."""

    def append_slices(
        self,
        entries: Sequence[Entry],
        marks: Sequence[Mark],
        *,
        now: datetime,
        waits_for: Collection[Stage] = (Stage.SETTLED,),
    ) -> None:
        """Book slices with the price known now, move the marks and count the totals, all or nothing.

        The slices of a device whose mark moves follow one another from its old mark on; StoreError otherwise.
        """

    def count_beside(self, energy_j: Mapping[str, float], marks: Sequence[Mark]) -> None:
        """Count what meters outside the books counted, in J by device, and move their marks, all or nothing."""

    def holds(self, since: datetime) -> Sequence[Run]:
        """Return every run that had started and was live at or after `since`: whose energy may still be booked."""

    def charged_hours(self, start: datetime, end: datetime) -> Sequence[ChargedHour]:
        """Return what the slices of each account that began in `[start, end)` add up to by the hour."""

    def merge(self, before: datetime, *, limit: int = 200, step: timedelta = WITHIN) -> bool:
        """Merge slices that began in whole steps before this and cannot change any more, every sum staying what it was.

        It sees some `limit` of them; return whether to go on: False once a round is over.
        """


class BaselineStore(Protocol):
    """Keeps what runs would have emitted, had they started as soon as they could."""

    def uncompared(self, before: datetime, *, after: int = 0, limit: int = 500) -> Sequence[int]:
        """Return the runs with an id above `after` that ended by `before` and wait to be compared, by id."""

    def comparable(self, run_ids: Sequence[int], now: datetime, *, most_slices: int = 5000) -> Sequence[Comparable]:
        """Return the first of these runs, up to so many slices, of which all is booked and settled."""

    def book_baselines(self, compared: Sequence[Compared], *, now: datetime) -> int:
        """Book what the slices of these runs would have emitted, or why that is unknown, once; return how many."""


class PlanStore(Protocol):
    """Keeps the last plan."""

    def save_plan(self, plan: Plan, *, now: datetime) -> None:
        """Keep a plan, in place of the last one, so that a restarted daemon plans as if it had gone on."""

    def last_plan(self) -> Plan | None:
        """Return the plan that was saved last, equal to what was saved; None when there is none that can be read."""


class DrainStore(Protocol):
    """Keeps on which GPUs nothing is to be started."""

    def drains(self) -> Sequence[Drain]:
        """Return what is drained now, by device."""

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> None:
        """Keep these, each in place of what was said of the same device before, with an event for each."""

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        """Forget the drains of these devices (of all, without any), with an event for each; return them."""


class PowerLimitStore(Protocol):
    """Keeps the power limits that were set for runs, from before they are set until they are undone."""

    def in_force(self) -> Sequence[LimitPeriod]:
        """Return the limits that are set, or about to be, by id."""

    def of_runs(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[LimitPeriod]]:
        """Return the limits that were set for each of these runs, in order; a run that had none is absent."""

    def begin(self, periods: Sequence[LimitPeriod]) -> Sequence[LimitPeriod]:
        """Keep limits that are about to be set, and return them as kept; leave out devices that have one already."""

    def keep(self, kept_w: Mapping[int, float], *, now: datetime) -> None:
        """Note that these limits, by their ids, were read back, as so many watts, with an event for each."""

    def end(
        self, period_id: int, end: LimitEnd, *, now: datetime, limit_w: float | None, work: float | None, why: str = ""
    ) -> bool:
        """Note how a limit ended, at what the device's limit is now, with an event; False if it had ended already."""


class ReservationStore(Protocol):
    """Keeps which GPUs are reserved for people."""

    def reservations(self) -> Sequence[Reservation]:
        """Return those that are kept, in order of start; some may be over."""

    def reserve(self, asked: Reservation, *, now: datetime, origin: Origin | None = None) -> Reservation:
        """Keep one, with an event, and return it with its id; those that are over are forgotten."""

    def end_reservation(
        self, number: int, *, user: str, now: datetime, origin: Origin | None = None
    ) -> Reservation | None:
        """Forget one that is not over, with an event, and return it; None if there is no such."""


class EngineStore(Protocol):
    """What the engine keeps, by subject. Acknowledged means durable; every write is one short transaction."""

    @property
    def jobs(self) -> JobStore: ...

    @property
    def runs(self) -> RunStore: ...

    @property
    def history(self) -> FinishedJobStore: ...

    @property
    def grid(self) -> GridStore: ...

    @property
    def books(self) -> BookStore: ...

    @property
    def baselines(self) -> BaselineStore: ...

    @property
    def plans(self) -> PlanStore: ...

    @property
    def drains(self) -> DrainStore: ...

    @property
    def power_limits(self) -> PowerLimitStore: ...

    @property
    def reservations(self) -> ReservationStore: ...
