"""What a submission costs beside a long queue: a real daemon with the options it ships, and emulated GPUs.

    python benchmarks/submissions.py [--queued 10 1000 10000] [--submissions 20] [--budgets] [--no-sweeps]

For each queue length: how long one submission takes to be acknowledged, the processor time that the daemon takes for
it (up to the answer, and until it is quiet again, with a plan or a part of one), what it uses while nothing happens,
and its memory; then 50 clients at once, three times, the cancelling of 300 jobs, and a sweep and a file of 10,000 (also
cancelled at once). The clients are threads of one process that each keep a connection, as programs with
`greenrun.client` do: a `greenrun submit` of a shell takes ten times the processor of all that the daemon does for it.

Each line tells the load average: with more than the machine has processors, only the processor times mean something.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from greenrun.client import ApiClient, ClientError
from greenrun.clock import utc_now
from greenrun.core.jobs.job import JobSpec
from greenrun.store import Store

HOUSEKEEPING_S = 70  # the first time that the daemon keeps house is a minute after its start, then every hour
GPUS = 8
MOST_BESIDE_A_SWEEP = 9000  # queued: with 10,000 more there are no more than may be
Made = TypeVar("Made")
CONFIG = """
[paths]
state = "{folder}/state"
locks = "{folder}/locks"

[api]
socket = "{folder}/api.socket"
metrics = "127.0.0.1:0"

[grid]
zone = "DE"
provider = "file"

[provider.file]
kind = "file"
path = "{folder}/intensity.csv"

[devices]
meter = "emulated"

[devices.emulated]
gpus = 8

[jobs]
max_queued = 20000
"""
BUDGETS = """
[budget.user."*"]
kg_co2e = 1000
gpu_hours = 100000
gpus = 8

[budget.project."*"]
kwh = 100000
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queued", type=int, nargs="*", default=[10, 1000, 10_000])
    parser.add_argument("--submissions", type=int, default=20)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--budgets", action="store_true", help="with budgets of each user and of a project")
    parser.add_argument("--sweeps", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    for queued in asked.queued:
        with tempfile.TemporaryDirectory(prefix="greenrun-") as name:
            prepare(Path(name), queued, budgets=asked.budgets)
            measure(Path(name), queued, asked.submissions, asked.clients, sweeps=asked.sweeps)


def measure(folder: Path, queued: int, submissions: int, clients: int, *, sweeps: bool) -> None:
    with daemon(folder) as process:
        client = ApiClient(folder / "api.socket", timeout_s=120)
        started_s = settle(process.pid)
        tell(f"{queued} queued: {started_s:.1f} s of processor until quiet, {memory_mib(process.pid):.0f} MiB")
        time.sleep(HOUSEKEEPING_S)
        settle(process.pid)
        idle_s = cpu_s(process.pid)
        time.sleep(30)
        tell(f"  quiet: {(cpu_s(process.pid) - idle_s) / 30:.2%} of a core")
        walls, answers, wholes = [], [], []
        for _ in range(submissions):
            before_s, began_s = cpu_s(process.pid), time.perf_counter()
            client.submit(job())
            walls.append(time.perf_counter() - began_s)
            answers.append(cpu_s(process.pid) - before_s)
            wholes.append(answers[-1] + settle(process.pid))
        ordered = sorted(walls)
        tell(
            f"  acknowledged: median {1e3 * statistics.median(walls):.0f} ms, p95 "
            f"{1e3 * ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms; processor {1e3 * statistics.median(answers):.1f} "
            f"ms up to the answer, {1e3 * statistics.mean(wholes):.0f} ms until it is quiet again"
        )
        for _ in range(3):
            before_s = cpu_s(process.pid), time.process_time()
            done, a_second = burst(folder, clients)
            took_ms = [
                1e3 * (cpu_s(process.pid) - before_s[0]) / done,
                1e3 * (time.process_time() - before_s[1]) / done,
            ]
            tell(
                f"  {clients} clients at once: {a_second:.0f} submissions a second; processor for each: "
                f"{took_ms[0]:.1f} ms of the daemon, {took_ms[1]:.1f} ms of the clients"
            )
            settle(process.pid)
        ids = [row["id"] for row in client.jobs(["queued"], limit=300)]
        timed(process.pid, f"{len(ids)} cancelled", lambda: client.cancel_many(ids))
        if sweeps and queued <= MOST_BESIDE_A_SWEEP:
            sweep(client, process.pid)
        tell(f"  {memory_mib(process.pid):.0f} MiB")


def tell(line: str) -> None:
    print(f"{line} (load {os.getloadavg()[0]:.1f})", flush=True)


def sweep(client: ApiClient, pid: int, size: int = 10_000) -> None:
    """Submit and cancel as many jobs as one request may hold: of one statement, and each with its own."""
    array = {**job(), "array": {"indices": list(range(size))}}
    ids = timed(pid, f"an array of {size}", lambda: [row["id"] for row in client.offer_sweep(array)[0]])
    timed(pid, f"{size} cancelled", lambda: client.cancel_many(ids))
    named = {"PATH": os.environ["PATH"], "HOME": "/home/ada", "LANG": "C.UTF-8", "VIRTUAL_ENV": "/home/ada/venv"}
    jobs = [{**job(), "command": ["true", str(number)], "env": named} for number in range(size)]
    ids = timed(pid, f"a file of {size}", lambda: [row["id"] for row in client.submit_many(jobs)])
    timed(pid, f"{size} cancelled", lambda: client.cancel_many(ids))


def timed(pid: int, what: str, call: Callable[[], Made]) -> Made:
    before_s, began_s = cpu_s(pid), time.perf_counter()
    made = call()
    wall_s, answer_s = time.perf_counter() - began_s, cpu_s(pid) - before_s
    tell(
        f"  {what}: answered in {wall_s:.2f} s; processor {answer_s:.2f} s up to the answer, "
        f"{answer_s + settle(pid):.2f} s until it is quiet again"
    )
    return made


def burst(folder: Path, clients: int, each: int = 4) -> tuple[int, float]:
    """Let many clients submit at once; return how much they submitted, and how much a second."""

    def go(_: int) -> None:
        own = ApiClient(folder / "api.socket", timeout_s=120)
        for _ in range(each):
            own.submit(job())

    began_s = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(go, range(clients)))
    took_s = time.perf_counter() - began_s
    return clients * each, clients * each / took_s


