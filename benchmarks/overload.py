"""Play crowded queues through the engine and beside first come first served, and print who misses how many limits.

    python benchmarks/overload.py --queues 20 --seed 7
    python benchmarks/overload.py --jobs-file pai_1k.csv --first 400 --gpus 12 --intensity AU-SA_2022.csv

The random queues ask for between 1.0 and 1.6 times the GPUs there are over some days; lengths spread like those of the
Alibaba PAI trace, each may be put off by up to a day. The daemon's own options. Processor seconds are the engine's.
"""

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from fixed_queue import GPU_COUNTS, GPU_SHARES, made_up

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.simulation.case import Case
from greenrun.simulation.compare import figures
from greenrun.simulation.files import read_case
from greenrun.simulation.foresight import ForesightIssue
from greenrun.simulation.play import play
from greenrun.simulation.policies import Arrival, dispatch, start_at_once
from greenrun.simulation.schedule import SLACK_S, Schedule

START = datetime(2022, 10, 19, 16, tzinfo=UTC)
SLOT_S = 1800.0
DAYS, DRAINED_DAYS = 2, 14  # jobs arrive over the first, and may end in the others
LEAST_LOAD, MOST_LOAD = 1.0, 1.6


def crowded(seed: int) -> Case:
    """Return a queue that asks for more than there is: 60 to 120 jobs on 4 to 12 GPUs."""
    rng = np.random.default_rng(seed)
    count, gpus = int(rng.integers(60, 121)), int(rng.integers(4, 13))
    wanted = rng.choice(GPU_COUNTS, count, p=GPU_SHARES)
    length_s = np.clip(np.exp(rng.normal(0.0, 1.4, count)), 0.1, 20.0)
    span_s = DAYS * 86_400.0
    length_s *= rng.uniform(LEAST_LOAD, MOST_LOAD) * gpus * span_s / float(length_s @ wanted)
    delay_s = rng.choice([0.0, 3600.0, 6 * 3600.0, 86_400.0], count, p=[0.1, 0.2, 0.3, 0.4])
    submitted_s = np.sort(rng.uniform(0.0, span_s, count)) + START.timestamp()
    jobs = tuple(
        Arrival(submitted_s=float(at_s), duration_s=float(round(own_s)), gpus=int(need), power_w=300.0 * int(need),
                max_delay_s=float(wait_s))
        for at_s, own_s, need, wait_s in zip(submitted_s, length_s, wanted, delay_s, strict=True)
    )  # fmt: skip
    values = made_up((DAYS + DRAINED_DAYS) * 48, seed)
    starts_s = START.timestamp() + np.arange(len(values)) * SLOT_S
    kinds = (Kind.MEASURED,) * len(values)
    grid = Series(SeriesId(provider="benchmark", zone="X"), starts_s, starts_s + SLOT_S, values, kinds)
    foretold = (ForesightIssue(issued_s=None, slots=grid),)
    return Case(start=START, jobs=jobs, gpus=gpus, measured=grid, issues=foretold, reach=timedelta(hours=48))


def lateness_h(schedule: Schedule, jobs: tuple[Arrival, ...]) -> float:
    """Return by how many hours limits are missed in all."""
    rows = zip(schedule.pieces, jobs, strict=True)
    late_s = (max(0.0, pieces[0][0] - job.latest_start_s) for pieces, job in rows)
    return sum(own_s for own_s in late_s if own_s > SLACK_S) / 3600


def told(name: str, case: Case) -> bool:
    """Print one queue's figures; return whether greenrun was worse than first come first served in either of them."""
    began_s = time.process_time()
    ours = play(case)
    took_s = time.process_time() - began_s
    plain = Schedule.whole(dispatch(case.jobs, [start_at_once(job) for job in case.jobs], case.gpus), case.jobs)
    rows = [(figures(each, case.jobs, case.measured), lateness_h(each, case.jobs)) for each in (ours, plain)]
    (own, own_h), (other, other_h) = rows
    print(
        f"{name:>10}  {len(case.jobs):5} jobs  {case.gpus or 0:4} GPUs   late {own.late:4} of {other.late:4}"
        f"   hours late {own_h:9.1f} of {other_h:9.1f}   emissions {_ratio(own.emissions_g, other.emissions_g)}"
        f"   {took_s:6.1f} s",
        flush=True,
    )
    return own.late > other.late or own_h > other_h + 1e-6


def _ratio(own_g: float | None, other_g: float | None) -> str:
    return "unknown" if own_g is None or not other_g else f"{100 * (own_g / other_g - 1):+5.1f} %"


def main() -> None:
    """Play the queues asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queues", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs-file", type=Path)
    parser.add_argument("--first", type=int, default=400)
    parser.add_argument("--gpus", type=int, default=12)
    parser.add_argument("--intensity", type=Path)
    asked = parser.parse_args()
    if asked.jobs_file:
        case = read_case(intensity=asked.intensity, jobs=asked.jobs_file, start=START, gpus=asked.gpus)
        told(asked.jobs_file.stem, replace(case, jobs=case.jobs[: asked.first]))
        return
    print(f"seed {asked.seed}; greenrun of first come first served")
    worse = [told(f"queue {seed}", crowded(seed)) for seed in range(asked.seed, asked.seed + asked.queues)]
    print(f"worse in {sum(worse)} of {len(worse)}")


if __name__ == "__main__":
    main()
