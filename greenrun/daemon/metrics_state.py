"""What only the running daemon knows, put together for the metrics."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from greenrun.clock import utc_now
from greenrun.core.carbon.intensity import Signal
from greenrun.core.conditions import Condition
from greenrun.core.jobs.access import Sharing
from greenrun.engine.engine import Engine
from greenrun.grid.forecast_quality import ForecastQuality
from greenrun.meters import OpenMeter
from greenrun.metrics import DiskUsage, Health, LiveState
from greenrun.reports.monthly import MonthlyReports
from greenrun.store import Store

if TYPE_CHECKING:
    from greenrun.providers.web import Web


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsState:
    """The parts that are read at each scrape; `webs` are the HTTP clients of sources, `state` is the state folder."""

    engine: Engine
    store: Store
    meter: OpenMeter
    quality: ForecastQuality
    monthly: MonthlyReports | None
    webs: "tuple[Web, ...]"
    health: Callable[[], Health]
    state: Path
    pue: float
    signals: frozenset[Signal]
    conditions: Callable[[], Sequence[Condition]]
    others: Sharing = Sharing.LISTED

    def live_state(self) -> LiveState:
        """Return the live values as functions that answer from memory."""
        engine, counts = self.engine, self.engine.requests
        return LiveState(
            now=utc_now, plan=lambda: engine.plan, health=self.health, devices=self.meter.devices,
            active_forecasts=lambda: {zone.name: zone.active_forecast for zone in engine.zones if zone.name},
            received=lambda: [row for zone in engine.zones for row in zone.received],
            requests=lambda: dict(counts.requests), failures=lambda: dict(counts.failures),
            dropped=lambda: dict(chain.from_iterable(map(_dropped, self.webs))),
            signals=lambda: self.signals,
            quota_left=lambda: {web.name: web.quota_left for web in self.webs if web.quota_left is not None},
            plan_changes=lambda: engine.planning.changes, put_offs=lambda: engine.planning.put_offs,
            gpu_state=lambda device: engine.availability.state(device, utc_now()),
            anomalous=lambda: engine.anomalies.ongoing,
            quality=lambda: self.quality.latest, meter=self.meter.health,
            examples=lambda: dict(self.store.runs.examples), write_failures=lambda: self.store.database.write_failures,
            report_failures=lambda: self.monthly.failures if self.monthly else 0,
            planning=lambda: engine.planning.durations, asking=lambda: dict(counts.seconds),
            lowered_power_limits=lambda: len(engine.power_limits.in_force),
            power_limit_changes=lambda: dict(engine.power_limits.changes),
            power_limit_failures=lambda: dict(engine.power_limits.failures),
            disk_usage=partial(disk_usage, self.state), conditions=self.conditions, pue=self.pue, others=self.others,
            site_power=lambda: engine.power.state,
            budgets=lambda: [*engine.budgets.standings.values()],
        )  # fmt: skip


def disk_usage(state: Path) -> DiskUsage | None:
    """Return the usage of the state folder's file system; None if it cannot be read."""
    try:
        usage = shutil.disk_usage(state)
    except OSError:
        return None
    return DiskUsage(free=usage.free, size=usage.total)


def _dropped(web: "Web") -> Iterator[tuple[tuple[str, str], int]]:
    return (((web.name, cause), count) for cause, count in [*web.dropped.items()])
