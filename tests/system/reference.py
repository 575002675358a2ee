"""What greenrun should do on a trace, found the slow and obvious way and without any of its code.

Times are seconds since the epoch. A job's best start is looked for among all starts on a grid of GRID_S, in the same
order of jobs as greenrun promises: the latest start first, then the higher priority, then the lower number.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

GRID_S = 0.02
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


def best_start(job: Wanted, now_s: float, reserved: Sequence[Reserved], steps: Steps, gpus: int) -> float:
    """Return the cleanest start at which the job's GPUs are free; fail when there is none within its limits."""
    earliest_s = max(now_s, job.earliest_s)
    as_soon_as_possible = job.latest_s <= job.submitted_s
    starts_s = _grid(earliest_s, earliest_s + 60.0 if as_soon_as_possible else job.latest_s)
    starts_s = starts_s[_most_used(starts_s, job.duration_s, reserved) + job.gpus <= gpus]
    assert len(starts_s), f"job {job.id} has no place within its limits"
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


def plan(
    queue: Sequence[Wanted], now_s: float, running: Sequence[Reserved], steps: Steps, gpus: int
) -> dict[int, float]:
    """Place all jobs in order, each at its best start beside those before it."""
    reserved, starts_s = list(running), dict[int, float]()
    for job in sorted(queue, key=lambda job: (job.latest_s, -job.priority, job.id)):
        starts_s[job.id] = best_start(job, now_s, reserved, steps, gpus)
        reserved.append((starts_s[job.id], starts_s[job.id] + job.duration_s, job.gpus))
    return starts_s


def starts_of(
    jobs: Sequence[Wanted], steps: Steps, gpus: int, delays_s: Mapping[int, float] | None = None
) -> dict[int, float]:
    """Live through the day: plan anew at each submission, start and end; return every job's start.

    `delays_s` is by how much a machine starts each job after its planned instant; an ideal one does not.
    """
    delays_s = delays_s or {}
    coming, queue = sorted(jobs, key=lambda job: job.submitted_s), list[Wanted]()
    started, running = dict[int, float](), dict[int, Wanted]()
    now_s = coming[0].submitted_s
    while coming or queue:
        queue += [job for job in coming if job.submitted_s <= now_s]
        coming = [job for job in coming if job.submitted_s > now_s]
        running = {key: job for key, job in running.items() if started[key] + job.true_s > now_s}
        taken = [(started[key] - 1, started[key] + job.duration_s, job.gpus) for key, job in running.items()]
        planned = plan(queue, now_s, taken, steps, gpus)
        for job in [job for job in queue if planned[job.id] <= now_s + GRID_S]:
            started[job.id] = max(planned[job.id], now_s) + delays_s.get(job.id, 0.0)
            running[job.id] = job
            queue.remove(job)
        moments = [job.submitted_s for job in coming] + [planned[job.id] for job in queue]
        moments += [started[key] + job.true_s for key, job in running.items()]
        now_s = min((moment for moment in moments if moment > now_s), default=now_s)
    return started
