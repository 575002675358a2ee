"""What a report of a year of 50,000 jobs costs the daemon, in processor time and in memory.

    .venv/bin/python benchmarks/report_of_jobs.py [--jobs 50000] [--days 365] [--keep FOLDER]

Makes a store of that many finished jobs on 8 GPUs, with all that a daemon books: each GPU's energy by the hour, as it
is once merged, its booked and its settled price, and what runs would have emitted earlier. Then a real daemon opens it,
and the command asks it for reports through its socket. Seconds are CPU time of the daemon and of the command, from its
start to its end; memory is the daemon's peak above what it had before the first report. The bars are 3 s for both
together, and 60 MiB for each; the last line says whether they hold.
`--keep` makes the store in that folder and leaves it there, or takes the one that is there.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import sin
from pathlib import Path
from random import Random
from sqlite3 import connect
from tempfile import TemporaryDirectory
from time import monotonic, process_time, sleep

from greenrun.client import ApiClient
from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Slot
from greenrun.core.energy.ledger import Entry, price
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.job import JobSpec
from greenrun.engine.baselines import BaselineComparison
from greenrun.store import Store
from greenrun.store.columns import to_text

MOST_S, MOST_MIB = 3.0, 60.0
GPUS, PROJECTS, USERS, PUE = 8, 20, 12, 1.2
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
UK = SeriesId(provider="uk", zone="GB", basis=Basis.LIFECYCLE)
MEMORY = Path("/dev/shm")
RUN = """
    INSERT INTO runs (id, job_id, number, token, devices, claimed_at, started_at, ended_at, outcome, exit_code)
    VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
"""
SETTINGS = """
[api]
socket = "{folder}/g.sock"
metrics = ""

[paths]
state = "{folder}/state"
locks = "{folder}/locks"

[devices]
meter = "emulated"
pue = 1.2

[electricity]
currency = "EUR"
price = 0.31
timezone = "Europe/Berlin"
tariff = [{{ from = "07:00", to = "23:00", days = "mon-fri", price = 0.34 }}]

[accounting]
td_loss_ratio = 0.05
water_l_per_kwh = 1.8
residual_g_per_kwh = 725.0
market = [{{ from = "2020-01-01", to = "2040-01-01", g_per_kwh = 0.0, source = "PPA Windpark X", share = 0.8 }}]

[accounting.embodied]
source = "vendor's product carbon footprint"
g_per_gpu_hour = 27.0
"""


class Placed(tuple[int, int, datetime, datetime, bool]):
    """Id, GPU, start, end, and whether it succeeded."""


def main() -> None:
    """Make the store, ask for the reports, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 2 * DAY
        if not (folder / "state" / "greenrun.db").exists():
            build(folder / "state", options.jobs, end - options.days * DAY, end)
        measure(folder, end - options.days * DAY, end)


# the store


def build(state: Path, jobs: int, start: datetime, end: datetime) -> None:
    """Make a store of jobs that ran one after another on each GPU."""
    began = process_time()
    state.mkdir(mode=0o700)
    path, draw = state / "greenrun.db", Random(1)
    with Store(path) as store:
        placed = add_jobs(store, jobs, start, end, draw)
    with closing(connect(path)) as connection, connection:
        finish(connection, placed)
    with Store(path) as store:  # gives each run its place in the baseline
        measured = intensities(start, end)
        store.grid.save_intensities(measured, fetched_at=end + 2 * DAY)
        book(store, placed, start, end, measured, draw)
        comparing = BaselineComparison(store.baselines, store.grid)
        while store.baselines.uncompared(end, limit=1):
            comparing.compare(timedelta(0), end + 2 * DAY)
        while store.books.merge(end, limit=20_000):
            pass
    size_mb = path.stat().st_size / 1e6
    print(f"made a store of {jobs} jobs, {size_mb:.0f} MB, in {process_time() - began:.0f} s", flush=True)


