"""The state of the running daemon that metrics show and the store does not hold."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenrun import __version__
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.carbon.fallback import ActiveForecast, ReceivedForecast
from greenrun.core.carbon.intensity import Signal
from greenrun.core.conditions import Condition
from greenrun.core.energy.model import Device, MeterHealth
from greenrun.core.histogram import PLAN_DURATION, Histogram, JobExemplar
from greenrun.core.jobs.access import Sharing
from greenrun.core.jobs.availability import GpuState
from greenrun.core.jobs.job import Anomaly
from greenrun.core.planning.model import Plan
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.grid.forecast_quality import SeriesScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When the daemon's parts last did something; None: not yet, or there is no such part."""

    started_at: datetime
    last_tick_at: datetime | None = None
    last_sample_at: datetime | None = None
    forecast_fetched_at: datetime | None = None
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """Size and free space of the file system that the database is on, in bytes; `free` is what the daemon may use."""

    free: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What only the running daemon knows, as functions that answer from memory.

    `active_forecasts` are by watched zone, `received` are the latest forecasts by provider. `requests` counts what
    each provider was asked, `failures` by (provider, cause) what had no usable answer, `dropped` likewise values
    that were none; `signals` are those that some source of a zone tells; `quota_left` is how many requests a
    provider last reported as left. `plan_changes` is how often a new plan moved a waiting job, `put_offs` how often
    past its first promise; `anomalous` is how many runs have each anomaly now, `quality` how good the forecasts of
    each series were, newest series first, `meter` how well the devices can be read. `examples` are the last values
    of the histograms by name and bucket, `planning` is how long making plans took, `asking` how long each provider
    took to answer, `write_failures` how often something could not be stored, `report_failures` how often monthly
    reports could not be written, `gpu_state` whether jobs may start on a GPU, `disk_usage` how full the disk is,
    None when that is not known, `conditions` what was wrong when the daemon last looked, and `site_power` what is drawn
    under the site's power cap, and `budgets` how the budgets stand. `lowered_power_limits` is
    on how many GPUs the power limit is lowered, and the next two count how these were changed, and what failed. Nobody
    knows who scrapes, so jobs are shown as they are to `others`.
    """

    now: Callable[[], datetime]
    plan: Callable[[], Plan]
    health: Callable[[], Health]
    active_forecasts: Callable[[], Mapping[str, ActiveForecast]]
    received: Callable[[], Sequence[ReceivedForecast]]
    devices: Callable[[], Sequence[Device]]
    requests: Callable[[], Mapping[str, int]] = dict
    failures: Callable[[], Mapping[tuple[str, str], int]] = dict
    dropped: Callable[[], Mapping[tuple[str, str], int]] = dict
    signals: Callable[[], Collection[Signal]] = tuple
    quota_left: Callable[[], Mapping[str, int]] = dict
    plan_changes: Callable[[], int] = int
    put_offs: Callable[[], int] = int
    anomalous: Callable[[], Mapping[Anomaly, int]] = dict
    quality: Callable[[], Sequence[SeriesScores]] = tuple
    meter: Callable[[], MeterHealth] = MeterHealth
    examples: Callable[[], Mapping[tuple[str, float], JobExemplar]] = dict
    planning: Callable[[], Histogram] = lambda: Histogram(PLAN_DURATION)
    asking: Callable[[], Mapping[str, Histogram]] = dict
    write_failures: Callable[[], int] = int
    report_failures: Callable[[], int] = int
    gpu_state: Callable[[Device], GpuState] = lambda device: GpuState()
    disk_usage: Callable[[], DiskUsage | None] = lambda: None
    conditions: Callable[[], Sequence[Condition]] = tuple
    site_power: Callable[[], SitePowerState] = SitePowerState
    lowered_power_limits: Callable[[], int] = int
    power_limit_changes: Callable[[], Mapping[str, int]] = dict
    power_limit_failures: Callable[[], Mapping[str, int]] = dict
    budgets: Callable[[], Sequence[Standing]] = tuple
    others: Sharing = Sharing.LISTED
    pue: float = 1.0
    version: str = __version__
    revision: str = "unknown"
