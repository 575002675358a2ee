"""Plan queues in which jobs, or pools of GPUs, are all alike, where prices have nothing to tell them apart by.

    python benchmarks/like.py                             # the made-up grid; needs no data
    python benchmarks/like.py --data ../shared/data       # recorded grids too; a minute

1,000 jobs of an hour on 8 GPUs that may wait for six days, planned at once and in ten batches, each around the plan
before; and the queues of fixed_queue.py, 300 jobs on 40 GPUs and four days, in one pool and in ten like ones.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from fixed_queue import GPU_POWER_W, START, Floats, made_up, queue, recorded, situation, timed

from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.planning.model import DeviceKind, Options, Plan

LIKE, BATCHES, LIKE_GPUS, LIKE_SLOTS = 1_000, 10, 8, 336
WAIT = timedelta(days=6)
MIXED, MIXED_GPUS, MIXED_SLOTS, LOAD, POOLS, SEEDS = 300, 40, 192, 0.7, 10, (1, 2, 3)


def like_jobs() -> Sequence[Job]:
    """Return jobs that differ by their ids only."""
    spec = JobSpec(
        command=("true",), workdir="/", gpus=1, duration=timedelta(hours=1), power_w=GPU_POWER_W, max_delay=WAIT
    )
    ids = range(1, LIKE + 1)
    return [Job(id=id_, spec=spec, user="ada", uid=1000, state=State.QUEUED, submitted_at=START) for id_ in ids]


def told(*plans: Plan) -> str:
    """Return the gaps of plans from the least to the most, how much the last saves, and how many are late in it."""
    gaps = [made.gap_ratio or 0.0 for made in plans]
    last = plans[-1]
    known = last.expected_g is not None and last.start_at_once_g
    saving = f"{1 - (last.expected_g or 0.0) / (last.start_at_once_g or 1.0):.2%}" if known else "unknown"
    shown = f"{min(gaps):.2%} to {max(gaps):.2%}" if len(gaps) > 1 else f"{gaps[0]:.2%}"
    return f"{shown} | {saving} | {sum(row.late for row in last.placements)}"


def show_like(grid: str, values: Floats) -> None:
    """Plan like jobs."""
    jobs = like_jobs()
    made, _, took_s = timed(situation(jobs, LIKE_GPUS, values, Options()))
    print(f"| {LIKE:,} like jobs x {LIKE_GPUS} GPUs | {grid} | {told(made)} | {took_s:.2f} |", flush=True)
    plans, spent_s = list[Plan](), 0.0
    for nth in range(1, BATCHES + 1):
        asked = situation(jobs[: nth * LIKE // BATCHES], LIKE_GPUS, values, Options())
        asked = replace(asked, last=plans[-1], prices=plans[-1].prices) if plans else asked
        made, _, took_s = timed(asked)
        plans.append(made)
        spent_s += took_s
    print(f"| the same in {BATCHES} batches | {grid} | {told(*plans)} | {spent_s:.2f} |", flush=True)


def show_pools(grid: str, values: Floats) -> None:
    """Plan the same queues in one pool and in some."""
    found: dict[int, list[tuple[Plan, float]]] = {1: [], POOLS: []}
    for seed in SEEDS:
        asked = situation(queue(MIXED, MIXED_GPUS, MIXED_SLOTS, LOAD, seed), MIXED_GPUS, values, Options())
        for pools, plans in found.items():
            kinds = {name: DeviceKind(model=f"kind {nth % pools}") for nth, name in enumerate(asked.devices)}
            made, _, took_s = timed(replace(asked, kinds=kinds))
            plans.append((made, took_s))
    for pools, plans in found.items():
        name = f"{MIXED} jobs x {MIXED_GPUS} GPUs in {'one pool' if pools == 1 else f'{pools} like pools'}"
        took = sorted(took_s for _, took_s in plans)
        print(
            f"| {name} | {grid} | {told(*(made for made, _ in plans))} | {took[0]:.2f} to {took[-1]:.2f} |", flush=True
        )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds intensity/; without it a made-up grid alone")
    parser.add_argument("--zones", nargs="+", default=["DE", "AU-SA", "US-CAL-CISO"])
    own = parser.parse_args()
    print("| queue | grid | gap | saving | late | CPU s |\n|---|---|---|---|---|---|")
    for zone in ["", *(own.zones if own.data else [])]:
        path = own.data / "intensity" / f"{zone}_2022.csv" if zone else None
        values = recorded(path, LIKE_SLOTS) if path else made_up(LIKE_SLOTS, 1)
        show_like(zone or "synthetic", values)
        show_pools(zone or "synthetic", values[:MIXED_SLOTS])


if __name__ == "__main__":
    main()