def add_jobs(store: Store, jobs: int, start: datetime, end: datetime, draw: Random) -> list[Placed]:
    """Submit jobs an hour's worth at a time; return when each ran on which GPU."""
    each = (end - start) * GPUS / jobs
    placed = []
    for first in range(0, jobs, GPUS):
        begins = start + first // GPUS * each
        specs = [
            JobSpec(
                command=("python", "train.py", f"--lr={draw.random():.4f}"), workdir="/home/ada/vision",
                project=f"project {draw.randrange(PROJECTS)}", duration=HOUR, gpus=1, max_delay=DAY,
                labels={"team": f"team {draw.randrange(5)}"},
            )
            for _ in range(min(GPUS, jobs - first))
        ]  # fmt: skip
        at = begins - timedelta(minutes=draw.randrange(1, 360))
        added = store.jobs.add_jobs(specs, user=f"user {draw.randrange(USERS)}", uid=1000, now=at)
        for gpu, (job, _) in enumerate(added):
            since = begins + timedelta(seconds=draw.randrange(0, 300))
            until = begins + each - timedelta(seconds=draw.randrange(60, 2400))
            placed.append(Placed((job.id, gpu, since, until, draw.random() < 0.95)))
    return placed


def finish(connection: object, placed: list[Placed]) -> None:
    """Let the jobs have run: a run each, by hand, as a transaction for each step would take very long."""
    runs = [
        (key, key, str(key), json.dumps([name(gpu)]), to_text(since), to_text(since), to_text(until),
         "succeeded" if is_good else "failed", 0 if is_good else 1)
        for key, gpu, since, until, is_good in placed
    ]  # fmt: skip
    connection.executemany(RUN, runs)  # type: ignore[attr-defined]
    ends = [(row[7], row[6], row[0]) for row in runs]
    connection.executemany("UPDATE jobs SET state = ?, finished_at = ? WHERE id = ?", ends)  # type: ignore[attr-defined]


def book(store: Store, placed: list[Placed], start: datetime, end: datetime, measured: Series, draw: Random) -> None:
    """Book each GPU's energy in order of time, a few days in each transaction, and settle it."""
    foreseen = intensities(start, end, kind=Kind.FORECAST, shift=7.0)
    pieces = sorted((piece for gpu in range(GPUS) for piece in slices(placed, gpu, start, end, draw)), key=by_start)
    for at in range(0, len(pieces), 5000):
        some = pieces[at : at + 5000]
        store.books.append_slices(
            [Entry(slice=piece, pue=PUE, booked=price(piece, foreseen, PUE)) for piece in some], [], now=end
        )
        while rows := store.books.unsettled(end + DAY):
            store.books.settle({row.id: price(row.slice, measured, row.pue) for row in rows}, now=end + DAY)


