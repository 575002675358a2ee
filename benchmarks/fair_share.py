"""What fair share gives and costs: users of equal shares who each want more than there is, for a week of a grid.

    python benchmarks/fair_share.py --data ../shared/data                                # 2 users, 4 GPUs, Germany
    python benchmarks/fair_share.py --data ../shared/data --gpus 8 --users 4 --zone DK-DK1

Each user submits once, ten minutes after the one before, 1.3 times a part of the week's GPU time in jobs of 1 to 8
hours on one or two GPUs, which may wait 20 days. Printed are each user's GPU-hours in the first week with and without
sharing, how far the furthest is from their mean, what greenrun saves of starting as soon as possible, and the seconds
of processor.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from greenrun.core.planning.precedence.fair_share import AccountOf, Shares
from greenrun.simulation.case import Case
from greenrun.simulation.compare import compare
from greenrun.simulation.files import read_case
from greenrun.simulation.policies import GREENRUN, Arrival, policies_of
from greenrun.simulation.schedule import Piece

START, WEEK = datetime(2022, 10, 19, 16, tzinfo=UTC), timedelta(days=7)
HOURS, GPUS, DEMAND, MEAN_H = (1, 2, 4, 8, 6), (1, 1, 1, 2), 1.3, 4.5


def flood(case: Case, users: int, gpus: int) -> Case:
    """Return the case with the jobs of these users instead of its own."""
    draw, jobs = Random(1), list[Arrival]()
    for user in range(users):
        for _ in range(int(gpus * WEEK / timedelta(hours=1) * DEMAND / users / MEAN_H)):
            hours, wanted = draw.choice(HOURS), draw.choice(GPUS)
            jobs.append(
                Arrival(
                    submitted_s=START.timestamp() + 600 * user,
                    duration_s=3600.0 * hours,
                    gpus=wanted,
                    power_w=300.0,
                    max_delay_s=20 * 86_400.0,
                    user=f"user {user + 1}",
                )
            )
    return replace(case, jobs=tuple(jobs))


def told(case: Case) -> str:
    """Return a row: GPU-hours by user, the furthest from the mean, the saving, and the seconds of processor."""
    began_s = time.process_time()
    found = compare(case, policies_of([GREENRUN], []))
    used_h = _used_h(case, found.schedules[GREENRUN].pieces)
    mean_h = sum(used_h.values()) / len(used_h)
    furthest = max(abs(own_h / mean_h - 1) for own_h in used_h.values())
    saved = found.saving_ratio(GREENRUN)
    saving = "unknown" if saved is None else f"{saved:.1%}"
    hours = ", ".join(f"{own_h:.0f}" for own_h in used_h.values())
    return f"| {case.shares.by} | {hours} | {furthest:.1%} | {saving} | {time.process_time() - began_s:.0f} |"


def _used_h(case: Case, pieces: Sequence[tuple[Piece, ...]]) -> Mapping[str, float]:
    end_s, used_h = (START + WEEK).timestamp(), dict[str, float]()
    for job, spans in zip(case.jobs, pieces, strict=True):
        run_s = sum(max(0.0, min(stop_s, end_s) - start_s) for start_s, stop_s in spans)
        used_h[job.user] = used_h.get(job.user, 0.0) + job.gpus * run_s / 3600
    return used_h


def main() -> None:
    """Print a row without sharing, and one with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds intensity/ and jobs/")
    parser.add_argument("--zone", default="DE")
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--users", type=int, default=2)
    own = parser.parse_args()
    case = read_case(
        intensity=own.data / "intensity" / f"{own.zone}_2022.csv",
        jobs=own.data / "jobs/pai_1k.csv",
        start=START,
        gpus=own.gpus,
    )
    case = flood(case, own.users, own.gpus)
    print("| shared by | GPU-hours in a week | furthest from their mean | saves | CPU s |\n|---|---|---|---|---|")
    for by in (AccountOf.NOBODY, AccountOf.USER):
        print(told(replace(case, shares=Shares(by=by))), flush=True)


if __name__ == "__main__":
    main()
