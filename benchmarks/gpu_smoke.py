"""A machine's own GPUs in under three minutes, without a network: does greenrun read, lease and tell them rightly?

    python benchmarks/gpu_smoke.py                      # with the Python that greenrun is installed in
    python benchmarks/gpu_smoke.py --keep-power-limit   # touch no setting of a GPU
    python benchmarks/gpu_smoke.py --torch /opt/conda/bin/python

It prints one table: what `greenrun doctor` says; each GPU's energy counter against its power, integrated here, at idle
and under load (a matrix product, where some Python has torch); leases by UUID and, where this greenrun has `--gpu-ids`,
by index; whether the load is in the driver's list of processes; a power limit set and restored, where that is allowed;
and MIG, where it is on. It ends with 1 if anything FAILED; `look` is for a person to judge. All that greenrun writes is
in a folder of its own, which is removed. Nobody else should use the GPUs meanwhile.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from greenrun.core.errors import MeterError
from greenrun.meters.gpu import nvidia
from greenrun.meters.gpu.amd import AmdDriver
from greenrun.meters.gpu.driver import Driver, Gpu

GREENRUN = Path(sys.executable).with_name("greenrun")
BUDGET_S = 170.0  # after so long what is left is skipped
EVERY_S, JITTER_S = 0.04, 0.02  # between two looks at the power: jitter avoids aliasing with the load
SETTLES_S, COMMAND_S = 3.0, 40.0
CLOSE, NEAR = 0.05, 0.15  # how far a counter may be from the integral; sensors of some boards see a part of the time
SETTINGS = """
[paths]
state = "state"
locks = "locks"
[devices]
meter = ["nvml", "amd"]
[planner]
tick = "500ms"
[api]
socket = "s"
metrics = ""
"""
LOAD = """
import sys, time, torch
ends, device = time.monotonic() + float(sys.argv[1]), torch.device("cuda:0")
left, right = (torch.randn(8192, 8192, device=device, dtype=torch.float16) for _ in range(2))
while time.monotonic() < ends:
    for _ in range(20):
        left @ right
    torch.cuda.synchronize()