def job() -> dict[str, object]:
    return {"command": ["true"], "workdir": "/", "gpus": 1, "duration_s": 3600, "max_delay_s": 86400}


def prepare(folder: Path, queued: int, *, budgets: bool) -> None:
    """Write the settings, four days of made-up intensity and a queue that fills the GPUs for as long as it is long."""
    text = CONFIG.format(folder=folder)
    (folder / "greenrun.toml").write_text(text + BUDGETS if budgets else text)
    draw = random.Random(12)
    first = utc_now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    rows = [f"{(first + timedelta(hours=hour)).isoformat()},{draw.uniform(100, 600):.1f}" for hour in range(120)]
    (folder / "intensity.csv").write_text("\n".join(["start,g_per_kwh", *rows]) + "\n")
    (folder / "locks").mkdir()
    hours = 0.7 * GPUS * 48 / max(queued, 1)  # of a job: the queue takes 70 % of the GPUs for two days
    specs = [
        JobSpec(
            command=("true",), workdir="/", gpus=1, duration=timedelta(hours=hours * draw.uniform(0.5, 1.5)),
            max_delay=timedelta(hours=draw.uniform(36, 60)), start_after=utc_now() + timedelta(minutes=20),
        )
        for _ in range(queued)
    ]  # fmt: skip
    with Store(folder / "state" / "greenrun.db") as store:
        store.jobs.add_jobs(specs, user="ada", uid=os.getuid(), now=utc_now())


@contextmanager
def daemon(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "greenrun.cli", "serve", "--config", str(folder / "greenrun.toml")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(folder, process)
            yield process
        finally:
            process.terminate()


def wait_for(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    client = ApiClient(folder / "api.socket", timeout_s=120)
    while True:
        try:
            client.health()
        except ClientError:
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text()) from None
            time.sleep(0.1)
        else:
            return


def settle(pid: int) -> float:
    """Wait until the daemon has used next to no processor for half a second; return how much it used before that."""
    began_s = before_s = cpu_s(pid)
    while True:
        time.sleep(0.5)
        now_s = cpu_s(pid)
        if now_s - before_s <= 0.03:
            return now_s - began_s
        before_s = now_s


def cpu_s(pid: int) -> float:
    """Return the processor time of a process by Linux's clock of it, which counts more finely than `/proc`."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    main()
