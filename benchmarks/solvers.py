"""Plan queues that are known in full with greenrun, HiGHS and CP-SAT, one after the other, and print a table.

    python -m venv FOLDER && FOLDER/bin/python -m pip install highspy ortools
    python benchmarks/solvers.py --data DATA --solvers FOLDER/bin/python

The queues are those of fixed_queue.py. The solvers run in an environment of their own (solver_starts.py), since
greenrun needs neither. They choose among starts on a grid: 5 minutes for small queues, 30 for the others, because each
start is a column with as many entries as the job has slots. greenrun is bound to no grid and runs with the daemon's own
options. All three are judged alike, by their starts: no job before or after its limits, never more GPUs in use than
there are, and the exact grams. Seconds are of processor, one thread, without building a solver's model.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, floor
from pathlib import Path
from typing import Any

import fixed_queue
import numpy as np
from fixed_queue import DAY_S, SLOT_S, START, Floats

from greenrun.core.jobs.job import Job
from greenrun.core.planning.model import Options

SLOTS, LOAD, SEED = 192, 0.8, 1
SOLVERS = {"highs": "HiGHS", "cp-sat": "CP-SAT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many jobs on how many GPUs, the solvers' grid, and their limit in seconds of processor."""

    jobs: int
    gpus: int
    step_s: float
    limit_s: float


QUEUES = (
    Queue(jobs=20, gpus=4, step_s=300.0, limit_s=20.0),
    Queue(jobs=60, gpus=8, step_s=300.0, limit_s=20.0),
    Queue(jobs=200, gpus=40, step_s=1800.0, limit_s=30.0),
    Queue(jobs=500, gpus=128, step_s=1800.0, limit_s=30.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A queue as columns; times in seconds after the start, shape (jobs,) each, and a half-hourly intensity."""

    release_s: Floats
    length_s: Floats
    gpus: Floats
    values: Floats

    @classmethod
    def of(cls, jobs: Sequence[Job], values: Floats) -> "Table":
        """Read the jobs of `fixed_queue.queue`."""
        return cls(
            release_s=np.array([((job.spec.start_after or START) - START).total_seconds() for job in jobs]),
            length_s=np.array([(job.spec.duration or timedelta()).total_seconds() for job in jobs]),
            gpus=np.array([float(job.spec.gpus) for job in jobs]),
            values=values,
        )

    def grams(self, number: int, start_s: Floats) -> Floats:
        """Return what a job emits from each of some starts, in g, from prefix sums of the intensity."""
        edges_s = np.arange(len(self.values) + 1) * SLOT_S
        sums = np.concatenate([[0.0], np.cumsum(self.values * SLOT_S)])
        ends_s = start_s + self.length_s[number]
        kw = fixed_queue.GPU_POWER_W * self.gpus[number] / 1000
        grams: Floats = (np.interp(ends_s, edges_s, sums) - np.interp(start_s, edges_s, sums)) * kw / 3600
        return grams

    def judge(self, starts_s: Floats, gpus: int) -> tuple[float, bool]:
        """Return what the starts emit, in g, and whether they keep every job's limits and the number of GPUs."""
        in_time = np.all((starts_s >= self.release_s - 1e-3) & (starts_s <= self.release_s + DAY_S + 1e-3))
        ends_s = starts_s + self.length_s
        in_use = [self.gpus[(starts_s <= at_s) & (ends_s > at_s + 1e-3)].sum() for at_s in starts_s]
        grams = sum(float(self.grams(number, start_s)) for number, start_s in enumerate(starts_s))
        return grams, bool(in_time and max(in_use) <= gpus)

    def on_grid(self, queue: Queue) -> dict[str, Any]:
        """Return the queue as the solvers get it; starts and lengths are counts of steps."""
        step_s, jobs = queue.step_s, []
        for number, (release_s, length_s) in enumerate(zip(self.release_s, self.length_s, strict=True)):
            first, last = ceil(release_s / step_s), floor((release_s + DAY_S) / step_s)
            costs = self.grams(number, np.arange(first, last + 1) * step_s).tolist()
            own = {"gpus": int(self.gpus[number]), "length": ceil(length_s / step_s)}
            jobs.append({**own, "first": first, "costs": costs})
        slots = ceil(SLOTS * SLOT_S / step_s) + 1  # a length that is rounded up may end past the horizon
        return {"gpus": queue.gpus, "slots": slots, "limit_s": queue.limit_s, "jobs": jobs}


def solved(python: Path, solver: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what a solver in another environment says."""
    command = [str(python), str(Path(__file__).with_name("solver_starts.py")), solver]
    done = subprocess.run(command, input=json.dumps(asked), check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # HiGHS announces itself above
    return told


def rows(queue: Queue, values: Floats, python: Path) -> list[str]:
    """Return a queue's rows: greenrun's and one for each solver."""
    jobs = fixed_queue.queue(queue.jobs, queue.gpus, SLOTS, LOAD, SEED)
    table = Table.of(jobs, values)
    made, _, used_s = fixed_queue.timed(fixed_queue.situation(jobs, queue.gpus, values, Options()))
    placed = [made.placement(job.id) for job in jobs]
    starts_s = np.array([(row.start - START).total_seconds() if row else np.nan for row in placed])
    ours_g, kept = table.judge(starts_s, queue.gpus)
    gap = f"{made.gap_ratio:.2%}" if made.gap_ratio is not None else "unknown"
    name = f"{queue.jobs} jobs x {queue.gpus} GPUs"
    lines = [row(name, "greenrun", "none", used_s, ours_g, None, gap, kept)]
    asked = table.on_grid(queue)
    for solver, title in SOLVERS.items():
        told = solved(python, solver, asked)
        grid = f"{queue.step_s / 60:.0f} min"
        found_g, kept, gap = None, None, "no plan"
        if told["starts"] is not None:
            found_g, kept = table.judge(np.array(told["starts"]) * queue.step_s, queue.gpus)
            gap = f"{max(0.0, found_g / told['bound_g'] - 1):.2%}" if told["bound_g"] else "unknown"
        more = found_g / ours_g - 1 if found_g is not None else None
        lines.append(row(name, f"{title} {told['version']}", grid, told["cpu_s"], found_g, more, gap, kept))
    return lines


def row(
    name: str, who: str, grid: str, used_s: float, grams: float | None, more: float | None, gap: str, kept: bool | None
) -> str:
    """Return one line of the table."""
    told_g = f"{grams:,.0f}" if grams is not None else "no plan"
    against = f"{more:+.2%}" if more is not None else ""
    limits = {True: "yes", False: "NO", None: ""}[kept]
    return f"| {name} | {who} | {grid} | {used_s:.2f} | {told_g} | {against} | {gap} | {limits} |"


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with intensity/DE_2022.csv")
    parser.add_argument("--solvers", type=Path, required=True, help="Python of an environment with highspy and ortools")
    own = parser.parse_args()
    values = fixed_queue.recorded(own.data / "intensity" / "DE_2022.csv", SLOTS)
    print("| queue | planner | grid | CPU s | g | against greenrun | gap | limits kept |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for queue in QUEUES:
        print("\n".join(rows(queue, values, own.solvers)), flush=True)


if __name__ == "__main__":
    main()
