"""How long a scrape takes, and how many series it has, after thousands of finished jobs and with runs that last days.

    .venv/bin/python benchmarks/scrape.py [--jobs 10000] [--running 8] [--days 3]

The store is a real one, in memory where the machine has a folder for that; 500 jobs are put into it through its own
methods, and then copied. It holds jobs of 20 projects that waited, ran on one of 8 GPUs and were booked, and others
that have been running for days, a slice a minute as the daemon books them. Three zones are watched, and every metric is
present. What is timed is what `/metrics` does: collect everything and write it out. The daemon does the first
collection when it starts, so that no scrape waits for it.
"""

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from greenrun.core.carbon.fallback import ActiveForecast, ReceivedForecast
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.carbon.verification import DAY_H, LEADS_H, ForecastScores
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Device, DeviceHealth, MeterHealth, Quality, Slice, Telemetry
from greenrun.core.histogram import FORECAST_ERROR, REQUEST_DURATION, Histogram, added
from greenrun.core.jobs.job import JobSpec, Outcome, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Plan
from greenrun.grid.forecast_quality import SeriesScores
from greenrun.metrics import TOTALS, DiskUsage, Health, LiveState, MetricsCollector, registry_of
from greenrun.store import Store

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GPUS, PROJECTS, ZONES, TIMES = 8, 20, ("GB", "DE", "US-CAL-CISO"), 100
MOST_MS, MOST_SERIES = 20.0, 500
MEMORY = Path("/dev/shm")
FILLED = 500  # so many jobs go through the store's own methods; the others are copies of them
OWN_IDS = 1_000_000
IDS = {
    "jobs": ("id",), "runs": ("id", "job_id"), "events": ("id", "job_id", "run_id"), "slices": ("id", "run_id"),
    "ledger": ("id", "slice_id"), "unsettled": ("slice_id",), "unsettled_marginal": ("slice_id",),
}  # fmt: skip
WHY, DONE = because(ReasonCode.DUE, window="93 g/kWh"), because(ReasonCode.SUCCEEDED)
GPU_DEVICES = [Device(id=f"GPU-{n}", index=n, model="A100", source="nvml", vendor="nvidia") for n in range(GPUS)]
CPU_DEVICES = [
    Device(id=f"RAPL-0-package-{n}{part}", index=n, model="CPU", source="rapl", kind=kind)
    for n in range(2) for part, kind in (("", Component.CPU), ("-dram", Component.DRAM))
]  # fmt: skip
DEVICES = [*GPU_DEVICES, *CPU_DEVICES]
TELEMETRY = Telemetry(
    power_w=300.0, power_limit_w=400.0, utilization=0.97, memory_used_bytes=1 << 36, temperature_c=61.0
)
PROVIDERS = ("uk", "entsoe", "energy_charts")
ASKED = (*PROVIDERS, "watttime")  # the last one has the marginal signal
LEADS = tuple(
    ForecastScores(
        lead_h=lead_h, issues=90, hours=540, mean_absolute_error_g_per_kwh=9.0, bias_g_per_kwh=1.0,
        rank_correlation=0.9, captured_ratio=0.9 if lead_h in ((24, 48), DAY_H) else None,
    )
    for lead_h in (*LEADS_H, DAY_H)
)  # fmt: skip
TROUBLES = dict.fromkeys(("implausible", "rebased", "stuck", "gap", "no_power", "unreadable"), 1)


def start(store: Store, number: int, at: datetime, device: str | None) -> Run:
    """Store a job that has waited for half an hour and runs since `at`."""
    spec = JobSpec(
        command=("train",),
        workdir="/",
        duration=10 * MINUTE,
        project=f"project-{number % PROJECTS}",
        name=f"job {number}",
    )
    job, _ = store.jobs.add_job(spec, user="ada", uid=1000, now=at - 30 * MINUTE)
    run = store.runs.claim(job.id, [device] if device else [], reason=WHY, now=at)
    assert run is not None
    store.runs.confirm(run.id, started_at=at, log=None, now=at)
    return run


def entries(run: Run, device: str, at: datetime, minutes: int) -> Iterator[Entry]:
    """Yield a priced slice for each minute of a run."""
    for minute in range(minutes):
        piece = Slice(
            device=device, component=Component.GPU, run_id=run.id, start=at + minute * MINUTE,
            end=at + (minute + 1) * MINUTE, energy_j=18_000.0, quality=Quality.MEASURED,
        )  # fmt: skip
        yield Entry(slice=piece, pue=1.2, booked=Priced(intensity_g_per_kwh=200.0, emissions_g=1.2, kind=Kind.FORECAST))


def finish(store: Store, finished: int) -> None:
    """Run jobs for five minutes each."""
    for number in range(finished):
        at, device = NOW - (finished - number) * timedelta(seconds=45), GPU_DEVICES[number % GPUS].id
        run = start(store, number, at, device)
        store.books.append_slices([*entries(run, device, at, 5)], [], now=at)
        outcome, state = (Outcome.SUCCEEDED, State.SUCCEEDED) if number % 9 else (Outcome.FAILED, State.FAILED)
        store.runs.close_run(
            run.id, outcome=outcome, exit_code=0, started_at=None, ended_at=at + 5 * MINUTE, log=None, job_state=state,
            reason=DONE, now=at + 5 * MINUTE,
        )  # fmt: skip


