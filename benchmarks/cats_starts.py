"""Ask CATS itself when it would start each job; runs in CATS's own Python and prints its answers as JSON.

    CATS_PYTHON benchmarks/cats_starts.py --intensity TRACE.csv --jobs JOBS.csv --start 2022-10-19T16:00Z

CATS has no sources but two web services, so this follows `cats.cli.run_cats` with the service's answer replaced: at
each job's submission CATS gets what its default service gives, 48 hours of half-hourly points from the half-hour of the
submission on, and those are exact. `--end-window` is the job's latest start. A job that CATS refuses starts at once.
"""

import argparse
import csv
import json
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from math import ceil
from pathlib import Path

from cats.forecast import PointEstimate, WindowedForecast

STEP = timedelta(minutes=30)
POINTS = 97  # both ends of 48 hours
LONGEST_MIN = 2820  # what run_cats allows: 47 hours, for a job and for the search


def trace(path: str) -> tuple[list[datetime], list[float]]:
    """Return the starts of the slots and their values, in g/kWh."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [(instant(row["start"]), float(row["g_per_kwh"])) for row in csv.DictReader(file)]
    return [start for start, _ in rows], [value for _, value in rows]


def instant(text: str) -> datetime:
    """Read an instant in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=UTC)


def points(now: datetime, starts: list[datetime], values: list[float]) -> list[PointEstimate]:
    """Return the service's answer at an instant, as far as the trace goes."""
    first = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
    instants = [first + number * STEP for number in range(POINTS)]
    last = starts[-1] + (starts[-1] - starts[-2])
    return [
        PointEstimate(datetime=at, value=values[bisect_right(starts, at) - 1])
        for at in instants
        if starts[0] <= at < last
    ]


def best_start(now: datetime, minutes: int, latest: datetime, data: list[PointEstimate]) -> datetime:
    """Return the start that CATS recommends; raise ValueError or IndexError where it fails or refuses."""
    if minutes > LONGEST_MIN:
        raise ValueError(f"{minutes} min is longer than the {LONGEST_MIN} min that CATS allows")
    windows = WindowedForecast(data, minutes, start=now, max_window_minutes=LONGEST_MIN, end_constraint=latest)
    windows[0]  # run_cats wants the window from now on as well, and fails without it
    return min(windows).start


def main() -> None:
    """Print the wanted starts, in seconds after the start, in the order of the jobs' file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--intensity", "--jobs", "--start"):
        parser.add_argument(name, required=True)
    own = parser.parse_args()
    starts, values = trace(own.intensity)
    origin = instant(own.start)
    wanted_s, refused = [], []
    with Path(own.jobs).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        now = origin + timedelta(seconds=float(row["submitted_s"]))
        minutes = ceil(float(row["duration_s"]) / 60)
        latest = now + timedelta(seconds=float(row["max_delay_s"]))
        try:
            chosen = best_start(now, minutes, latest, points(now, starts, values))
        except (ValueError, IndexError):
            refused.append(number)
            chosen = now
        wanted_s.append((chosen - origin).total_seconds())
    print(json.dumps({"version": version("climate-aware-task-scheduler"), "wanted_s": wanted_s, "refused": refused}))


if __name__ == "__main__":
    main()
