"""The histograms of waits and runs: persisted counts as cumulative buckets, each with the last job in it."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from math import inf

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from greenrun.core.histogram import BOUNDS, JOB_DEFERRAL, RUN_DURATION, RUN_EMISSIONS, RUN_ENERGY, CounterKey, Example

_TEXTS = {
    JOB_DEFERRAL: "Time from when a job could have started to its first start.",
    RUN_DURATION: "Time from a run's start to its end.",
    RUN_ENERGY: "Energy used by a run that ended, where all of it is known (IT energy).",
    RUN_EMISSIONS: "CO2e of a run that ended, where all of it is known, booked as greenrun_emissions_grams_total is.",
}

Examples = Mapping[tuple[str, float], Example]


def histogram_metrics(totals: Mapping[CounterKey, float], examples: Examples) -> Iterator[Metric]:
    """Yield every histogram; a bucket that an older release counted in adds to the next larger one that there is."""
    for name, text in _TEXTS.items():
        bounds = (*BOUNDS[name], inf)
        counts = [0.0] * len(bounds)
        for (total, labels), value in totals.items():
            if total == f"{name}_bucket":
                counts[bisect_left(bounds, float(dict(labels)["le"]))] += value
        rows = zip(bounds, accumulate(counts), strict=True)
        buckets = [_bucket(bound, count, examples.get((name, bound))) for bound, count in rows]
        family = HistogramMetricFamily(name, text)
        family.add_metric((), buckets, totals.get((f"{name}_sum", ()), 0.0))
        yield family


def _bucket(bound: float, count: float, example: Example | None) -> tuple[str, float] | tuple[str, float, Exemplar]:
    upper = "+Inf" if bound == inf else str(float(bound))
    if example is None:
        return upper, count
    return upper, count, Exemplar({"job_id": str(example.job_id)}, example.value, example.at.timestamp())
