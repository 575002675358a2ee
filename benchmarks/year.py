"""Simulate a year of jobs with greenrun, and record its time and memory."""

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

GREENRUN = str(Path(sys.executable).parent / "greenrun")
DAYS = 355.0  # the last jobs must be able to end within the year
COLUMNS = ("submitted_s", "duration_s", "gpus", "power_w", "max_delay_s", "interruptible")
SAMPLED_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A simulation's output and its cost: wall-clock and CPU seconds, and MiB once a second."""

    told: Any
    wall_s: float
    cpu_s: float
    resident_mib: tuple[float, ...]

    def around(self, share: float) -> float:
        """The memory at a share of the way, in MiB."""
        return self.resident_mib[min(len(self.resident_mib) - 1, int(share * len(self.resident_mib)))]


def simulated(intensity: Path, jobs: Path, *, count: int, gpus: int, seed: int = 1) -> Watched:
    """Simulate `count` jobs drawn from a file, spread over a year, under greenrun alone."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "year.csv"
        _draw(jobs, drawn, count, seed)
        files = ["--intensity", str(intensity), "--jobs", str(drawn), "--start", "2022-01-01T00:00Z"]
        return _watch([GREENRUN, "simulate", *files, "--gpus", str(gpus), "--policy", "greenrun", "--json"])


def _draw(jobs: Path, target: Path, count: int, seed: int) -> None:
    """Write jobs with durations, GPUs and delays drawn together from a file, and submissions evenly over the year."""
    rng = np.random.default_rng(seed)
    with jobs.open(newline="") as file:
        known = list(csv.DictReader(file))
    at_s = np.sort(rng.uniform(0.0, DAYS * 86_400, count)).round().astype(int).tolist()
    rows = [
        known[pick] | {"submitted_s": at} for pick, at in zip(rng.integers(len(known), size=count), at_s, strict=True)
    ]
    with target.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def _watch(command: list[str]) -> Watched:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s, resident = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        process = psutil.Process(child.pid)
        while True:
            try:
                output, _ = child.communicate(timeout=SAMPLED_S)
                break
            except subprocess.TimeoutExpired:
                resident.append(process.memory_info().rss / 2**20)
    if child.returncode:
        raise SystemExit(f"the simulation failed with exit code {child.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return Watched(
        told=json.loads(output),
        wall_s=time.perf_counter() - began_s,
        cpu_s=cpu_s,
        resident_mib=tuple(resident) or (used.ru_maxrss / 1024,),
    )
