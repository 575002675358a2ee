"""Weeks of a year drawn by a seed: what greenrun saves there, what it would with sight, and what nobody can exceed.

    python benchmarks/weeks.py --data ../shared/data                                  # five weeks of DK-DK1, 28 GPUs
    python benchmarks/weeks.py --data ../shared/data --zones AU-SA DE --gpus 40 --weeks 3 --seed 8

Each week has the 1,000 jobs of peers.py, and begins at an hour that is drawn, the same for all zones. *With history*
greenrun has learned what usually arrives from the eight weeks before. *Known* is what greenrun saves when it is told of
each job 48 hours before the job may start, which is as far as it sees the grid: what expected arrivals could be worth
if they were known exactly. It is no bound, since a better planner might do more with that. The bound is with hindsight.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison, compare
from greenrun.simulation.files import read_case
from greenrun.simulation.policies import GREENRUN, policies_of

JOBS, HISTORY = "jobs/pai_1k.csv", "jobs/pai_history_8weeks.csv"
FIRST, LAST = datetime(2022, 2, 1, tzinfo=UTC), datetime(2022, 12, 10, tzinfo=UTC)
SIGHT = timedelta(hours=48)


def drawn(seed: int, weeks: int) -> Sequence[datetime]:
    """Return the hours at which weeks begin."""
    hours = int((LAST - FIRST) / timedelta(hours=1))
    return [FIRST + timedelta(hours=hour) for hour in sorted(random.Random(seed).sample(range(hours), weeks))]


def case_of(data: Path, zone: str, gpus: int, start: datetime, *, history: bool) -> Case:
    """Return a week as it is simulated."""
    return read_case(
        intensity=data / "intensity" / f"{zone}_2022.csv",
        jobs=data / JOBS,
        start=start,
        gpus=gpus,
        earlier=data / HISTORY if history else None,
    )


def played(case: Case) -> tuple[Comparison, float]:
    """Return what greenrun comes to in a week, and the seconds of processor that it takes."""
    began_s = time.process_time()
    return compare(case, policies_of([GREENRUN], [])), time.process_time() - began_s


def told(found: Comparison) -> str:
    """Return the saving in per cent, and in brackets how many jobs were late."""
    saved, late = found.saving_ratio(GREENRUN), found.figures[GREENRUN].late
    text = "unknown" if saved is None else f"{100 * saved:.2f}"
    return f"{text} ({late})" if late else text


def main() -> None:
    """Print a line a week."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds intensity/ and jobs/")
    parser.add_argument("--zones", nargs="+", default=["DK-DK1"])
    parser.add_argument("--gpus", type=int, default=28)
    parser.add_argument("--weeks", type=int, default=5)
    parser.add_argument("--seed", type=int, default=20221130)
    own = parser.parse_args()
    print(f"seed {own.seed}, {own.gpus} GPUs\n")
    print("| zone | week from | without history | with history | of the bound | known | bound | CPU s, with history |")
    print("|---|---|---|---|---|---|---|---|")
    for zone in own.zones:
        for start in drawn(own.seed, own.weeks):
            plain = case_of(own.data, zone, own.gpus, start, history=False)
            without, _ = played(plain)
            learned, took_s = played(case_of(own.data, zone, own.gpus, start, history=True))
            known, _ = played(replace(plain, notice=SIGHT))
            bound, saved = learned.bound_saving_ratio(), learned.saving_ratio(GREENRUN)
            share = f"{saved / bound:.0%}" if saved and bound else "unknown"
            most = "unknown" if bound is None else f"{100 * bound:.2f}"
            cells = f"{told(without)} | {told(learned)} | {share} | {told(known)} | {most} | {took_s:.0f}"
            print(f"| {zone} | {start:%Y-%m-%dT%H:%MZ} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
