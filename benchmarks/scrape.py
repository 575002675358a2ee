"""How long a scrape takes, and how many series it has, after thousands of finished jobs and with runs that last days.

    .venv/bin/python benchmarks/scrape.py [--jobs 10000] [--running 8] [--days 3]

The store is a real one, in a temporary folder, filled through its own methods: jobs of 12 projects that waited, ran on
one of 8 GPUs and were booked, and others that still run, for days, a slice a minute as the daemon books them. What is
timed is what `/metrics` does: collect everything and write it out.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from greenrun.core.energy import Component, Device, DeviceHealth, MeterHealth, Quality, Slice
from greenrun.core.intensity import Forecast, Kind, Rung, Series, SeriesId, slots_of
from greenrun.core.job import JobSpec, Outcome, Run, State
from greenrun.core.ladder import Standing, Word
from greenrun.core.ledger import Entry, Priced
from greenrun.core.plan import Plan
from greenrun.core.reasons import ReasonCode, because
from greenrun.metrics import Health, LiveState, MetricsCollector, Room, registry_of
from greenrun.store import Store

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GPUS, PROJECTS, TIMES = 8, 12, 50
WHY, DONE = because(ReasonCode.DUE, window="93 g/kWh"), because(ReasonCode.SUCCEEDED)
DEVICES = [Device(id=f"GPU-{n}", index=n, model="A100", source="nvml") for n in range(GPUS)]
SERIES = SeriesId(provider="uk", zone="GB")
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
    job, _ = store.add_job(spec, user="ada", uid=1000, now=at - 30 * MINUTE)
    run = store.claim(job.id, [device] if device else [], reason=WHY, now=at)
    assert run is not None
    store.confirm(run.id, started_at=at, log=None, now=at)
    return run


def entries(run: Run, device: str, at: datetime, minutes: int) -> Iterator[Entry]:
    """Yield a priced slice for each minute of a run."""
    for minute in range(minutes):
        piece = Slice(
            device=device, component=Component.GPU, run_id=run.id, start=at + minute * MINUTE,
            end=at + (minute + 1) * MINUTE, energy_j=18_000.0, quality=Quality.MEASURED,
        )  # fmt: skip
        yield Entry(slice=piece, pue=1.2, booked=Priced(intensity_g_per_kwh=200.0, emissions_g=1.2, kind=Kind.FORECAST))


def fill(store: Store, finished: int, running: int, days: float) -> None:
    """Run the jobs, the finished ones for five minutes each."""
    for number in range(finished):
        at, device = NOW - (finished - number) * timedelta(seconds=45), DEVICES[number % GPUS].id
        run = start(store, number, at, device)
        store.append_slices([*entries(run, device, at, 5)], [], now=at)
        outcome, state = (Outcome.SUCCEEDED, State.SUCCEEDED) if number % 9 else (Outcome.FAILED, State.FAILED)
        store.close_run(
            run.id, outcome=outcome, exit_code=0, started_at=None, ended_at=at + 5 * MINUTE, log=None, job_state=state,
            reason=DONE, now=at + 5 * MINUTE,
        )  # fmt: skip
    minutes = int(days * 24 * 60)
    for number in range(running):
        at = NOW - minutes * MINUTE
        device = DEVICES[number].id if number < GPUS else None
        run = start(store, number, at, device)
        store.append_slices([*entries(run, device or "cpu-0", at, minutes)], [], now=NOW)


def state_of() -> LiveState:
    """What the daemon would tell besides: two zones, three sources, eight GPUs."""
    step = timedelta(minutes=30)
    slots = slots_of([NOW + n * step for n in range(96)], [100.0 + n for n in range(96)], step, Kind.FORECAST)
    forecast = Forecast(series=Series.of(SERIES, slots), fetched_at=NOW)
    health = MeterHealth(
        devices=tuple(DeviceHealth(device=row.id, is_up=True, troubles=TROUBLES) for row in DEVICES), lag_s=0.5
    )
    standing = Standing(rung=Rung.FRESH, forecast=forecast)
    return LiveState(
        now=lambda: NOW, plan=lambda: Plan(made_at=NOW), devices=lambda: DEVICES, meter=lambda: health,
        health=lambda: Health(started_at=NOW, last_tick_at=NOW, last_sample_at=NOW),
        standings=lambda: {"GB": standing, "DE": standing}, words=lambda: [Word(forecast=forecast, since=NOW)],
        requests=lambda: dict.fromkeys(("uk", "entsoe", "energy_charts"), 7), room=lambda: Room(free=1, size=2),
    )  # fmt: skip


def main() -> None:
    """Fill a store, scrape it, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=8)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--folder", help="where the temporary store is made")
    asked = parser.parse_args()
    with TemporaryDirectory(dir=asked.folder) as folder, Store(Path(folder) / "greenrun.db") as store:
        fill(store, asked.jobs, asked.running, asked.days)
        registry = registry_of(MetricsCollector(store, state_of()))
        for encode in (generate_latest, generate_openmetrics):
            took_ms, cpu_s = [], process_time()
            for _ in range(TIMES):
                began_s = perf_counter()
                text = encode(registry)
                took_ms.append(1000 * (perf_counter() - began_s))
            cpu_ms = 1000 * (process_time() - cpu_s) / TIMES
            series = sum(not line.startswith(b"#") for line in text.splitlines())
            print(
                f"{encode.__module__.split('.')[1]}: {series} series, {len(text)} bytes; first {took_ms[0]:.1f} ms, "
                f"median {median(took_ms):.1f} ms, longest of the others {max(took_ms[1:]):.1f} ms, "
                f"mean CPU {cpu_ms:.1f} ms"
            )


if __name__ == "__main__":
    main()
