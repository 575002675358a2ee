"""A day of a small lab under virtual time: three unlike GPUs, a CPU that all share, jobs that fail, wait and pause.

What an auditor could see from outside is written to files: the grid's trace, the script that the hardware plays, the
list of submissions, the power contract, and the folders of the runs with their true times.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

from greenrun.core.energy.model import Component, Device, GpuUse, Quality, Reading
from greenrun.core.jobs.job import After, Dependency, Job, JobSpec, Run
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.model import Options
from greenrun.engine.engine import Engine, EngineSettings
from greenrun.meters.recent_readings import RecentReadings
from greenrun.store import Store
from tests.world import SLOT, T0, World, spec

STEP, MINUTE, HOUR = timedelta(seconds=10), timedelta(minutes=1), timedelta(hours=1)
PUE = 1.3
END = T0 + 30 * HOUR
GPUS: Mapping[str, tuple[str, float, float]] = {  # model, and watts without and with a run
    "GPU-a": ("A100", 57.0, 389.0),
    "GPU-b": ("L4", 16.5, 71.25),
    "GPU-c": ("H100", 88.0, 655.0),
    "GPU-d": ("A100", 61.5, 402.0),
}
CPU = {"cpu-0": (Component.CPU, 143.0), "cpu-0-dram": (Component.DRAM, 21.7)}
OTHERS_CPU = 0.35  # CPU seconds a second that belong to no run
TRACE = [  # g/kWh of the half hours, over and over with a drift
    *(412.5, 398.0, 377.25, 351.0, 322.0, 280.5, 243.0, 201.0, 166.5, 140.0, 121.25, 118.0, 125.0, 149.5, 188.0, 236.0),
    *(291.0, 344.5, 390.0, 421.0, 439.5, 447.0, 441.0, 428.0),
]
VALUES = [value + 3.5 * (number // len(TRACE)) for number, value in enumerate(TRACE * 3)]


def submissions() -> list[tuple[JobSpec, timedelta, float]]:
    """Return the day's jobs, when each is submitted, and the CPU seconds a second that its runs use."""
    first = Dependency(job_id=1, on=After.OK)
    paused: dict[str, Any] = {"interruptible": True, "min_run": HOUR / 2, "restart_cost": timedelta(minutes=4)}
    return [
        (spec(7317, gpus=1, gpu_model="A100", max_delay=9 * HOUR, name="wait"), 0 * HOUR, 1.0),
        (spec(1234, gpus=1, gpu_model="L4", start_now=True, exit_code=3, retries=2, name="fail"), HOUR / 4, 0.5),
        (spec(19_000, gpus=1, gpu_model="H100", max_delay=16 * HOUR, name="pause", **paused), HOUR / 2, 2.0),
        (spec(3725, gpus=2, max_delay=8 * HOUR, name="two"), HOUR, 3.5),
        (spec(2400, gpus=1, max_delay=6 * HOUR, after=(first,), name="then"), HOUR, 0.0),
        (spec(5000, gpus=0, max_delay=3 * HOUR, name="cpu"), 2 * HOUR, 6.0),
        (spec(9000, gpus=1, gpu_model="L4", start_now=True, name="cancelled"), 4 * HOUR, 0.25),
        (spec(1801, gpus=1, gpu_model="H100", max_delay=12 * HOUR, name="last"), 5 * HOUR, 1.5),
    ]


CANCELLED_AT = T0 + 5 * HOUR + 20 * MINUTE


