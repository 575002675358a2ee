"""How large the database is after a year of 8 GPUs, and what merging its slices takes.

    .venv/bin/python benchmarks/books_of_years.py [--days 365] [--slot-minutes 60] [--jobs-a-day 40]
                                                  [--slice-minutes 15] [--sparse] [--unmerged]

Writes what a daemon writes, by the same calls, in virtual time: jobs and runs, a slice of each GPU for each minute (or
some more, but in the first week and on the last two days, as merged ones are as large whatever they are made of), its
booked price from forecasts that change every half hour, its settled price a day later, what runs would have emitted
earlier, the forecasts and the measured values themselves. Then the daemon's own steps keep it small. Says how large the
file is, and each table; what merging took in CPU time, a step at a time; and by how much the figures of the report by
project of a week differ from those before its slices were merged, which must be nothing; and what reports of all take.
"""

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isclose, sin
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.energy.ledger import Entry, price
from greenrun.core.energy.merging import MERGE_AFTER
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.engine.baselines import BaselineComparison
from greenrun.reports.build import Reports, ReportSettings
from greenrun.store import Store
from greenrun.store.grid import THIN_AFTER

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GPUS = [f"GPU-{index}f1c2a9e-7b3d-4e55-9a60-0c8d2f71b6{index}4" for index in range(8)]
UK = SeriesId(provider="uk", zone="GB")
PUE = 1.2
DUE, DONE = Reason(ReasonCode.DUE, "its planned window has come"), Reason(ReasonCode.SUCCEEDED, "finished")


