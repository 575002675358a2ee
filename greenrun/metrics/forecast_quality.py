"""Metrics of forecast quality."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.carbon.verification import DAY_H
from greenrun.grid.forecast_quality import SeriesScores
from greenrun.metrics.state import LiveState

_LABELS = ("grid_zone", "provider", "signal", "lead")
_FIGURES = {
    "mean_absolute_error_g_per_kwh": (
        "greenrun_grid_forecast_mean_absolute_error_grams_per_kwh",
        "How far forecasts were from what was then measured, that far ahead, in g CO2e per kWh.",
    ),
    "bias_g_per_kwh": (
        "greenrun_grid_forecast_bias_grams_per_kwh",
        "Forecasts minus what was then measured, that far ahead, in g CO2e per kWh.",
    ),
    "rank_correlation": (
        "greenrun_grid_forecast_rank_correlation",
        "How well forecasts put hours into the order in which they came: 1 perfectly, 0 not at all.",
    ),
    "captured_ratio": (
        "greenrun_grid_forecast_captured_ratio",
        "Share of what the cleanest 4 h in 24 h would have saved that choosing them by the forecast saved.",
    ),
}


def quality_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield how good forecasts of a whole day were, over the last weeks; nothing of which too little is known.

    Shorter lead times are in the API only: each would add a dozen series for every zone.
    """
    newest: dict[tuple[str, str], SeriesScores] = {}
    for judged in state.quality():
        newest.setdefault((judged.series.zone, judged.series.provider), judged)
    for figure, (name, text) in _FIGURES.items():
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        for origin, judged in newest.items():
            for row in judged.leads:
                is_day = row.lead_h[1] - row.lead_h[0] == DAY_H[1]
                if is_day and (value := getattr(row, figure)) is not None:
                    lead = f"{row.lead_h[0]}-{row.lead_h[1]}h"
                    family.add_metric((*origin, judged.series.signal_text, lead), value)
        if family.samples:
            yield family