class Lab(World):
    """The world with this lab's hardware; its runs write down, as they pass, what an auditor finds."""

    def __init__(self) -> None:
        super().__init__(VALUES, gpus=0)
        gpus = [
            Device(id=name, index=index, model=model, source="nvml", vendor="nvidia", power_w=busy)
            for index, (name, (model, _, busy)) in enumerate(GPUS.items())
        ]
        cpu = [Device(id=name, index=0, model="", source="rapl", kind=kind) for name, (kind, _) in CPU.items()]
        self.devices = (*gpus, *cpu)
        self.labels: dict[str, str] = {}
        self.cpu_of: dict[int, float] = {}

    def start(self, run: Run, job: Job) -> None:
        super().start(run, job)
        self.labels[run.token] = run.label

    def spans(self, device: str | None = None) -> list[tuple[str, datetime, datetime, int]]:
        """Return label, start, end and job of the runs, of all or of those that held a device."""
        return [
            (self.labels[token], one.started_at, one.ends_at, one.job_id)
            for token, one in self.processes.items()
            if device is None or device in one.devices
        ]

    def busy_s(self, device: str, until: datetime) -> float:
        """Return for how long any run has held it."""
        spans = self.spans(device)
        return fsum(max(0.0, (min(end, until) - start).total_seconds()) for _, start, end, _ in spans)

    def shares(self, start: datetime, end: datetime) -> dict[str, float]:
        """Return which part of the CPU time of a step each run used."""
        seconds = {
            label: self.cpu_of[job] * (min(end, ended) - max(start, began)).total_seconds()
            for label, began, ended, job in self.spans()
            if min(end, ended) > max(start, began)
        }
        whole = fsum(seconds.values()) + OTHERS_CPU * (end - start).total_seconds()
        return {label: each / whole for label, each in seconds.items()}

    def write(self, folder: Path) -> None:
        """Write what an auditor finds."""
        with (folder / "trace.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["start", "end", "g_per_kwh"])
            edges = pairwise(T0 + index * SLOT for index in range(len(VALUES) + 1))
            rows.writerows([a.isoformat(), b.isoformat(), value] for (a, b), value in zip(edges, VALUES, strict=True))
        jobs = {
            str(number): {
                "name": one.name, "submitted_at": (T0 + at).timestamp(), "cpu_s_per_s": cpu,
                "after": [each.job_id for each in one.after], "restart_cost_s": one.restart_cost.total_seconds(),
            }
            for number, (one, at, cpu) in enumerate(submissions(), 1)
        }  # fmt: skip
        machine = {
            "gpus": {name: {"idle_w": idle, "busy_w": busy} for name, (_, idle, busy) in GPUS.items()},
            "shared_w": fsum(power_w for _, power_w in CPU.values()),
            "others_cpu_s_per_s": OTHERS_CPU, "step_s": STEP.total_seconds(), "pue": PUE,
        }  # fmt: skip
        for name, content in (("jobs", jobs), ("machine", machine)):
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        for token, one in self.processes.items():
            place = folder / "runs" / self.labels[token]
            place.mkdir(parents=True)
            begun = {"job": one.job_id, "devices": one.devices}
            ended = {"started_at": one.started_at.timestamp(), "ended_at": one.ends_at.timestamp()}
            (place / "run.json").write_text(json.dumps(begun), encoding="utf-8")
            (place / "exit.json").write_text(json.dumps({**ended, "ended_by": one.ended_by}), encoding="utf-8")


class LabMeter:
    """Exact counters, read every ten seconds, with the runs' parts of the CPU's time; GPUs also as runs come and go."""

    refusals = ()

    def __init__(self, lab: Lab) -> None:
        self._lab, self._ring, self._next = lab, RecentReadings(), T0

    def devices(self) -> Sequence[Device]:
        return self._lab.devices

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        return {}

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        edges = {edge for _, start, end, _ in self._lab.spans() for edge in (start, end)}
        steps = {self._next + STEP * number for number in range((self._lab.now - self._next) // STEP + 1)}
        for at in sorted(steps | {edge for edge in edges if self._next - STEP < edge <= self._lab.now}):
            self._ring.add(self._sampled(at, CPU if at in steps else ()))
        self._next = max(steps, default=self._next - STEP) + STEP
        return self._ring.since(since)

    def _sampled(self, at: datetime, processors: Iterable[str]) -> Sequence[Reading]:
        passed_s = (at - T0).total_seconds()
        energy_j = {
            name: idle * passed_s + (busy - idle) * self._lab.busy_s(name, at) for name, (_, idle, busy) in GPUS.items()
        } | {name: CPU[name][1] * passed_s for name in processors}
        parts = self._lab.shares(at - STEP, at) if at > T0 and processors else {}
        return [
            Reading(
                device=name, at=at, energy_j=joules, quality=Quality.MEASURED, counter="boot", session="one",
                shares=parts if name in CPU else {},
            )
            for name, joules in energy_j.items()
        ]  # fmt: skip


def lived(store: Store, folder: Path) -> Lab:
    """Let the day pass with an engine that ticks when it wants to, and is replaced twice; return the lab."""
    lab = Lab()
    meter = LabMeter(lab)
    waiting = sorted(enumerate(submissions(), 1), key=lambda row: row[1][1])
    restarts = [T0 + 6 * HOUR + 7 * MINUTE, T0 + 15 * HOUR + 1 * MINUTE]
    engine, cancelled = engine_of(lab, store, meter), False
    while lab.now < END:
        while waiting and T0 + waiting[0][1][1] <= lab.now:
            number, (one, _, cpu) = waiting.pop(0)
            lab.cpu_of[number] = cpu
            assert store.jobs.add_job(one, user="ada", uid=1, now=lab.now)[0].id == number
        if lab.now >= CANCELLED_AT and not cancelled:
            cancelled = bool(store.jobs.intend(Intent.CANCEL, [7], actor="ada", now=lab.now))
        if restarts and lab.now >= restarts[0]:
            restarts.pop(0)
            engine = engine_of(lab, store, meter)
        engine.refresh(lab.now)
        later = engine.tick(lab.now)
        edge = T0 + ((lab.now - T0) // SLOT + 1) * SLOT
        lab.now = min(later, edge, END, *(T0 + row[1][1] for row in waiting[:1]), *restarts[:1])
    engine.refresh(lab.now)
    engine.tick(lab.now)
    lab.write(folder)
    return lab


def engine_of(lab: Lab, store: Store, meter: LabMeter) -> Engine:
    """Return the engine of a daemon that has just started."""
    options = Options(gpu_power_w=300.0, pue=PUE, due_grace=MINUTE)
    settings = EngineSettings(zone="GB", options=options, tick=13 * MINUTE, is_watched=False)
    return Engine(store=store, executor=lab, meter=meter, forecasts=[lab], histories=[lab], settings=settings)