def slices(placed: list[Placed], gpu: int, start: datetime, end: datetime, draw: Random) -> Iterator[Slice]:
    """Yield what a GPU used, cut at full hours and where a run begins or ends."""
    runs = [(since, until, key) for key, held, since, until, _ in placed if held == gpu]
    edges = {start + number * HOUR for number in range((end - start) // HOUR + 1)}
    ordered = sorted(edges.union(*((since, until) for since, until, _ in runs)))
    position = 0
    for since, until in pairwise(ordered):
        while position < len(runs) and runs[position][1] <= since:
            position += 1
        is_held = position < len(runs) and runs[position][0] <= since
        seconds = (until - since).total_seconds()
        yield Slice(
            device=name(gpu), component=Component.GPU, run_id=runs[position][2] if is_held else None,
            start=since, end=until, energy_j=seconds * (draw.uniform(250, 350) if is_held else draw.uniform(50, 60)),
            quality=Quality.MEASURED, busy_s=seconds * draw.uniform(0.7, 1.0) if is_held else 0.0,
        )  # fmt: skip


def intensities(start: datetime, end: datetime, kind: Kind = Kind.MEASURED, shift: float = 0.0) -> Series:
    """Return hours of made-up values."""
    starts = [start + number * HOUR for number in range((end - start) // HOUR)]
    values = [round(200 + shift + 80 * sin(at.timestamp() / 13_751), 1) for at in starts]
    return Series.of(UK, [Slot(at, at + HOUR, value, kind) for at, value in zip(starts, values, strict=True)])


def by_start(piece: Slice) -> datetime:
    """Return what slices are booked in the order of."""
    return piece.start


def name(gpu: int) -> str:
    """Return the id of a GPU."""
    return f"GPU-{gpu}f1c2a9e-7b3d-4e55-9a60-0c8d2f71b6{gpu}4"


# the daemon


def measure(folder: Path, start: datetime, end: datetime) -> None:
    """Ask a daemon for reports as the command does; print the processor time and memory of each."""
    period = ["--from", start.isoformat(), "--to", end.isoformat()]
    asked = [
        ("by project, JSON, a year", ["--by", "project", "--format", "json", *period]),
        ("by user, CSV, a year", ["--by", "user", "--format", "csv", *period]),
        ("by month, HTML, a year", ["--by", "month", "--format", "html", *period]),
        ("by job, JSON, a year", ["--by", "job", "--format", "json", *period]),
        ("by job, CSV, a year", ["--by", "job", "--format", "csv", *period]),
        ("by job, HTML, a year", ["--by", "job", "--format", "html", *period]),
        ("by job, table, a year", ["--by", "job", *period]),
        (
            "by job, JSON, a month",
            ["--by", "job", "--format", "json", "--from", (end - 30 * DAY).isoformat(), *period[2:]],
        ),
    ]
    worst_s = worst_mib = 0.0
    with daemon(folder) as (pid, socket):
        before_mib = resident_mib(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins here
        for what, options in asked:
            began, target = cpu_s(pid), folder / "report.out"
            command = [
                sys.executable,
                "-m",
                "greenrun.cli",
                "report",
                "--socket",
                str(socket),
                "-o",
                str(target),
                *options,
            ]
            children = os.times().children_user + os.times().children_system
            subprocess.run(command, check=True)
            took_s, more_mib = cpu_s(pid) - began, resident_mib(pid, "VmHWM") - before_mib
            client_s = os.times().children_user + os.times().children_system - children
            worst_s, worst_mib = max(worst_s, took_s + client_s), max(worst_mib, more_mib)
            size = target.stat().st_size / 1e6
            print(
                f"{what:24} {took_s + client_s:6.2f} s ({took_s:.2f} + {client_s:.2f}), {more_mib:6.1f} MiB more than "
                f"{before_mib:.0f}; {size:.1f} MB written", flush=True,
            )  # fmt: skip
            check(target, options)
    told = "holds" if worst_s <= MOST_S and worst_mib <= MOST_MIB else "FAILS"
    print(f"{worst_s / MOST_S:.2f} of {MOST_S} s, {worst_mib / MOST_MIB:.2f} of {MOST_MIB} MiB: {told}")


def check(target: Path, options: list[str]) -> None:
    """Read what was written as what it should be."""
    if "json" in options:
        print(f"{'':24} {len(json.loads(target.read_text())['rows'])} rows")
    elif "csv" in options:
        with target.open() as lines:
            print(f"{'':24} {sum(1 for _ in lines)} lines")


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a daemon on the store, once it is quiet; yield its process id and its socket."""
    socket = folder / "g.sock"
    settings = folder / "greenrun.toml"
    settings.write_text(SETTINGS.format(folder=folder))
    (folder / "locks").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "greenrun.cli", "serve", "--config", str(settings)],
        stdout=(folder / "daemon.log").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        client, limit = ApiClient(socket), monotonic() + 300
        while True:
            try:
                client.health()
                break
            except Exception:
                if monotonic() > limit or process.poll() is not None:
                    raise
                sleep(0.5)
        quiet(process.pid)
        yield process.pid, socket
    finally:
        process.terminate()
        process.wait()


def quiet(pid: int) -> None:
    """Wait until what a daemon does at its start is done."""
    while True:
        before = cpu_s(pid)
        sleep(5)
        if cpu_s(pid) - before < 0.25:
            return


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, field: str) -> float:
    """Return a field of a process's memory in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
