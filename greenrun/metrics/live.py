"""The metrics that tell of the daemon's memory alone: the plan, the grid, what providers were asked, signs of life."""

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.intensity import SeriesId, Signal
from greenrun.core.plan import Plan
from greenrun.metrics.state import LiveState

HORIZONS_H = (1, 6, 12, 24)


def plan_metrics(plan: Plan, changes: int, put_offs: int) -> Iterator[Metric]:
    """Yield how good the plan is, and how often new plans moved what older ones had told."""
    yield from _known("greenrun_plan_gap_ratio", "How far the plan may be above the best possible.", plan.gap_ratio)
    text = "The least CO2e that any plan within the same limits could be expected to emit."
    yield from _known("greenrun_plan_bound_grams", text, plan.bound_g)
    text = "Places in the plan that a new plan moved by more than a minute, since the daemon started."
    yield CounterMetricFamily("greenrun_plan_changes_total", text, value=changes)
    text = "Starts that a new plan put off past what the job was first promised, since the daemon started."
    yield CounterMetricFamily("greenrun_put_offs_total", text, value=put_offs)


def grid_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield the carbon intensity now and ahead, and how fresh the forecast is; nothing without one."""
    forecast, now = state.forecast(), state.now()
    if forecast is None:
        return
    series = forecast.series
    zone, origin = series.id.zone, (series.id.provider, series.id.zone)
    current = GaugeMetricFamily(
        "greenrun_grid_carbon_intensity_grams_per_kwh",
        "Carbon intensity of the present slot, in g CO2e per kWh.",
        labels=("grid_zone", "signal"),
    )
    if (value := series.at(now)) is not None:
        current.add_metric((zone, _signal(series.id)), value)
    ahead = GaugeMetricFamily(
        "greenrun_grid_forecast_intensity_grams_per_kwh",
        "Forecast carbon intensity that far ahead, in g CO2e per kWh.",
        labels=("grid_zone", "horizon"),
    )
    for hours in HORIZONS_H:
        if (value := series.at(now + timedelta(hours=hours))) is not None:
            ahead.add_metric((zone, f"{hours}h"), value)
    fetched_at = max(forecast.fetched_at, state.health().forecast_fetched_at or forecast.fetched_at)
    success = GaugeMetricFamily(
        "greenrun_grid_forecast_last_success_timestamp_seconds",
        "When the source last gave a usable forecast.",
        labels=("provider", "grid_zone"),
    )
    success.add_metric(origin, fetched_at.timestamp())
    reach = GaugeMetricFamily(
        "greenrun_grid_forecast_horizon_seconds",
        "How far ahead the forecast reaches.",
        labels=("provider", "grid_zone"),
    )
    if series.end is not None:
        reach.add_metric(origin, max(0.0, (series.end - now).total_seconds()))
    yield from (current, ahead, success, reach)


def request_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield what providers were asked, and what had no usable answer."""
    asked = CounterMetricFamily("greenrun_grid_requests_total", "Questions to a provider.", labels=("provider",))
    failed = CounterMetricFamily(
        "greenrun_grid_request_failures_total",
        "Questions to a provider without a usable answer.",
        labels=("provider", "cause"),
    )
    for provider, count in state.requests().items():
        asked.add_metric((provider,), count)
    for key, count in state.failures().items():
        failed.add_metric(key, count)
    yield from (asked, failed)


def liveness_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield when the daemon's parts last did something, as far as they have."""
    health = state.health()
    for name, text, at in (
        ("greenrun_scheduler_last_tick_timestamp_seconds", "When the scheduler last ticked.", health.last_tick_at),
        ("greenrun_sampler_last_sample_timestamp_seconds", "When a meter was last read.", health.last_sample_at),
    ):
        yield from _known(name, text, at.timestamp() if at else None)


def _signal(series: SeriesId) -> str:
    is_plain = series.signal is not Signal.AVERAGE or series.basis is None
    return series.signal.value if is_plain else f"{series.signal.value}_{series.basis}"


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def _known(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield gauge(name, text, value)
