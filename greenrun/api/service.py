"""What the routes need of the rest of the daemon: the store, the scheduler, a few settings and the clock."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Protocol

from fastapi import Depends, Request

from greenrun import __version__
from greenrun.api.ports import ApiStore
from greenrun.api.sign_in.entrance import Entrance
from greenrun.core.budgets.budget import Budgets, Owner
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.expected_use import Need
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.conditions import STALLED_AFTER, Condition
from greenrun.core.energy.model import Device
from greenrun.core.energy.power_limit import LimitPeriod, PowerCap
from greenrun.core.jobs.access import AccessRules
from greenrun.core.jobs.availability import Drain, GpuState
from greenrun.core.jobs.job import Job, JobSpec, Origin, RequestKey
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.runs.resource_limits import ResourceRules
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.core.jobs.site_variables import VariableRules
from greenrun.core.jobs.transitions import Edit
from greenrun.core.planning.model import Placement, Plan, Waiting
from greenrun.core.planning.power_cap.planned_power import PlannedPower
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.core.planning.power_capping.capping_rule import Capping
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.executors.containers.engines import ContainerEngine
from greenrun.grid.backfill import Backfill
from greenrun.grid.forecast_quality import ForecastQuality
from greenrun.grid.sources import Sources
from greenrun.metrics import Health
from greenrun.reports.build import Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Where a job that is not stored yet would be placed, or why it would wait; one of the two is set."""

    placement: Placement | None = None
    waiting: Waiting | None = None

    @property
    def reason(self) -> Reason | None:
        """Why it would start when it would, or why it would wait."""
        row = self.placement or self.waiting
        return row.reason if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that is stored now, whether it was not before, and where it would be placed."""

    job: Job
    is_new: bool
    preview: Preview


class Strays(Protocol):
    """The runs that are alive here and that the database does not know."""

    def current(self) -> Sequence[StrayRun]:
        """Return them."""

    def end(self, label: str, by: str, origin: Origin | None = None) -> StrayRun:
        """Have one stopped; raise JobNotFound for another label, ExecutorError when it cannot be asked."""


class Host(Protocol):
    """The devices of this host: who uses them, and on which nothing is to be started."""

    def devices(self) -> Sequence[Device]:
        """Return the devices of this host, in index order."""

    def gpu_state(self, device: Device) -> GpuState:
        """Return whether jobs may be started on a GPU, and who else uses it, as of the last tick."""

    def drains(self) -> Sequence[Drain]:
        """Return what is drained, by device."""

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> Sequence[Drain]:
        """Start nothing there from now on; return all that is drained then; raise StoreError."""

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        """Let jobs be started there again (everywhere, without any); return what is drained then; raise StoreError."""

    def reservations(self, now: datetime) -> Sequence[Reservation]:
        """Return the reservations that are not over, and those of the settings as they come next, by their names."""

    def reserve(
        self, asked: Reservation, *, names: Sequence[str], count: int | None, now: datetime, origin: Origin | None
    ) -> Reservation:
        """Reserve GPUs that are named, or so many; raise InvalidInput with all that is wrong, or StoreError."""

    def end_reservation(self, number: int, *, user: str, now: datetime, origin: Origin | None) -> Reservation:
        """End one; raise ReservationNotFound, or StoreError."""

    def powers_w(self) -> Mapping[str, float]:
        """Return what each GPU drew in the last seconds, by id; those that cannot say are left out."""

    def idle_powers_w(self) -> Mapping[str, float]:
        """Return the learned idle power of each GPU by id; those not known are left out."""

    def held_elsewhere(self) -> Mapping[str, str]:
        """Return the devices that somebody outside this daemon holds, with who."""

    def power_limit_trouble(self, devices: Sequence[str] = ()) -> str | None:
        """Return why the power limit of none of these GPUs (of any) can be set, without a full stop; None if some can.

        May ask a driver.
        """

    def power_limits(self) -> Mapping[str, LimitPeriod]:
        """Return the power limits that are lowered now, by device, as of the last tick."""

    def cappings(self) -> Mapping[int, Capping]:
        """Return what is wanted of the power limits of each live run that allows a lower one, as of the last tick."""


class KeptBudgets(Protocol):
    """How budgets and quotas stand, as of the last tick."""

    @property
    def rules(self) -> Budgets:
        """The budgets as they are set."""

    @property
    def standings(self) -> Mapping[Owner, Standing]:
        """How those stand that anybody uses or that are set by name; replaced, never changed."""

    def standing(self, owner: Owner, now: datetime) -> Standing | None:
        """Return how an owner's budget stands, whether or not anybody has used it; None without one."""

    def expected(self, spec: JobSpec, user: str, row: Placement | None, now: datetime) -> Need:
        """Return what a job is expected to use: at its place, else in the cleanest hours of the time it has."""