"""
SEEN = """
import os, time
print(os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES"))
time.sleep(4)
"""
OK, LOOK, FAILED, SKIPPED = "ok", "look", "FAILED", "skipped"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    result: str
    figures: str


@dataclass
class Watched:
    """A GPU while it is watched: its counter at both ends and its power in between, in J and W."""

    gpu: Gpu
    first_j: float | None = None
    last_j: float | None = None
    first_s: float = 0.0
    last_s: float = 0.0
    powers: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Read both once."""
        counted, power = self.gpu.counter_j(), self.gpu.power_w()
        now_s = time.monotonic()
        if counted is not None:
            if self.first_j is None:
                self.first_j, self.first_s = counted, now_s
            self.last_j, self.last_s = counted, now_s
        if power is not None:
            self.powers.append((now_s, power))

    @property
    def integrated_j(self) -> float:
        """The integral of the power over the time between the counter's readings, by trapezoids."""
        inside = [row for row in self.powers if not self.first_s or self.first_s <= row[0] <= self.last_s]
        steps = pairwise(inside)
        return sum((after - before) * (was + now) / 2 for (before, was), (after, now) in steps)


def watched(gpus: Sequence[Gpu], seconds: float) -> list[Watched]:
    """Look at all GPUs for so long, at uneven instants."""
    looking, ends_s = [Watched(gpu) for gpu in gpus], time.monotonic() + seconds
    while time.monotonic() < ends_s:
        for each in looking:
            each.look()
        time.sleep(EVERY_S + random.uniform(-JITTER_S, JITTER_S))
    for each in looking:
        each.look()
    return looking


def compared(when: str, found: Sequence[Watched]) -> Iterator[Row]:
    """Compare each counter with the integral."""
    for each in found:
        what, integral_j = f"GPU {each.gpu.device.index}, {when}", each.integrated_j
        if each.first_j is None or each.last_j is None:
            result = OK if each.powers else FAILED
            yield Row(what, result, f"no counter to compare; power integrated {integral_j:.0f} J")
            continue
        counted_j = each.last_j - each.first_j
        ratio = counted_j / integral_j if integral_j > 0 else float("nan")
        result = OK if abs(ratio - 1) <= CLOSE else LOOK if abs(ratio - 1) <= NEAR else FAILED
        mean_w = counted_j / (each.last_s - each.first_s)
        yield Row(
            what,
            result,
            f"counter {counted_j:.0f} J, power integrated {integral_j:.0f} J, ratio {ratio:.3f}; {mean_w:.0f} W",
        )


class Machine:
    """The GPUs, a folder for greenrun, and the time that is left."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.rows: list[Row] = []
        self._ends_s = time.monotonic() + BUDGET_S
        self.driver, self.gpus = _opened()
        (folder / "greenrun.toml").write_text(SETTINGS, encoding="utf-8")

    def greenrun(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of greenrun with its own settings."""
        named = {name: value for name, value in os.environ.items() if not name.startswith("GREENRUN_")}
        env = {**named, "GREENRUN_CONFIG": str(self.folder / "greenrun.toml"), "TZ": "UTC"}
        return subprocess.run(
            [str(GREENRUN), *words],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def asked(self, *words: str) -> Any:
        """Return the JSON that a command prints."""
        done = self.greenrun(*words, "--json")
        if done.returncode:
            raise RuntimeError(f"greenrun {' '.join(words)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def has_time(self, what: str, seconds: float) -> bool:
        """Whether there is time for something that takes so long; else say that it is skipped."""
        if time.monotonic() + seconds <= self._ends_s:
            return True
        self.rows.append(Row(what, SKIPPED, "no time is left"))
        return False

    def tell(self, *rows: Row) -> None:
        """Add lines to the table, and show them at once."""
        for row in rows:
            self.rows.append(row)
            print(f"{row.result:<8} {row.what:<28} {row.figures}", flush=True)


def _opened() -> tuple[Driver, list[Gpu]]:
    refusals = []
    for driver in (nvidia, AmdDriver()):
        try:
            driver.open_driver()
            found = [gpu for gpu in map(driver.board_at, range(driver.board_count())) if gpu is not None]
            if found:
                return driver, found
            refusals.append(f"{driver.KIND}: it knows no GPU")
        except MeterError as exc:
            refusals.append(f"{driver.KIND}: {exc}")
    raise SystemExit("there is no GPU to look at: " + " ".join(refusals))


def doctor(machine: Machine) -> None:
    """Say what doctor says of the GPUs, and of everything else that has failed."""
    told = json.loads(machine.greenrun("doctor", "--json").stdout)
    mine = [check for check in told["checks"] if check["area"] == "gpus" or check["status"] == "failed"]
    results = {"ok": OK, "warning": LOOK, "failed": FAILED}
    machine.tell(*(Row(f"doctor, {check['area']}", results[check["status"]], check["text"]) for check in mine))


def loads(machine: Machine) -> None:
    """Watch the GPUs at idle and under load, and look for the load in the driver's list."""
    seconds = machine.options.seconds
    if machine.has_time("counters at idle", seconds):
        machine.tell(*compared("idle", watched(machine.gpus, seconds)))
    python = _with_torch(machine.options.torch)
    if python is None:
        machine.tell(Row("counters under load", SKIPPED, "no Python with torch and a GPU; name one with --torch"))
        machine.tell(*_processes(machine, {}))
    elif machine.has_time("counters under load", 2 * SETTLES_S + seconds + 15):
        with _loaded(machine, python, seconds + 30) as running:
            time.sleep(SETTLES_S)
            machine.tell(*compared("under load", watched(machine.gpus, seconds)))
            machine.tell(*_processes(machine, running))


@contextmanager
def _loaded(machine: Machine, python: str, seconds: float) -> Iterator[dict[int, str]]:
    """Keep every GPU busy; yield the GPU's id by the pid of its load. It begins once all of them draw power."""
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    running = {}
    for gpu in machine.gpus:
        env = {**os.environ, **dict.fromkeys(names, gpu.device.id), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        process = subprocess.Popen([python, "-c", LOAD, str(seconds)], env=env, stderr=subprocess.DEVNULL)
        running[process] = gpu.device.id
    try:
        time.sleep(10)  # torch is imported, and the first product is computed
        yield {process.pid: gpu for process, gpu in running.items() if process.poll() is None}
    finally:
        for process in running:
            process.kill()
            process.wait()


def _with_torch(given: str | None) -> str | None:
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    for python in [given] if given else [sys.executable, "python3"]:
        with suppress(OSError, subprocess.TimeoutExpired):
            if (
                subprocess.run([python, "-c", probe], capture_output=True, timeout=COMMAND_S, check=False).returncode
                == 0
            ):
                return python
    return None


def _processes(machine: Machine, running: dict[int, str]) -> Iterator[Row]:
    """Tell the processes that NVIDIA's driver lists, and whether the loads are among them."""
    if machine.driver is not nvidia:
        yield Row("processes", SKIPPED, "only NVIDIA's list is looked at")
        return
    import pynvml

    for gpu in machine.gpus:
        what = f"GPU {gpu.device.index}, processes"
        try:
            listed = {row.pid for row in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)}
        except pynvml.NVMLError as exc:
            yield Row(what, LOOK, f"the driver does not list them: {exc}")
            continue
        expected = {pid for pid, device in running.items() if device == gpu.device.id}
        result = OK if expected <= listed else LOOK
        missing = "" if result == OK else "; the load is not among them, as in a container with pids of its own"
        yield Row(what, result, f"{sorted(listed) or 'none'} listed{missing}")


def leases(machine: Machine) -> None:
    """Let a daemon lease every GPU at once, by UUID and by index, and compare what jobs saw with what it says."""
    if not machine.has_time("leases", 45):
        return
    started = machine.greenrun("serve", "--detach")
    if started.returncode:
        machine.tell(Row("daemon", FAILED, started.stderr.strip()))
        return
    pid = int(started.stdout.partition("process ")[2].split()[0])
    try:
        machine.tell(_leased(machine, "leases by UUID", ()))
        if "--gpu-ids" in machine.greenrun("submit", "--help").stdout:
            machine.tell(_leased(machine, "leases by index", ("--gpu-ids", "index")))
        else:
            machine.tell(Row("leases by index", SKIPPED, "this greenrun has no --gpu-ids"))
    finally:
        _end(pid)


def _end(pid: int) -> None:
    """End the daemon, and wait until it is gone, so that its folder can be removed."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)


def _leased(machine: Machine, what: str, words: Sequence[str]) -> Row:
    """Start a job for each GPU at the same time; each prints what it sees."""
    asked = ["submit", "--now", "--gpus", "1", "--duration", "5s", "--quiet"]
    jobs = [int(machine.greenrun(*asked, *words, "--", sys.executable, "-c", SEEN).stdout) for _ in machine.gpus]
    machine.greenrun("wait", *map(str, jobs), "--timeout", "25s")
    runs = [(machine.asked("show", str(job))["runs"] or [{"devices": [None]}])[-1] for job in jobs]
    held = [run["devices"][0] for run in runs]
    names = {gpu.device.id: str(gpu.device.index) if words else gpu.device.id for gpu in machine.gpus}
    problems = []
    for job, device in zip(jobs, held, strict=True):
        seen = machine.greenrun("logs", str(job)).stdout.strip()
        if device is None or names.get(device) != seen:
            problems.append(f"job {job} has {device} and saw {seen!r}")
    if problems or len(set(held)) != len(jobs):
        return Row(what, FAILED, "; ".join(problems) or f"a GPU was leased twice: {held}")
    energies = ", ".join(map(_energy_text, runs))
    return Row(what, OK, f"{len(jobs)} jobs at once, each saw the GPU that it has; energy {energies}")


def _energy_text(run: dict[str, Any]) -> str:
    used_j = run["energy_j"]
    return "unknown" if used_j is None else f"{used_j:.0f} J ({run['energy_quality']})"


def power_limits(machine: Machine) -> None:
    """Lower each GPU's power limit by a tenth, read it back, and restore it."""
    if machine.options.keep_power_limit or machine.driver is not nvidia:
        machine.tell(
            Row("power limit", SKIPPED, "as asked" if machine.options.keep_power_limit else "NVIDIA's GPUs alone")
        )
        return
    machine.tell(*(_limited(gpu) for gpu in machine.gpus))


def _limited(gpu: Any) -> Row:
    import pynvml

    what, handle = f"GPU {gpu.device.index}, power limit", gpu.handle
    try:
        before = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
        least, _ = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
        wanted = max(least, int(before * 0.9))
        pynvml.nvmlDeviceSetPowerManagementLimit(handle, wanted)
    except pynvml.NVMLError as exc:
        return Row(what, SKIPPED, f"it may not be set here: {exc}")
    try:
        told = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
    finally:
        pynvml.nvmlDeviceSetPowerManagementLimit(handle, before)
    after = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
    result = OK if (told, after) == (wanted, before) else FAILED
    return Row(what, result, f"{before / 1000:.0f} W -> {told / 1000:.0f} W -> {after / 1000:.0f} W")


def mig(machine: Machine) -> None:
    """Say which GPUs are split by MIG, into what; greenrun leases each as one."""
    split = [gpu for gpu in machine.gpus if gpu.device.mig]
    if not split:
        machine.tell(Row("MIG", SKIPPED, "it is on nowhere"))
    machine.tell(
        *(Row(f"GPU {gpu.device.index}, MIG", LOOK, f"{_parts(gpu)} parts; greenrun leases it as one") for gpu in split)
    )


def _parts(gpu: Any) -> int:
    import pynvml

    count = 0
    with suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle)):
            with suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
                count += 1
    return count


def main() -> int:
    """Look at everything, print the table, and return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="how long the GPUs are watched, at idle and under load"
    )
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch, for the load")
    parser.add_argument("--keep-power-limit", action="store_true", help="do not try to set a power limit")
    began_s, options = time.monotonic(), parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenrun-smoke-") as name:
        machine = Machine(Path(name), options)
        for part in (doctor, loads, leases, power_limits, mig):
            try:
                part(machine)
            except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired) as exc:
                machine.tell(Row(part.__name__, FAILED, f"{type(exc).__name__}: {exc}"))
    failures = sum(row.result == FAILED for row in machine.rows)
    models = ", ".join(f"{gpu.device.index} {gpu.device.model}" for gpu in machine.gpus)
    print(f"{models}: {len(machine.rows)} checks, {failures} failed, in {time.monotonic() - began_s:.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
