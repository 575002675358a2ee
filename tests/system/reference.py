"""What greenrun should do on a trace, found the slow and obvious way and without any of its code.

Times are seconds since the epoch. Jobs are placed one by one, each at its best start among all starts on a grid of
GRID_S, in a great many orders; the cleanest outcome is what greenrun is held to.
"""

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

GRID_S = 0.1
ORDERS = 150
J_PER_KWH = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A job's own limits, and how long it really runs."""

    id: int
    gpus: int
    duration_s: float
    true_s: float
    submitted_s: float
    earliest_s: float
    latest_s: float
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Intensities in g/kWh, each the mean of `step_s` seconds, the first from `begin_s` on."""

    begin_s: float
    step_s: float
    values: np.ndarray

    def integral(self, at_s: np.ndarray | float) -> np.ndarray:
        """Return the integral from `begin_s` to each instant, in g/kWh times seconds."""
        place = (np.asarray(at_s) - self.begin_s) / self.step_s
        slot = np.floor(place).astype(int)
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        return np.asarray((sums[slot] + (place - slot) * self.values[slot]) * self.step_s)

    def mean(self, start_s: np.ndarray | float, end_s: np.ndarray | float) -> np.ndarray:
        """Return the mean over each `[start_s, end_s)`."""
        return np.asarray((self.integral(end_s) - self.integral(start_s)) / (np.asarray(end_s) - np.asarray(start_s)))

    def grams(self, energy_j: float, start_s: float, end_s: float) -> float:
        """Return what energy drawn evenly over `[start_s, end_s)` emits, in g."""
        return float(energy_j / J_PER_KWH * self.mean(start_s, end_s))


def read_rows(path: Path) -> list[tuple[datetime, float]]:
    """Return the slots of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(datetime.fromisoformat(start), float(value)) for start, value in list(csv.reader(file))[1:]]


Reserved = tuple[float, float, int]  # from, to, GPUs


def best_start(job: Wanted, now_s: float, reserved: Sequence[Reserved], steps: Steps, gpus: int) -> float | None:
    """Return the cleanest start at which the job's GPUs are free; None when there is none within its limits."""
    earliest_s = max(now_s, job.earliest_s)
    as_soon_as_possible = job.latest_s <= job.submitted_s
    starts_s = _grid(earliest_s, earliest_s + 60.0 if as_soon_as_possible else job.latest_s)
    starts_s = starts_s[_most_used(starts_s, job.duration_s, reserved) + job.gpus <= gpus]
    if not len(starts_s):
        return None
    means = np.round(steps.mean(starts_s, starts_s + job.duration_s), 6)
    return float(starts_s[0 if as_soon_as_possible else np.argmin(means)])


def _grid(first_s: float, last_s: float) -> np.ndarray:
    """Return the instants of the grid between two instants, and these two."""
    inside = GRID_S * np.arange(np.ceil(first_s / GRID_S), np.floor(last_s / GRID_S) + 1)
    return np.unique(np.concatenate([[first_s], inside[(inside > first_s) & (inside < last_s)], [last_s]]))


def _most_used(starts_s: np.ndarray, duration_s: float, reserved: Sequence[Reserved]) -> np.ndarray:
    """Return the most GPUs that are taken at once in each `[start, start + duration_s)`."""
    most = np.zeros(len(starts_s))
    changes = [starts_s, *(np.full(len(starts_s), begin) for begin, _, _ in reserved)]
    for at in changes:
        inside = (at >= starts_s) & (at < starts_s + duration_s - 1e-6)
        used = sum((count * ((begin <= at) & (at < end - 1e-6)) for begin, end, count in reserved), np.zeros(len(at)))
        most = np.maximum(most, np.where(inside, used, 0))
    return most


def grams_of(queue: Sequence[Wanted], starts_s: Mapping[int, float], steps: Steps, gpu_w: float) -> float:
    """Return what the jobs would emit if they started then, in g."""
    return sum(
        steps.grams(gpu_w * job.gpus * job.duration_s, starts_s[job.id], starts_s[job.id] + job.duration_s)
        for job in queue
    )


def best_plan(
    queue: Sequence[Wanted], now_s: float, running: Sequence[Reserved], steps: Steps, gpus: int, gpu_w: float
) -> dict[int, float]:
    """Return the cleanest starts that any of ORDERS orders of the jobs leads to, all within limits."""
    rng, plans = random.Random(0), list[dict[int, float]]()
    order = sorted(queue, key=lambda job: (job.latest_s, -job.priority, job.id))
    for _ in range(ORDERS):
        plans += _in_order(order, now_s, running, steps, gpus)
        order = rng.sample(order, len(order))
    assert plans, "no order keeps all limits"
    return min(plans, key=lambda starts_s: grams_of(queue, starts_s, steps, gpu_w))


def _in_order(
    order: Sequence[Wanted], now_s: float, running: Sequence[Reserved], steps: Steps, gpus: int
) -> list[dict[int, float]]:
    """Return the starts of jobs placed in order, each at its best beside those before it; none if one has no place."""
    reserved, starts_s = list(running), dict[int, float]()
    for job in order:
        start_s = best_start(job, now_s, reserved, steps, gpus)
        if start_s is None:
            return []
        starts_s[job.id] = start_s
        reserved.append((start_s, start_s + job.duration_s, job.gpus))
    return [starts_s]
