"""Situations of every kind, drawn by hypothesis: pools, busy GPUs, odd seconds, holes, limits, suspended jobs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, Series, Slot
from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import Job
from greenrun.core.planning.model import DeviceKind, Options, Running, Situation
from tests.core.build import GRID, SLOT, T0, grid, job
from tests.sampling import examples

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


KINDS = (DeviceKind(model="A100", memory_gib=80), DeviceKind(model="A100", memory_gib=40), DeviceKind(model="V100"))
LEAST_EFFORT = {"iterations": 12, "rearrangements": 6}  # the promises hold however short the search


def situation(
    jobs: Sequence[Job], values: Sequence[float], gpus: int = 1, now: datetime = T0, **more: Any
) -> Situation:
    """Return a situation with GPUs of one kind and a forecast of half hours from T0 on."""
    own = {"devices": tuple(f"gpu{i}" for i in range(gpus)), "forecast": grid(values), **more}
    return Situation(now=now, jobs=tuple(jobs), **own)


def holed(values: Sequence[float | None]) -> Series:
    """Return a forecast of half hours from T0 on, with holes where a value is None."""
    return of_slots(
        Slot(T0 + i * SLOT, T0 + (i + 1) * SLOT, v, Kind.FORECAST) for i, v in enumerate(values) if v is not None
    )


def of_slots(slots: Iterable[Slot]) -> Series:
    """Return a forecast of these slots."""
    return Series.of(GRID, slots)


def seconds(low: int, high: int) -> st.SearchStrategy[timedelta]:
    """Spans of time, whole minutes more often than odd milliseconds."""
    whole = st.integers(-(-low // 60), high // 60).map(lambda n: timedelta(minutes=n))
    return whole | st.integers(low * 1000, high * 1000).map(lambda n: timedelta(milliseconds=n))


values = st.integers(0, 9).map(lambda v: v * 50.0)
forecasts = st.lists(values, min_size=2, max_size=24)


@st.composite
def jobs(draw: st.DrawFn, number: int, now: datetime, *, most_gpus: int = 3, suspended: bool = True) -> Job:
    """A job with any mixture of what a job may ask for, submitted up to two hours before `now`."""
    asked: dict[str, Any] = {
        "duration": draw(seconds(60, 3 * 3600)),
        "gpus": draw(st.integers(0, most_gpus)),
        "power_w": draw(st.sampled_from([None, 250.0, 1000.0])),
        "priority": draw(st.integers(0, 1)),
    }
    rarely: dict[str, st.SearchStrategy[Any]] = {
        "gpu_model": st.sampled_from(["a100", "V100"]),
        "gpu_memory_gib": st.sampled_from([40.0, 80.0]),
        "start_after": seconds(-3600, 5 * 3600).map(lambda after: now + after),
        "finish_by": seconds(0, 10 * 3600).map(lambda after: now + after),
        "max_delay": seconds(0, 8 * 3600),
        "start_now": st.just(True),
        "min_saving": st.sampled_from([0.05, 0.5]),
        "run_below_g_per_kwh": st.sampled_from([50.0, 200.0]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(rarely)), max_size=3, unique=True))
    asked |= {name: draw(rarely[name]) for name in chosen}
    if suspended and draw(st.booleans()):
        asked |= {"interruptible": True, "min_run": draw(seconds(0, 3600)), "restart_cost": draw(seconds(0, 1200))}
    submitted = now - draw(st.just(timedelta(0)) | seconds(0, 7200))
    return job(number, submitted=submitted, **asked)


@st.composite
def running(draw: st.DrawFn, number: int, devices: tuple[str, ...], now: datetime) -> Running:
    """A run of an interruptible job that began up to three hours before `now`; it may be overdue."""
    made = draw(jobs(number, now))
    since = now - draw(seconds(0, 3 * 3600))
    spec = replace(
        made.spec, gpus=len(devices), interruptible=True, start_now=False, min_run=draw(seconds(0, 3600)),
        gpu_model=None, gpu_memory_gib=None, start_after=None,
    )  # fmt: skip
    return Running(
        job=replace(made, spec=spec, submitted_at=min(made.submitted_at, since)), devices=devices, since=since
    )


options = st.builds(
    Options,
    default_max_delay=seconds(1800, 24 * 3600),
    min_saving=st.sampled_from([0.0, 0.0, 0.1]),
    run_below_g_per_kwh=st.sampled_from([0.0, 0.0, 100.0]),
    pue=st.sampled_from([1.0, 1.3]),
    gpu_power_w=st.sampled_from([None, 300.0]),
    **{name: st.just(value) for name, value in LEAST_EFFORT.items()},
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Anything that the engine could be in."""
    now = T0 + draw(st.just(timedelta(0)) | seconds(0, 1799))
    devices = tuple(f"gpu{i}" for i in range(draw(st.integers(0, 5))))
    kinds = {device: draw(st.sampled_from(KINDS)) for device in devices} if draw(st.booleans()) else {}
    held = draw(st.integers(0, len(devices)))
    busy = {device: now + draw(seconds(-60, 4 * 3600)) for device in devices[:held]}
    cpu_slots = draw(st.integers(0, 2))
    known = draw(st.lists(values | values | values | st.none(), max_size=24) | forecasts)
    free = devices[held:]
    runs = [draw(running(101, free[:1], now))] if free and draw(st.booleans()) else []
    return Situation(
        now=now,
        jobs=tuple(draw(jobs(number, now)) for number in range(1, draw(st.integers(0, 6)) + 1)),
        running=tuple(runs),
        devices=devices,
        kinds=kinds,
        busy=busy,
        cpu_slots=cpu_slots,
        cpu_busy=tuple(now + draw(seconds(0, 7200)) for _ in range(draw(st.integers(0, cpu_slots)))),
        forecast=holed(known) if known else draw(st.sampled_from([None, grid([])])),
        options=draw(options),
    )


def suggested(refusal: InvalidJob) -> datetime:
    found = re.search(r"--finish-by (\S+)", str(refusal))
    assert found
    return datetime.fromisoformat(found[1])


def quickly(count: int) -> settings:
    """Return settings for so many plans in CI, which take long to draw."""
    return settings(examples(count), suppress_health_check=SLOW)


@st.composite
def crowded(draw: st.DrawFn) -> Situation:
    """Some jobs on few GPUs, most of which may be suspended, at odd instants."""
    values = draw(st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=48, max_size=48))
    minutes = st.integers
    jobs = [
        job(
            number,
            duration=timedelta(minutes=draw(minutes(20, 400))),
            submitted=T0,
            gpus=draw(st.integers(1, 2)),
            start_after=T0 + timedelta(minutes=draw(minutes(0, 300))),
            max_delay=timedelta(minutes=draw(minutes(600, 900))),
            interruptible=draw(st.integers(0, 3)) > 0,
            min_run=timedelta(minutes=draw(minutes(0, 60))),
            restart_cost=timedelta(minutes=draw(st.sampled_from([0, 1, 5, 20]))),
        )
        for number in range(1, draw(st.integers(3, 9)) + 1)
    ]
    return situation(jobs, values, gpus=draw(st.integers(2, 3)), options=Options())
