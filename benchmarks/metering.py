"""How exact greenrun's meter is compared with its peers' on the same scripted GPUs, and what it costs.

    python benchmarks/metering.py overhead
    python benchmarks/metering.py accuracy --peers FOLDER [--only no-counter]

FOLDER holds an environment for each peer: FOLDER/codecarbon, FOLDER/zeus and FOLDER/carbontracker, into which the
package of that name was installed. Those that are not there are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from greenrun.clock import utc_now  # noqa: E402
from greenrun.core.energy.model import Reading  # noqa: E402
from greenrun.meters.sampler.sampler import Sampler  # noqa: E402
from greenrun.meters.sampler.wire import Request  # noqa: E402
from greenrun.meters.settings import MeterSettings  # noqa: E402
from tests.meters.nvml.driver import Driver, Trace, board, built, energy_j  # noqa: E402

PEERS = ("codecarbon", "zeus", "carbontracker")
READY_S = 12.0  # for all of them to be up before the window begins
LEAD_S = 30.0  # how long the boards have run by then
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"


def square() -> Trace:
    """A second of 600 W and one of 100 W."""
    return [(float(second), 600.0 if second % 2 == 0 else 100.0) for second in range(200)]


def burst() -> Trace:
    """A fifth of a second of 600 W every two seconds, 100 W else."""
    return [row for second in range(0, 200, 2) for row in ((second + 0.0, 600.0), (second + 0.2, 100.0))]


CONSTANT: Trace = [(0.0, 300.0)]
PLATEAU: Trace = [(0.0, 100.0), (LEAD_S + 10, 600.0)]


@dataclass(frozen=True)
class Scenario:
    """What the GPUs draw, what is wrong with them, and for how long the meters read."""

    name: str
    traces: Sequence[Trace]
    seconds: float = 20.0
    counter: bool = True
    faults: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the script."""
        kind = {} if self.counter else {"energy": 0, "arch": 4}  # Pascal, the last without a counter
        rows = [line for index, trace in enumerate(self.traces) for line in board(index, trace, **kind)]
        return [*rows, *self.faults]

    def truth_j(self, from_s: float, to_s: float) -> float:
        """Return what all GPUs use over a part of the script."""
        return sum(energy_j(trace, from_s, to_s) for trace in self.traces)


SCENARIOS = [
    Scenario("counter, square", [square()]),
    Scenario("counter, burst", [burst()]),
    Scenario("counter, plateau", [PLATEAU]),
    Scenario("no-counter, square", [square()], counter=False),
    Scenario("no-counter, burst", [burst()], counter=False),
    Scenario("no-counter, plateau", [PLATEAU], counter=False),
    Scenario("no-counter, constant", [CONSTANT], seconds=8, counter=False),
    Scenario("driver reload", [CONSTANT], seconds=8, faults=[f"reset_energy 0 {LEAD_S + 3.3}"]),
    Scenario(
        "spike for 1.2 s", [CONSTANT], seconds=8, faults=[f"glitch 0 {ENERGY} {LEAD_S + 3} {LEAD_S + 4.2} 99876543000"]
    ),
    Scenario(
        "spike at the end",
        [CONSTANT],
        seconds=8,
        faults=[f"glitch 0 {ENERGY} {LEAD_S + 7.5} {LEAD_S + 15} 99876543000"],
    ),
    Scenario("lost for 5 s", [square()], seconds=12, faults=[f"fault 0 * {LEAD_S + 3} {LEAD_S + 8} 15"]),
    Scenario("4 GPUs", [CONSTANT] * 4, seconds=5),
]


class Ours:
    """greenrun's meter, in its sampler process."""

    def __init__(self, driver: Driver) -> None:
        request = Request(
            kind="nvml", settings=MeterSettings(kinds=("nvml",)), runs_dir=driver.folder, state_dir=driver.folder
        )
        self._driver = driver
        self.sampler = Sampler(request)

    def total(self) -> tuple[float, float]:
        """Return the joules of all GPUs so far, and the second of the script that this is of."""
        last: dict[str, Reading] = {reading.device: reading for reading in self.sampler.read({})}
        offset_s = utc_now().timestamp() - monotonic()
        at_s = max(reading.at.timestamp() for reading in last.values()) - offset_s - self._driver.t0_s
        return sum(reading.energy_j for reading in last.values()), at_s

    def flags(self) -> str:
        """Return what it says was wrong."""
        health = self.sampler.health().devices
        causes = {cause for one in health for cause, count in one.troubles.items() if count}
        gap_s = max(one.gap_s for one in health)
        return ", ".join([*sorted(causes - {"gap"}), *([f"gap of {gap_s:.1f} s"] if gap_s else [])]) or "-"