def begin(store: Store, running: int, days: float) -> None:
    """Let jobs run since some days."""
    minutes = int(days * 24 * 60)
    for number in range(running):
        at = NOW - minutes * MINUTE
        device = GPU_DEVICES[number].id if number < GPUS else None
        run = start(store, number, at, device)
        store.books.append_slices([*entries(run, device or "cpu-0", at, minutes)], [], now=NOW)


def multiply(path: Path, times: int) -> None:
    """Copy all that is stored of jobs, with other ids, until there is that many times as much."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, ids in IDS.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            shifted = ", ".join(f"{name} + :shift" if name in ids else name for name in names)
            for copy in range(1, times):
                insert = f"INSERT INTO {table} ({', '.join(names)}) SELECT {shifted} FROM {table} WHERE {ids[0]} < :own"
                connection.execute(insert, {"shift": copy * OWN_IDS, "own": OWN_IDS})
        connection.execute("UPDATE counters SET value = value * ?", (times,))


def count_background_work(store: Store) -> None:
    """Count what settlement, baselines and verification would: by project, and by zone and horizon."""
    for name, (_, labels) in TOTALS.items():
        if labels == ("project",):
            store.books.add_counts({(name, (("project", f"project-{n}"),)): 1.0 for n in range(PROJECTS)})
    for zone, horizon in product(ZONES, ("1h", "24h")):
        labels = (("grid_zone", zone), ("horizon", horizon), ("signal", "average_lifecycle"))
        store.books.add_counts(added({FORECAST_ERROR: 12.0}, labels))


def state_of() -> LiveState:
    """Return the daemon's live state: three zones, a source for each and a marginal one, GPUs and CPUs."""
    health = MeterHealth(
        devices=tuple(
            DeviceHealth(device=row.id, is_up=True, troubles=TROUBLES, telemetry=TELEMETRY) for row in DEVICES
        ),
        lag_s=0.5,
    )
    forecasts = {zone: forecast(provider, zone) for provider, zone in zip(PROVIDERS, ZONES, strict=True)}
    active_forecasts = {
        zone: ActiveForecast(fallback_level=FallbackLevel.FRESH, forecast=known) for zone, known in forecasts.items()
    }
    received = [ReceivedForecast(forecast=known, since=NOW) for known in forecasts.values()]
    quality = [SeriesScores(series=known.series.id, leads=LEADS) for known in forecasts.values()]
    asking = {provider: Histogram(REQUEST_DURATION) for provider in ASKED}
    return LiveState(
        now=lambda: NOW, plan=lambda: Plan(made_at=NOW), devices=lambda: DEVICES, meter=lambda: health,
        health=lambda: Health(started_at=NOW, last_tick_at=NOW, last_sample_at=NOW), asking=lambda: asking,
        active_forecasts=lambda: active_forecasts, received=lambda: received,
        requests=lambda: dict.fromkeys(ASKED, 7), quota_left=lambda: dict.fromkeys(ASKED, 99),
        quality=lambda: quality, disk_usage=lambda: DiskUsage(free=1, size=2),
    )  # fmt: skip


def forecast(provider: str, zone: str) -> Forecast:
    """Two days of half hours."""
    step = timedelta(minutes=30)
    slots = [Slot(NOW + n * step, NOW + (n + 1) * step, 100.0 + n, Kind.FORECAST) for n in range(96)]
    return Forecast(series=Series.of(SeriesId(provider=provider, zone=zone), slots), fetched_at=NOW)


def main() -> None:
    """Fill a store, scrape it, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=8)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument(
        "--folder", help="where the temporary store is made", default=MEMORY if MEMORY.is_dir() else None
    )
    asked = parser.parse_args()
    began_s = perf_counter()
    with TemporaryDirectory(dir=asked.folder) as folder, Store(Path(folder) / "greenrun.db") as store:
        times = max(1, asked.jobs // FILLED)
        finish(store, asked.jobs // times)
        multiply(Path(folder) / "greenrun.db", times)
        begin(store, asked.running, asked.days)
        count_background_work(store)
        print(f"{times * (asked.jobs // times)} finished jobs, {asked.running} that have run for {asked.days:g} days")
        print(f"filled in {perf_counter() - began_s:.0f} s")
        collector = MetricsCollector(store, state_of())
        began_s = perf_counter()
        collector.warm()
        print(f"collected when the daemon starts: {1000 * (perf_counter() - began_s):.1f} ms")
        registry = registry_of(collector)
        for encode in (generate_latest, generate_openmetrics):
            took_ms, cpu_s = [], process_time()
            for _ in range(TIMES):
                began_s = perf_counter()
                text = encode(registry, escaping=ALLOWUTF8)  # as the API does
                took_ms.append(1000 * (perf_counter() - began_s))
            cpu_ms = 1000 * (process_time() - cpu_s) / TIMES
            series = sum(not line.startswith(b"#") for line in text.splitlines())
            print(
                f"{encode.__module__.split('.')[1]}: {series} series (at most {MOST_SERIES}), {len(text)} bytes; "
                f"first {took_ms[0]:.1f} ms, mean {mean(took_ms):.1f} ms, longest {max(took_ms):.1f} ms "
                f"(at most {MOST_MS:g}), mean CPU {cpu_ms:.1f} ms"
            )


if __name__ == "__main__":
    main()
