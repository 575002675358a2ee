"""Histograms: persisted counts, or this daemon's, as cumulative buckets with an exemplar each."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from greenrun.core.histogram import (
    BOUNDS,
    FORECAST_ERROR,
    JOB_DEFERRAL,
    PLAN_DURATION,
    REQUEST_DURATION,
    RUN_DURATION,
    RUN_EMISSIONS,
    RUN_ENERGY,
    CounterKey,
    JobExemplar,
    Labels,
)
from greenrun.metrics.state import LiveState

_TEXTS = {
    JOB_DEFERRAL: "Time from when a job could have started to its first start.",
    RUN_DURATION: "Time from a run's start to its end.",
    RUN_ENERGY: "Energy used by a run that ended, where all of it is known (IT energy).",
    RUN_EMISSIONS: "CO2e of a run that ended, where all of it is known, booked as greenrun_emissions_grams_total is.",
}
_ERROR_TEXT = "How far the forecast known that long before an hour was from what was then measured, in g CO2e per kWh."
_PLAN_TEXT = "Time that making a plan took, since the daemon started."
_REQUEST_TEXT = "Time that a provider took to answer a question of the daemon's own, or to fail, since that started."

Examples = Mapping[tuple[str, float], JobExemplar]


def histogram_metrics(totals: Mapping[CounterKey, float], examples: Examples) -> Iterator[Metric]:
    """Yield every histogram of waits and runs."""
    for name, text in _TEXTS.items():
        family = HistogramMetricFamily(name, text)
        _add(family, (), _persisted(totals, name, ()), examples)
        yield family


def error_metrics(totals: Mapping[CounterKey, float]) -> Iterator[Metric]:
    """Yield the histogram of errors of forecasts, once there is one."""
    kinds = ("grid_zone", "signal", "horizon")
    family = HistogramMetricFamily(FORECAST_ERROR, _ERROR_TEXT, labels=kinds)
    for labels in sorted({labels for name, labels in totals if name == f"{FORECAST_ERROR}_sum"}):
        _add(family, [dict(labels).get(kind, "") for kind in kinds], _persisted(totals, FORECAST_ERROR, labels), {})
    yield family


def duration_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield how long plans and answers of providers took, since the daemon started."""
    plans = HistogramMetricFamily(PLAN_DURATION, _PLAN_TEXT)
    planning = state.planning()
    _add(plans, (), (dict(planning.counts), planning.total), {})
    requests = HistogramMetricFamily(REQUEST_DURATION, _REQUEST_TEXT, labels=("provider",))
    for provider, seen in state.asking().items():
        _add(requests, (provider,), (dict(seen.counts), seen.total), {})
    yield from (plans, requests)


def _persisted(totals: Mapping[CounterKey, float], name: str, labels: Labels) -> tuple[dict[float, float], float]:
    """Return how many values each bucket holds, by its upper bound, and their sum."""
    counts = {
        float(dict(own)["le"]): value
        for (total, own), value in totals.items()
        if total == f"{name}_bucket" and tuple(label for label in own if label[0] != "le") == labels
    }
    return counts, totals.get((f"{name}_sum", labels), 0.0)


def _add(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    held: tuple[Mapping[float, float], float],
    examples: Examples,
) -> None:
    """Add a label set; a bucket that an older release counted in adds to the next larger one that there is."""
    bounds, (counts, total) = (*BOUNDS[family.name], inf), held
    own = [0.0] * len(bounds)
    for bound, count in counts.items():
        own[bisect_left(bounds, bound)] += count
    rows = zip(bounds, accumulate(own), strict=True)
    family.add_metric(labels, [_bucket(bound, n, examples.get((family.name, bound))) for bound, n in rows], total)


def _bucket(bound: float, count: float, example: JobExemplar | None) -> tuple[str, float] | tuple[str, float, Exemplar]:
    upper = "+Inf" if bound == inf else str(float(bound))
    if example is None:
        return upper, count
    return upper, count, Exemplar({"job_id": str(example.job_id)}, example.value, example.at.timestamp())