def main() -> None:
    """Build the year, and say what it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--slot-minutes", type=int, default=60)
    parser.add_argument("--jobs-a-day", type=int, default=40)
    parser.add_argument(
        "--slice-minutes", type=int, default=15, help="1 is what a daemon books; no more than a slot has"
    )
    parser.add_argument(
        "--sparse", action="store_true", help="no minutes but on the last two days, and no week compared"
    )
    parser.add_argument("--unmerged", action="store_true", help="what it was without")
    options = parser.parse_args()
    slot = options.slot_minutes * MINUTE
    with TemporaryDirectory() as folder, Store(Path(folder) / "b.db") as store:
        steps_s: list[float] = []
        for number in range(options.days):
            is_whole = (
                number < 8 and not options.sparse
            ) or number + 2 >= options.days  # the week that is looked at, and what is not merged yet
            step = MINUTE if options.unmerged or is_whole else options.slice_minutes * MINUTE
            live_a_day(store, T0 + number * DAY, slot, step, options.jobs_a_day, Random(number))
            before = week(store) if number == 7 and not options.sparse else None
            if not options.unmerged:
                steps_s += keep_small(store, T0 + (number + 1) * DAY)
            if number % 30 == 29 or number + 1 == options.days:
                print(f"{number + 1} days: {store.path.stat().st_size / 1e6:.1f} MB", flush=True)
            if before is not None and not options.unmerged:
                keep_small(store, T0 + (number + 3) * DAY)
                print(f"figures of a week that differ: {differences(before, week(store))}", flush=True)
        told(store)
        if steps_s:
            print(f"merging: {sum(steps_s):.0f} s of CPU in {len(steps_s)} steps, the longest {max(steps_s):.3f} s")
        reported(store, options.days)


def intensities(start: datetime, end: datetime, slot: timedelta, kind: Kind, shift: float = 0.0) -> Series:
    """Return slots of made-up values."""
    starts = [start + number * slot for number in range((end - start) // slot)]
    values = [round(200 + shift + 80 * sin(at.timestamp() / 13_751), 1) for at in starts]
    return Series.of(UK, [Slot(at, at + slot, value, kind) for at, value in zip(starts, values, strict=True)])


def live_a_day(store: Store, day: datetime, slot: timedelta, step: timedelta, jobs: int, draw: Random) -> None:
    """Let a day go by: jobs that are submitted, run and end, and all that is booked, settled and compared."""
    runs = run_jobs(store, day, jobs, draw)
    for half in range(48):
        at = day + half * 30 * MINUTE
        first = at - timedelta(seconds=at.timestamp() % slot.total_seconds())
        foreseen = intensities(first, first + 2 * DAY, slot, Kind.FORECAST, shift=draw.uniform(-9, 9))
        store.grid.save_forecast(Forecast(series=foreseen, fetched_at=at, issued_at=at))
        pieces = [piece for index, device in enumerate(GPUS) for piece in slices(device, at, step, runs[index], draw)]
        store.books.append_slices(
            [Entry(slice=piece, pue=PUE, booked=price(piece, foreseen, PUE)) for piece in pieces], [], now=at
        )
    measured = intensities(day, day + DAY, slot, Kind.MEASURED)
    end = day + 2 * DAY
    store.grid.save_intensities(measured, fetched_at=end)
    while rows := store.books.unsettled(day + DAY):
        store.books.settle({row.id: price(row.slice, measured, row.pue) for row in rows}, now=end)
    comparing = BaselineComparison(store.baselines, store.grid)
    while store.baselines.uncompared(day + DAY, limit=1):
        comparing.compare(timedelta(0), end)


def run_jobs(store: Store, day: datetime, jobs: int, draw: Random) -> list[list[tuple[int, datetime, datetime]]]:
    """Run some jobs on each GPU, one after another, with pauses; return each GPU's runs with their start and end."""
    runs: list[list[tuple[int, datetime, datetime]]] = [[] for _ in GPUS]
    each = DAY / max(1, jobs // len(GPUS))
    for index, device in enumerate(GPUS):
        for number in range(jobs // len(GPUS)):
            start = day + number * each + timedelta(seconds=draw.randrange(0, 1800))
            end = day + (number + 1) * each - timedelta(seconds=draw.randrange(60, 1800))
            spec = JobSpec(
                command=("python", "train.py", "--lr", f"{draw.random():.4f}"), workdir="/home/ada/vision",
                project=f"p{index % 3}", duration=end - start, gpus=1, max_delay=DAY,
            )  # fmt: skip
            job = store.jobs.add_job(spec, user="ada", uid=1000, now=start - HOUR)[0]
            run = store.runs.claim(job.id, [device], reason=DUE, now=start)
            assert run is not None
            store.runs.confirm(run.id, started_at=start, log=f"/home/ada/vision/greenrun-{job.id}.log", now=start)
            store.runs.close_run(
                run.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=None, ended_at=end, log=None,
                job_state=State.SUCCEEDED, reason=DONE, now=end,
            )  # fmt: skip
            runs[index].append((run.id, start, end))
    return runs


def slices(
    device: str, start: datetime, step: timedelta, runs: list[tuple[int, datetime, datetime]], draw: Random
) -> Iterator[Slice]:
    """Yield the slices of a GPU in half an hour, cut at full steps and where a run begins or ends."""
    stop = start + 30 * MINUTE
    edges = {start + number * step for number in range(30 * MINUTE // step + 1)}
    edges |= {at for _, *both in runs for at in both if start < at < stop}
    ordered = sorted(edges)
    for since, until in pairwise(ordered):
        run_id = next((run_id for run_id, begins, ends in runs if begins <= since < ends), None)
        watts = draw.uniform(280, 350) if run_id is not None else draw.uniform(50, 60)
        seconds = (until - since).total_seconds()
        yield Slice(
            device=device, component=Component.GPU, run_id=run_id, start=since, end=until, energy_j=watts * seconds,
            quality=Quality.MEASURED, busy_s=seconds if run_id is not None else 0.0,
        )  # fmt: skip


def keep_small(store: Store, now: datetime) -> list[float]:
    """Do what the daemon does in its ticks and its housekeeping; return how long each step of merging took."""
    took_s = []
    goes_on = True
    while goes_on:
        began = process_time()
        goes_on = store.books.merge(now - MERGE_AFTER)
        took_s.append(process_time() - began)
    store.grid.thin_forecasts(now - THIN_AFTER)
    store.shrink()
    return took_s


def reported(store: Store, days: int) -> None:
    """Print what reports of all of it take."""
    reports = Reports(store.archive, lambda: (), ReportSettings(zone="GB", pue=PUE))
    end, now = T0 + days * DAY, T0 + (days + 30) * DAY
    began = process_time()
    made = reports.report(T0, end, "project", now)
    print(f"report by project: {process_time() - began:.2f} s of CPU; {made.total.jobs} jobs", flush=True)
    began = process_time()
    size = sum(len(piece) for piece in reports.json_by_job(T0, end, now))
    print(f"report by job: {process_time() - began:.2f} s of CPU, {size / 1e6:.1f} MB", flush=True)


def week(store: Store) -> dict[str, Any]:
    """Return the figures of the first week, by project and in all."""
    reports = Reports(store.archive, lambda: (), ReportSettings(zone="GB", pue=PUE))
    figures: dict[str, Any] = reports.report(T0, T0 + 7 * DAY, "project", T0 + 30 * DAY).model_dump(mode="json")
    return figures


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Return where two structures differ by more than the rounding of sums."""
    if isinstance(one, dict):
        return [found for key in one for found in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for at, pair in pairs for found in differences(*pair, f"{path}[{at}]")]
    if isinstance(one, float):
        return [] if other is not None and isclose(one, other, rel_tol=1e-9) else [f"{path}: {one} {other}"]
    return [] if one == other else [f"{path}: {one} {other}"]


def told(store: Store) -> None:
    """Print how large each table and index is."""
    with closing(sqlite3.connect(store.path)) as connection:
        query = "SELECT name, sum(pgsize), sum(ncell) FROM dbstat GROUP BY name ORDER BY 2 DESC"
        for name, size, rows in connection.execute(query).fetchall()[:14]:
            print(f"{size / 1e6:9.1f} MB  {rows:>9}  {name}")


if __name__ == "__main__":
    main()