class Scheduler(Protocol):
    """The part of the daemon that plans; every method answers from memory or within one planning run.

    It also gives access to the sources and the backfill; calls of these may take as long as a source does.
    """

    @property
    def sources(self) -> Sources:
        """The configured sources of carbon intensity."""

    @property
    def backfill(self) -> Backfill:
        """What imports and fetches past values."""

    @property
    def reports(self) -> Reports:
        """What makes reports of what is in the books."""

    @property
    def host(self) -> Host:
        """The devices of this host."""

    @property
    def budgets(self) -> KeptBudgets:
        """How budgets and quotas stand."""

    @property
    def strays(self) -> Strays:
        """The runs that are alive here and that the database does not know."""

    @property
    def quality(self) -> ForecastQuality:
        """How good forecasts were, as of the last evaluation."""

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> Sequence[Preview]:
        """Plan the queue with these jobs added, storing nothing; raise InvalidJob when one cannot be run as stated."""

    def submit(
        self,
        specs: Sequence[JobSpec],
        *,
        user: str,
        uid: int,
        now: datetime,
        request: RequestKey | None = None,
        origin: Origin | None = None,
    ) -> Sequence[Submitted]:
        """Store the jobs, all or none, if each can be run as stated beside all others; raise InvalidJob, StoreError.

        A `request` that asked for them is stored with them; raise KnownRequest when its key is known already, and
        KeyOfAnotherJob when a unique key has become that of a job with another command.
        """

    def edit(self, edits: Sequence[Edit], *, actor: str, now: datetime, origin: Origin | None = None) -> Sequence[Job]:
        """Change what jobs are, or requeue them, all or none, if each can be run as stated beside all others.

        Raise InvalidJob, InvalidTransition when one is not as it was seen, StoreError.
        """

    def try_edit(self, edits: Sequence[Edit], *, actor: str, now: datetime) -> Sequence[Job]:
        """Return what jobs would be after these edits, and change nothing; raise InvalidJob as `edit` does."""

    def plan(self) -> Plan:
        """Return the latest plan."""

    def site_power(self) -> tuple[SitePowerState, Sequence[PlannedPower]]:
        """Return what is drawn under the site's power cap, and what is planned under it."""

    def turn_text(self, job_id: int) -> str | None:
        """Say when a queued job has its turn by fair share; None where that makes no difference."""

    def wake(self, changed: Sequence[Job]) -> None:
        """Show in the plan what users want of these jobs now, and have a new one made soon."""

    def health(self) -> Health:
        """Return when the daemon's parts last did something."""

    def conditions(self) -> Sequence[Condition]:
        """Return what is wrong with the daemon or its machine at present, as far as the daemon itself looks for it."""

    def active_forecast(self, zone: str | None) -> ActiveForecast | None:
        """Return a watched zone's active forecast as of the last tick (None: this host's own), None for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What the API takes from the settings; `also` are the zones that are watched in addition to the host's own.

    `told_of` is what hooks of the site can be told of.
    """

    zone: str | None
    also: tuple[str, ...] = ()
    default_duration: timedelta = timedelta(hours=4)
    default_max_delay: timedelta = timedelta(hours=24)
    duration_quantile: float = 0.8
    max_queued: int = 20_000
    told_of: tuple[str, ...] = ()
    stalled_after: timedelta = STALLED_AFTER
    body_limit_bytes: int = 32 << 20  # 10,000 jobs, each with an environment of its own
    body_limit_s: float = 30.0
    access: AccessRules = field(default_factory=AccessRules)
    variables: VariableRules = field(default_factory=VariableRules)
    resources: ResourceRules = field(default_factory=ResourceRules)
    default_cap: PowerCap | None = None  # of the power limit, for jobs that do not say
    lowers_power_limits: bool = True
    container_engine: ContainerEngine = ContainerEngine.AUTO
    hosts: tuple[str, ...] = ()  # names of this host that the metrics may be asked by, beside those of loopback
    is_shared: bool = False  # by users of the machine, as whom their jobs run
    version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The rest of the daemon, as the routes see it."""

    store: ApiStore
    scheduler: Scheduler
    settings: ServiceSettings
    now: Callable[[], datetime]
    entrance: Entrance


async def _service(request: Request) -> Service:  # async: a plain function would be handed to a thread
    found: Service = request.app.state.service
    return found


ServiceDep = Annotated[Service, Depends(_service)]
