"""Plan queues of interruptible jobs with the daemon's own options, beside the same queues in one piece.

    python benchmarks/interruptible.py --data ../shared/data                     # a minute
    python benchmarks/interruptible.py --data ../shared/data --zones DE AU-SA --seeds 5

Queues are those of fixed_queue.py (50 jobs, 8 GPUs, four days of half-hours), every job interruptible, at each restart
cost. A new plan is made from nothing; a light one around the last plan, half an hour later, once the jobs that were to
run by then do. Seconds are of processor, the least and the most of all queues of a line.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from fixed_queue import START, made_up, queue, recorded, situation, timed

from greenrun.core.jobs.job import Job
from greenrun.core.planning.model import Options, Plan, Running, Situation

COSTS_MIN = (0, 1, 5)
STEP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One queue at one restart cost, against the same jobs in one piece."""

    whole: Plan
    made: Plan
    light: Plan
    new_s: float
    light_s: float

    @property
    def gained(self) -> float:
        """By how much less is emitted than in one piece, as a share."""
        assert self.made.expected_g is not None
        assert self.whole.expected_g is not None
        return 1 - self.made.expected_g / self.whole.expected_g


def interruptible(jobs: Sequence[Job], minutes: int) -> tuple[Job, ...]:
    """Return the jobs such that they may be suspended, for what a restart costs."""
    more = {"interruptible": True, "restart_cost": timedelta(minutes=minutes)}
    return tuple(replace(job, spec=replace(job.spec, **more)) for job in jobs)


def half_an_hour_later(asked: Situation, made: Plan) -> Situation:
    """Return the situation once those jobs run that were to start by then."""
    now = asked.now + STEP
    started = {row.job_id: row for row in made.placements if row.start < now < row.intervals[0][1]}
    done = {row.job_id for row in made.placements if row.start < now} - started.keys()
    jobs, devices = {job.id: job for job in asked.jobs}, list(asked.devices)
    running = []
    for job_id, row in started.items():
        own = tuple(devices.pop() for _ in range(row.gpus))
        running.append(Running(job=jobs[job_id], devices=own, since=row.start))
    waiting = tuple(job for job in asked.jobs if job.id not in started and job.id not in done)
    return replace(asked, now=now, jobs=waiting, running=tuple(running), last=made, prices=made.prices)


def measured(jobs: Sequence[Job], minutes: int, own: argparse.Namespace, zone: str, seed: int) -> Measured:
    """Plan one queue."""
    path = own.data / "intensity" / f"{zone}_2022.csv" if zone != "synthetic" else None
    values = recorded(path, own.slots) if path else made_up(own.slots, seed)
    whole, _, _ = timed(situation(jobs, own.gpus, values, Options()))
    asked = situation(interruptible(jobs, minutes), own.gpus, values, Options())
    made, _, new_s = timed(asked)
    light, _, light_s = timed(half_an_hour_later(asked, made))
    return Measured(whole=whole, made=made, light=light, new_s=new_s, light_s=light_s)


def lines(own: argparse.Namespace) -> Iterator[tuple[str, int, list[Measured]]]:
    """Yield the zone, the restart cost in minutes, and what was measured with each seed."""
    for zone in own.zones if own.data else ["synthetic"]:
        for minutes in COSTS_MIN:
            seeds = range(1, own.seeds + 1)
            queues = {seed: queue(own.jobs, own.gpus, own.slots, own.load, seed) for seed in seeds}
            yield zone, minutes, [measured(jobs, minutes, own, zone, seed) for seed, jobs in queues.items()]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds intensity/; without it a made-up grid")
    parser.add_argument("--zones", nargs="+", default=["DE"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--slots", type=int, default=192, help="half-hours")
    parser.add_argument("--load", type=float, default=0.7)
    own = parser.parse_args()
    print(f"from {START:%Y-%m-%dT%H:%MZ} on; {own.jobs} jobs, {own.gpus} GPUs, {own.seeds} queues a line\n")
    print("| grid | restart, min | below one piece | gap | late | new plan, CPU s | light plan, CPU s | its gap |")
    print("|---|---|---|---|---|---|---|---|")
    for zone, minutes, found in lines(own):
        gaps = [one.made.gap_ratio or 0.0 for one in found]
        light = [one.light.gap_ratio or 0.0 for one in found]
        cells = (
            zone,
            minutes,
            f"{min(one.gained for one in found):.2%} to {max(one.gained for one in found):.2%}",
            f"{min(gaps):.2%} to {max(gaps):.2%}",
            sum(row.late for one in found for row in one.made.placements),
            f"{min(one.new_s for one in found):.2f} to {max(one.new_s for one in found):.2f}",
            f"{min(one.light_s for one in found):.2f} to {max(one.light_s for one in found):.2f}",
            f"{min(light):.2%} to {max(light):.2%}",
        )
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
