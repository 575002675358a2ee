"""The histograms: their bounds, what one value adds to the persisted counters, and those that are only in memory."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf

HOUR_S = 3_600.0
KWH_J = 3.6e6

JOB_DEFERRAL = "greenrun_job_deferral_seconds"
RUN_DURATION = "greenrun_run_duration_seconds"
RUN_ENERGY = "greenrun_run_energy_joules"
RUN_EMISSIONS = "greenrun_run_emissions_grams"
PLAN_DURATION = "greenrun_plan_duration_seconds"
REQUEST_DURATION = "greenrun_grid_request_duration_seconds"
FORECAST_ERROR = "greenrun_grid_forecast_absolute_error_grams_per_kwh"

BOUNDS: Mapping[str, tuple[float, ...]] = {
    JOB_DEFERRAL: (10, 60, 600, *(HOUR_S * hours for hours in (1, 2, 4, 8, 16, 24, 48))),
    RUN_DURATION: (10, 60, 600, *(HOUR_S * hours for hours in (1, 2, 4, 8, 24, 72, 168))),
    RUN_ENERGY: tuple(KWH_J * kwh for kwh in (0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 1000)),
    RUN_EMISSIONS: (1, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5),
    PLAN_DURATION: (0.01, 0.1, 1, 10),
    REQUEST_DURATION: (1, 10),
    FORECAST_ERROR: (10, 30, 100),
}

Labels = tuple[tuple[str, str], ...]
CounterKey = tuple[str, Labels]


def counter_key(name: str, **labels: str) -> CounterKey:
    """Return a counter's key, its labels sorted."""
    return name, tuple(sorted(labels.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExemplar:
    """The latest value that fell into a bucket, and the job that it is of."""

    job_id: int
    value: float
    at: datetime


def bound_of(name: str, value: float) -> float:
    """Return the upper bound, included, of the bucket that a value falls into; infinite above the last."""
    bounds = BOUNDS[name]
    place = bisect_left(bounds, value)
    return bounds[place] if place < len(bounds) else inf


def added(values: Mapping[str, float], labels: Labels = ()) -> dict[CounterKey, float]:
    """Return what one value each of these histograms adds to the counters: a count in its bucket, and a sum.

    `labels` are sorted, and so are those of the counters.
    """
    counts: dict[CounterKey, float] = {}
    for name, value in values.items():
        upper = ("le", str(float(bound_of(name, value))))
        counts[f"{name}_bucket", tuple(sorted((*labels, upper)))] = 1.0
        counts[f"{name}_sum", labels] = value
    return counts


@dataclass(slots=True)
class Histogram:
    """What was counted in a histogram since the daemon started; one thread adds at a time, any may read."""

    name: str
    counts: dict[float, int] = field(default_factory=dict)  # by the upper bound of the bucket
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        bound = bound_of(self.name, value)
        self.counts[bound] = self.counts.get(bound, 0) + 1
        self.total += value
