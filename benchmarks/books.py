"""How long it takes to place runs in the baseline, to compare them with it, and to report them.

    .venv/bin/python benchmarks/books.py [--jobs 10000] [--minutes 10]

The store is a real one, in memory where the machine has a folder for that. Jobs of that length, all submitted at once,
have run one after another on 8 GPUs, a slice a minute, and are settled. Every place must be searched for from the first
instant on, among all earlier runs on its GPU, which is the worst case. All places are found when the database is
opened, as for a database from before baselines. Times are CPU time, so that a busy machine does not distort them.
"""

import argparse
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory
from time import process_time

from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Slot
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.job import JobSpec
from greenrun.engine.baselines import BaselineComparison
from greenrun.reports.build import Reports, ReportSettings
from greenrun.store import Store
from greenrun.store.columns import to_text

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, SLOT, WAITS = timedelta(minutes=1), timedelta(minutes=30), timedelta(days=1)
GPUS, PROJECTS, AT_ONCE = 8, 5, 50
MEMORY = Path("/dev/shm")
RUN = """
    INSERT INTO runs (id, job_id, number, token, devices, claimed_at, started_at, ended_at, outcome)
    VALUES (?, ?, 1, ?, ?, ?, ?, ?, 'succeeded')
"""
UK = SeriesId(provider="uk", zone="GB")
PRICE = Priced(intensity_g_per_kwh=93.0, emissions_g=0.5, kind=Kind.MEASURED, series=UK)


def main() -> None:
    """Print what each part takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder, Store(Path(folder) / "b.db") as store:
        end = T0 + WAITS + -(-options.jobs // GPUS) * options.minutes * MINUTE
        keep_intensities(store, end)
        fill(store, options.jobs, options.minutes * MINUTE, end)
        print(f"{options.jobs} runs of {options.minutes} min on {GPUS} GPUs, {options.jobs * options.minutes} slices")
        place(store, options.jobs)
        compare(store, end)
        report(store, end)


def keep_intensities(store: Store, end: datetime) -> None:
    """Keep half hours up to the end."""
    starts = [T0 + number * SLOT for number in range((end - T0) // SLOT + 1)]
    values = [93.0 + number % 48 for number in range(len(starts))]
    slots = [Slot(at, at + SLOT, value, Kind.MEASURED) for at, value in zip(starts, values, strict=True)]
    store.grid.save_intensities(Series.of(UK, slots), fetched_at=end + WAITS)


def fill(store: Store, jobs: int, length: timedelta, end: datetime) -> None:
    """Let the jobs have run from a day after they were submitted, with their slices booked and settled."""
    specs = [JobSpec(command=("true",), workdir="/", project=f"p{n % PROJECTS}", duration=length) for n in range(jobs)]
    for at in range(0, jobs, 1000):
        store.jobs.add_jobs(specs[at : at + 1000], user="ada", uid=1, now=T0)
    starts = [T0 + WAITS + number // GPUS * length for number in range(jobs)]
    with closing(connect(store.path)) as connection, connection:
        connection.execute("UPDATE jobs SET state = 'succeeded'")
        connection.executemany(RUN, [_run(number, start, length) for number, start in enumerate(starts)])
    for first in range(0, jobs, GPUS * AT_ONCE):
        some = list(enumerate(starts))[first : first + GPUS * AT_ONCE]
        slices = [
            Entry(slice=row, pue=1.2, booked=PRICE) for number, start in some for row in _slices(number, start, length)
        ]
        store.books.append_slices(slices, [], now=end)
    while rows := store.books.unsettled(end):
        store.books.settle({key: PRICE for key, _, _ in rows}, now=end)


def place(store: Store, jobs: int) -> None:
    """Open the database again, which gives each run its place."""
    began = process_time()
    Store(store.path).close()
    print(f"find their places: {1e3 * (process_time() - began) / jobs:.2f} ms each")


def compare(store: Store, end: datetime) -> None:
    """Compare all pending runs, as the daemon does, a batch a tick."""
    comparing, took_s = BaselineComparison(store.baselines, store.grid), []
    while store.baselines.uncompared(end, limit=1):
        began = process_time()
        comparing.compare(timedelta(0), end)
        took_s.append(process_time() - began)
    began = process_time()
    comparing.compare(timedelta(0), end)
    print(
        f"compare them: {sum(took_s):.1f} s in {len(took_s)} batches, the longest {1e3 * max(took_s):.0f} ms;"
        f" a tick with nothing to compare {1e3 * (process_time() - began):.2f} ms"
    )


def report(store: Store, end: datetime) -> None:
    """Report all of it by project and by job."""
    reports = Reports(store.archive, lambda: (), ReportSettings(zone="GB", pue=1.2))
    for by in ("project", "job", "month"):
        began = process_time()
        made = reports.report(T0, end, by, end)
        took_s = process_time() - began
        print(f"report by {by}: {took_s:.2f} s, {len(made.rows)} rows, {made.total.avoided_g:.0f} g avoided")


def _run(number: int, start: datetime, length: timedelta) -> tuple[object, ...]:
    device, ends = f'["GPU-{number % GPUS}"]', to_text(start + length)
    return number + 1, number + 1, str(number), device, to_text(start), to_text(start), ends


def _slices(number: int, start: datetime, length: timedelta) -> list[Slice]:
    return [
        Slice(
            device=f"GPU-{number % GPUS}", component=Component.GPU, run_id=number + 1, start=start + at * MINUTE,
            end=start + (at + 1) * MINUTE, energy_j=18_000.0, quality=Quality.MEASURED,
        )
        for at in range(length // MINUTE)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
