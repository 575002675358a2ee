"""Measure the cost of a run's supervisor, the shim, compared with bare Python: `python benchmarks/shim.py [ROUNDS]`."""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.core.jobs.runs.status import Phase
from greenrun.executors.local import LocalExecutor
from greenrun.executors.run_folder import RUN, read_record

BARE = (sys.executable, "-I", "-S", "-c", "input()")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT_S = 10.0


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait for a condition, checking every half millisecond."""
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("the condition did not come true in time")
        threading.Event().wait(0.0005)


def resident_kib(pid: int, key: str) -> int:
    """Return a memory figure of a process in KiB; `Pss` divides shared pages, `Private_Dirty` is its own alone."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"no {key} of {pid}")


def figures(pid: int) -> dict[str, float]:
    """Return the memory figures of a process."""
    return {f"{key} KiB": resident_kib(pid, key) for key in ("Rss", "Pss", "Private_Dirty")}


def measure_bare() -> dict[str, float]:
    """Start and end a bare interpreter."""
    began = time.perf_counter()
    subprocess.run([*BARE[:-1], "pass"], check=True)
    took_ms = (time.perf_counter() - began) * 1000
    with subprocess.Popen(BARE, stdin=subprocess.PIPE) as process:
        wait_for(lambda: resident_kib(process.pid, "Rss") > 7000)
        threading.Event().wait(0.05)
        found = figures(process.pid)
        process.communicate(b"\n")
    return {"start ms": took_ms, **found}


def measure_shim(executor: LocalExecutor, runs_dir: Path, number: int, changed: threading.Event) -> dict[str, float]:
    """Start a run, look at its shim, and stop it."""
    spec = JobSpec(command=("/bin/sleep", "60"), workdir="/", duration=timedelta(minutes=1), gpus=1)
    job = Job(id=number, spec=spec, user="", uid=0, state=State.STARTING, submitted_at=NOW)
    run = Run(id=number, job_id=number, number=1, token=f"token{number}", devices=("GPU-benchmark",), claimed_at=NOW)
    began, wall = time.perf_counter(), time.time()
    executor.start(run, job)
    returned_ms = (time.perf_counter() - began) * 1000
    while executor.poll(run).phase is not Phase.RUNNING:
        changed.wait(LIMIT_S)
        changed.clear()
    notified_ms = (time.perf_counter() - began) * 1000
    status = executor.poll(run)
    if status.started_at is None:
        raise SystemExit(f"not started: {status}")
    found = figures(int(str((read_record(str(runs_dir / run.label), RUN) or {})["pid"])))
    executor.stop(run, "benchmark")
    wait_for(lambda: executor.poll(run).phase is Phase.EXITED)
    record_ms = (status.started_at.timestamp() - wall) * 1000
    return {
        "start() returns ms": returned_ms,
        "spawn to start record ms": record_ms,
        "daemon notified ms": notified_ms,
        **found,
    }


def main() -> None:
    """Print the medians of both."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        runs_dir, changed = Path(folder) / "runs", threading.Event()
        executor = LocalExecutor(runs_dir=runs_dir, locks_dir=Path(folder) / "locks", on_change=changed.set)
        bare, shim = [], []
        for number in range(rounds):
            bare.append(measure_bare())
            shim.append(measure_shim(executor, runs_dir, number, changed))
        executor.close()
    for name, rows in (("bare python", bare), ("shim", shim)):
        for key in rows[0]:
            print(f"{name:12} {key:26} median {statistics.median(row[key] for row in rows):9.1f}")


if __name__ == "__main__":
    main()
