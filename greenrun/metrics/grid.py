"""Metrics of the grid: each zone's active forecast, its fallback level and age, and requests to providers."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.carbon.intensity import FallbackLevel
from greenrun.metrics.state import LiveState

HORIZONS_H = (1, 6, 12, 24)
_BY_SOURCE = ("provider", "grid_zone")


def grid_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield each zone's intensity, present and forecast, and its fallback level, and the reach of each source."""
    now = state.now()
    current = GaugeMetricFamily(
        "greenrun_grid_carbon_intensity_grams_per_kwh",
        "Carbon intensity of the present slot, in g CO2e per kWh; greenrun_grid_rung says how good that is.",
        labels=("grid_zone", "signal"),
    )
    ahead = GaugeMetricFamily(
        "greenrun_grid_forecast_intensity_grams_per_kwh",
        "Forecast carbon intensity that far ahead, in g CO2e per kWh.",
        labels=("grid_zone", "horizon", "signal"),
    )
    rungs = GaugeMetricFamily(
        "greenrun_grid_rung",
        "The fallback level of the active forecast: 1 for that one.",
        labels=("grid_zone", "rung"),
    )
    for zone, active in state.active_forecasts().items():
        for rung in FallbackLevel:
            rungs.add_metric((zone, rung.value), float(rung is active.fallback_level))
        if active.forecast is None:
            continue
        series = active.forecast.series
        if (value := series.at(now)) is not None:
            current.add_metric((zone, series.id.signal_text), value)
        for hours in HORIZONS_H:
            if (value := series.at(now + timedelta(hours=hours))) is not None:
                ahead.add_metric((zone, f"{hours}h", series.id.signal_text), value)
    yield from (current, ahead, rungs, *_sources(state))


def _sources(state: LiveState) -> Iterator[Metric]:
    success = GaugeMetricFamily(
        "greenrun_grid_forecast_last_success_timestamp_seconds",
        "When the source last gave a usable forecast.",
        labels=_BY_SOURCE,
    )
    reach = GaugeMetricFamily(
        "greenrun_grid_forecast_horizon_seconds", "How far ahead the source's last forecast reaches.", labels=_BY_SOURCE
    )
    age = GaugeMetricFamily(
        "greenrun_grid_forecast_age_seconds",
        "How long the source's last forecast has been known; one that only repeats an earlier one is as old as that.",
        labels=_BY_SOURCE,
    )
    now = state.now()
    for row in state.received():
        origin = (row.provider, row.forecast.series.id.zone)
        success.add_metric(origin, row.forecast.fetched_at.timestamp())
        reach.add_metric(origin, max(0.0, (row.end - now).total_seconds()))
        age.add_metric(origin, row.age(now).total_seconds())
    yield from (success, reach, age)


def request_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield requests to providers, failures, dropped values, and quotas."""
    text = "Questions to a provider, for forecasts or measured values, since the daemon started; a cache answers some."
    asked = CounterMetricFamily("greenrun_grid_requests_total", text, labels=("provider",))
    for provider, count in state.requests().items():
        asked.add_metric((provider,), count)
    left = GaugeMetricFamily(
        "greenrun_grid_quota_left", "Requests that the provider last said are left in its quota.", labels=("provider",)
    )
    for provider, count in state.quota_left().items():
        left.add_metric((provider,), count)
    failed = "Questions to a provider without a usable answer, since the daemon started."
    dropped = "Values of a provider that were missing or no intensities, and left out, since the daemon started."
    yield asked
    yield _by_cause("greenrun_grid_request_failures_total", failed, state.failures())
    yield _by_cause("greenrun_grid_values_dropped_total", dropped, state.dropped())
    yield left


def _by_cause(name: str, text: str, counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("provider", "cause"))
    for key, count in counts.items():
        family.add_metric(key, count)
    return family
