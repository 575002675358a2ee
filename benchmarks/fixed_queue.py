"""Plan one synthetic queue that is known in full, and print how far from the best possible the plan is, as JSON.

    python benchmarks/fixed_queue.py --jobs 500 --gpus 128 --slots 192
    python benchmarks/fixed_queue.py --jobs 10000 --gpus 1000 --slots 576 --gap 0.02 --intensity US-CAL-CISO_2022.csv

It is a separate process, so that its peak memory is the plan's. Lengths spread like those of the Alibaba PAI trace
(median 50 min, mean 2.4 h, at most 60 h) and are then stretched by one factor until the queue would fill `--load` of
the GPUs in the middle half of the horizon if all started at once; GPU counts are that trace's (1 to 4). Jobs may start
from instants spread evenly over the horizon, and within a day of them.
The intensity is half-hourly: synthetic, or a recorded one from 2022-10-19T16:00Z on. The planner's options are those of
the daemon unless they are given here.
"""

import argparse
import csv
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.planning.model import Options, Plan, Situation
from greenrun.core.planning.planner import plan

Floats = NDArray[np.float64]

START = datetime(2022, 10, 19, 16, tzinfo=UTC)
SLOT_S = 1800.0
DAY_S = 86_400.0
MEDIAN_S, SPREAD, SHORTEST_S, LONGEST_S = 3_000.0, 1.4, 300.0, 216_000.0
GPU_COUNTS, GPU_SHARES = (1, 2, 3, 4), (0.859, 0.072, 0.043, 0.026)
GPU_POWER_W = 300.0


def lengths(count: int, gpus: Floats, room_gpu_s: float, longest_s: float, rng: np.random.Generator) -> Floats:
    """Return durations in whole seconds, spread as in the trace, that together take about `room_gpu_s`."""
    drawn = np.clip(MEDIAN_S * np.exp(rng.normal(0.0, SPREAD, count)), SHORTEST_S, LONGEST_S)
    factor = 1.0
    for _ in range(50):  # the longest are cut, so that the others must make up for them
        factor *= room_gpu_s / float(np.minimum(drawn * factor, longest_s) @ gpus)
    return np.rint(np.minimum(drawn * factor, longest_s))


def queue(count: int, gpus: int, slots: int, load: float, seed: int) -> tuple[Job, ...]:
    """Return jobs that would fill `load` of the GPUs in the middle half of the slots if they started at once."""
    rng = np.random.default_rng(seed)
    span_s = slots * SLOT_S
    wanted, at = rng.choice(GPU_COUNTS, count, p=GPU_SHARES), rng.uniform(0.0, 1.0, count)
    needs, room, drawing = wanted.astype(np.float64), load * gpus * span_s, rng.integers(2**32)
    for _ in range(20):  # there is less to do at both ends, so that not all of the room is in the middle
        length_s = lengths(count, needs, room, (span_s - DAY_S) / 2, np.random.default_rng(drawing))
        release_s = np.rint(at * (span_s - DAY_S - length_s))
        room *= load / _middle_load(release_s, length_s, needs, span_s, gpus)
    rows = zip(range(1, count + 1), wanted.tolist(), length_s.tolist(), release_s.tolist(), strict=True)
    return tuple(_job(job_id, need, length, release) for job_id, need, length, release in rows)


def _middle_load(release_s: Floats, length_s: Floats, needs: Floats, span_s: float, gpus: int) -> float:
    begin_s, end_s = span_s / 4, 3 * span_s / 4
    inside_s = np.minimum(release_s + length_s, end_s) - np.maximum(release_s, begin_s)
    return float(np.maximum(0.0, inside_s) @ needs) / (gpus * (end_s - begin_s))


def _job(job_id: int, gpus: int, length_s: float, release_s: float) -> Job:
    spec = JobSpec(
        command=("true",),
        workdir="/",
        gpus=gpus,
        duration=timedelta(seconds=length_s),
        power_w=GPU_POWER_W * gpus,
        start_after=START + timedelta(seconds=release_s),
        max_delay=timedelta(seconds=release_s + DAY_S),
    )
    return Job(id=job_id, spec=spec, user="ada", uid=1000, state=State.QUEUED, submitted_at=START)


def made_up(slots: int, seed: int) -> Floats:
    """Return days with a clean noon, weather that lasts for days, and some noise, in g/kWh: shape (slots,)."""
    rng, hours = np.random.default_rng(seed), np.arange(slots) * SLOT_S / 3600
    days = 220 - 90 * np.cos((hours + 3) / 24 * 2 * np.pi) + 40 * np.cos(hours / 57 * 2 * np.pi)
    return np.maximum(20.0, days + rng.normal(0.0, 8.0, slots))


def recorded(path: Path, slots: int) -> Floats:
    """Return a recorded hourly intensity as half-hours from the start on: shape (slots,)."""
    with path.open(newline="") as file:
        rows = [(datetime.fromisoformat(row["start"]), float(row["g_per_kwh"])) for row in csv.DictReader(file)]
    hourly = [value for start, value in rows if start >= START][: (slots + 1) // 2]
    if len(hourly) * 2 < slots:
        raise SystemExit(f"{path} has only {2 * len(hourly)} of the {slots} half-hours from {START:%Y-%m-%dT%H:%MZ} on")
    return np.repeat(hourly, 2)[:slots]


def situation(jobs: Sequence[Job], gpus: int, values: Floats, options: Options) -> Situation:
    """Return what the planner sees: idle GPUs of one kind, and a forecast of half-hours."""
    starts_s = START.timestamp() + np.arange(len(values)) * SLOT_S
    forecast = Series(
        SeriesId(provider="benchmark", zone="X"), starts_s, starts_s + SLOT_S, values, (Kind.FORECAST,) * len(values)
    )
    devices = tuple(f"GPU-{number:04}" for number in range(gpus))
    return Situation(now=START, jobs=tuple(jobs), devices=devices, forecast=forecast, options=options)


def timed(asked: Situation) -> tuple[Plan, float, float]:
    """Return a plan with the wall-clock and CPU seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = plan(asked)
    return made, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Plan the queue some times over and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="half-hours")
    parser.add_argument("--load", type=float, default=0.7, help="share of the GPUs in the middle half, started at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--intensity", type=Path, help="start,g_per_kwh, hourly")
    parser.add_argument("--iterations", type=int, default=Options().iterations)
    parser.add_argument("--rearrangements", type=int, default=Options().rearrangements)
    parser.add_argument("--gap", type=float, default=Options().gap, help="near enough to the bound to stop")
    parser.add_argument("--times", type=int, default=3)
    own = parser.parse_args()
    values = recorded(own.intensity, own.slots) if own.intensity else made_up(own.slots, own.seed)
    options = replace(Options(), iterations=own.iterations, rearrangements=own.rearrangements, gap=own.gap)
    asked = situation(queue(own.jobs, own.gpus, own.slots, own.load, own.seed), own.gpus, values, options)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = [timed(asked) for _ in range(own.times)]
    made = runs[0][0]
    known = made.expected_g is not None and made.start_at_once_g is not None
    print(
        json.dumps(
            {
                "jobs": own.jobs,
                "gpus": own.gpus,
                "slots": own.slots,
                "gap": made.gap_ratio,
                "late": sum(row.late for row in made.placements),
                "saving": 1 - made.expected_g / made.start_at_once_g if known else None,
                "wall_s": [wall for _, wall, _ in runs],
                "cpu_s": [cpu for _, _, cpu in runs],
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "peak_before_mib": before_kib / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