def compare(scenario: Scenario, folder: Path, peers: Mapping[str, Path]) -> list[str]:
    """Let all meters read the same GPUs at the same time; return a row of their errors."""
    start_s = monotonic() + READY_S
    driver = Driver(built(), folder, t0_s=start_s - LEAD_S)
    driver.play(*scenario.lines())
    os.environ.update(driver.environment)
    show_smi(folder)
    running = {name: begin(name, python, start_s, scenario.seconds) for name, python in peers.items()}
    ours = Ours(driver)
    wait_until(start_s)
    first_j, from_s = ours.total()
    wait_until(start_s + scenario.seconds)
    last_j, to_s = ours.total()
    flags = ours.flags()
    ours.sampler.close()
    own = told(last_j - first_j, scenario.truth_j(from_s, to_s))
    theirs = {name: outcome(process, scenario, driver.t0_s) for name, process in running.items()}
    return [scenario.name, own, flags, *(theirs.get(name, "-") for name in PEERS)]


def show_smi(folder: Path) -> None:
    """Put an empty nvidia-smi on the path: CodeCarbon takes it as the sign of a driver."""
    command = folder / "nvidia-smi"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def begin(peer: str, python: Path, start_s: float, seconds: float) -> subprocess.Popen[str]:
    """Start a peer in its own environment."""
    command = [str(python), str(ROOT / "benchmarks" / "metering_peers.py"), peer, repr(start_s), repr(seconds)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=tempfile.gettempdir(), **quiet)  # type: ignore[call-overload, no-any-return]


def outcome(process: subprocess.Popen[str], scenario: Scenario, t0_s: float) -> str:
    """Return a peer's error, or that it reported nothing."""
    try:
        output, _ = process.communicate(timeout=scenario.seconds + 2 * READY_S + 30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "no end"
    try:
        row = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return f"ended with {process.returncode}"
    return told(row["joules"], scenario.truth_j(row["from_s"] - t0_s, row["to_s"] - t0_s))


def told(joules: float, truth_j: float) -> str:
    """Return joules and by how much they differ from the truth."""
    return f"{100 * (joules - truth_j) / truth_j:+.2f} % ({joules:,.0f} of {truth_j:,.0f} J)"


def overhead(folder: Path, *, counter: bool, seconds: float) -> list[str]:
    """Return what a sampler of 8 GPUs costs."""
    driver = Driver(built(), folder, t0_s=monotonic())
    driver.play(*(line for index in range(8) for line in board(index, CONSTANT, energy=int(counter))))
    os.environ.update(driver.environment)
    ours = Ours(driver)
    wait_until(monotonic() + 3)
    before_s, before_kib, began_s = *used(ours.sampler.pid), monotonic()
    wait_until(began_s + seconds)
    after_s, after_kib = used(ours.sampler.pid)
    share = (after_s - before_s) / (monotonic() - began_s)
    ours.sampler.close()
    name = "counters, once a second" if counter else "power, 11 times a second"
    return [name, f"{100 * share:.2f} %", f"{after_kib / 1024:.1f} MiB", f"{after_kib - before_kib:+d} KiB"]


def used(pid: int) -> tuple[float, int]:
    """Return a process's seconds of processor time and its resident memory in KiB."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    seconds = sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    resident = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return seconds, int(resident.split()[1])


def wait_until(at_s: float) -> None:
    """Wait for an instant of the monotonic clock."""
    threading.Event().wait(max(0.0, at_s - monotonic()))


def row(cells: Sequence[str]) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "overhead"])
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--only", default="", help="scenarios whose names hold this")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look at the overhead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "overhead":
            row(["8 GPUs", "of a core", "resident", "grown"])
            for counter in (True, False):
                row(overhead(Path(tempfile.mkdtemp(dir=folder)), counter=counter, seconds=given.seconds))
            return
        pythons = {name: given.peers.resolve() / name / "bin" / "python" for name in PEERS}
        there = {name: python for name, python in pythons.items() if python.exists()}
        print(f"not there, so left out: {', '.join(set(PEERS) - set(there)) or 'none'}", file=sys.stderr)
        row(["scenario", "greenrun", "flags", *PEERS])
        for scenario in SCENARIOS:
            if given.only in scenario.name:
                row(compare(scenario, Path(tempfile.mkdtemp(dir=folder)), there))


if __name__ == "__main__":
    main()
