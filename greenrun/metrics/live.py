"""Metrics of the daemon itself: its plan, liveness, and disk space."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.carbon.intensity import Signal
from greenrun.core.conditions import ConditionCode, of_liveness
from greenrun.core.energy.model import BOOKED
from greenrun.core.energy.power_limit import LimitEnd
from greenrun.core.jobs.job import Anomaly
from greenrun.core.planning.model import Plan
from greenrun.metrics.state import LiveState


def plan_metrics(plan: Plan, changes: int, put_offs: int, unplaced: int) -> Iterator[Metric]:
    """Yield how good the plan is, and how often new plans moved jobs of older ones.

    `unplaced` is how many jobs with a limit have no place in it at all.
    """
    yield from _known("greenrun_plan_gap_ratio", "How far the plan may be above the best possible.", plan.gap_ratio)
    if not any(row.signal is Signal.MARGINAL for row in plan.placements):  # their grams are of another kind
        text = "The least CO2e that any plan within the same limits could be expected to emit."
        yield from _known("greenrun_plan_bound_grams", text, plan.bound_g)
    reach_s = (plan.horizon_end - plan.made_at).total_seconds() if plan.horizon_end else None
    text = "How far ahead the intensities reached that the plan was made with, past days that stand in included."
    yield from _known("greenrun_plan_horizon_seconds", text, reach_s)
    text = "Jobs that have no place in the plan which keeps a limit that their user set."
    yield gauge("greenrun_deadlines_at_risk", text, sum(row.late for row in plan.placements) + unplaced)
    text = "Places in the plan that a new plan moved by more than a minute, since the daemon started."
    yield CounterMetricFamily("greenrun_plan_changes_total", text, value=changes)
    text = "Starts that a new plan put off past what the job was first promised, since the daemon started."
    yield CounterMetricFamily("greenrun_put_offs_total", text, value=put_offs)


def liveness_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield when the daemon's parts last did something, as far as they have."""
    health = state.health()
    for name, text, at in (
        ("greenrun_scheduler_last_tick_timestamp_seconds", "When the scheduler last ticked.", health.last_tick_at),
        ("greenrun_sampler_last_sample_timestamp_seconds", "When a meter was last read.", health.last_sample_at),
    ):
        yield from _known(name, text, at.timestamp() if at else None)
    text = "Changes that could not be stored, since the daemon started."
    yield CounterMetricFamily("greenrun_db_write_failures_total", text, value=state.write_failures())
    text = "Attempts to write monthly reports that failed, since the daemon started."
    yield CounterMetricFamily("greenrun_report_failures_total", text, value=state.report_failures())
    if (disk_usage := state.disk_usage()) is not None:
        yield gauge("greenrun_disk_free_bytes", "Room left where the database is.", disk_usage.free)
        yield gauge("greenrun_disk_size_bytes", "Size of the file system that the database is on.", disk_usage.size)


def condition_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield for each condition that health checks can tell whether it is so now."""
    health = state.health()
    alive = of_liveness(
        now=state.now(), started_at=health.started_at, last_tick_at=health.last_tick_at,
        last_sample_at=health.last_sample_at, is_stopping=health.draining,
        has_meter=any(device.kind in BOOKED for device in state.devices()),
    )  # fmt: skip
    found = {row.code for row in (*state.conditions(), *alive)}
    text = "Whether the daemon or its machine has the condition now, by its code in /healthz."
    conditions = GaugeMetricFamily("greenrun_condition", text, labels=("condition",))
    for code in ConditionCode:
        conditions.add_metric((code.value,), float(code in found))
    yield conditions


def anomaly_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield how many runs have each anomaly now."""
    found, text = state.anomalous(), "Jobs whose run has the anomaly now, by rule."
    anomalous = GaugeMetricFamily("greenrun_jobs_anomalous", text, labels=("rule",))
    for anomaly in Anomaly:
        anomalous.add_metric((anomaly.value,), found.get(anomaly, 0))
    yield anomalous


def power_limit_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield on how many GPUs the power limit is lowered, how such limits were changed, and what failed."""
    text = "GPUs whose power limit greenrun has lowered, and is to restore."
    yield gauge("greenrun_gpu_power_limits_lowered", text, state.lowered_power_limits())
    text = "Changes of the power limits of GPUs since the daemon started, by what became of them."
    changes = CounterMetricFamily("greenrun_gpu_power_limit_changes_total", text, labels=("change",))
    counted = state.power_limit_changes()
    for change in ("set", *LimitEnd):
        changes.add_metric((str(change),), counted.get(str(change), 0))
    yield changes
    text = "Power limits of GPUs that could not be read, set or restored, since the daemon started."
    failures = CounterMetricFamily("greenrun_gpu_power_limit_failures_total", text, labels=("doing",))
    failed = state.power_limit_failures()
    for doing in ("read", "set", "restore"):
        failures.add_metric((doing,), failed.get(doing, 0))
    yield failures


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def _known(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield gauge(name, text, value)
