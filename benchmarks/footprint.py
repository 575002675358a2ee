"""What greenrun's processes cost to start and to keep: processor time and memory, beside bare Python in the same run.

    python benchmarks/footprint.py                       # this tree's greenrun
    python benchmarks/footprint.py --bin OTHER/.venv/bin  # and another's, in turns with it

`serve, bad` is a start that ends at a mistake in the settings. The idle daemon has two emulated GPUs, no grid and no
jobs, and is looked at some seconds after it is ready; `again` is its second start, which has no database to make.
This script imports little itself, since the memory of what it starts is told as no less than its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SETTLED_S = 5.0
MIB = 1 << 20
SETTINGS = """
[paths]
state = "{folder}/state"
locks = "{folder}/locks"
[devices]
meter = "emulated"
[api]
socket = "{folder}/s"
metrics = "127.0.0.1:0"
[log]
format = "json"
"""


class Cost(NamedTuple):
    """What a process took: processor time, and the most memory that it held (of a daemon: what it holds)."""

    cpu_ms: float
    memory_mib: float


def commands(binaries: Path, bad: Path) -> dict[str, tuple[list[str], int]]:
    """Return what is run to its end, by name, and how it ends."""
    python, greenrun = str(binaries / "python"), str(binaries / "greenrun")
    return {
        "python": ([python, "-P", "-c", "pass"], 0),
        "greenrun --help": ([greenrun, "--help"], 0),
        "greenrun submit": ([greenrun, "submit", "--socket", "/nowhere", "true"], 5),
        "greenrun serve, bad": ([greenrun, "serve", "--config", str(bad)], 78),
        "import the daemon": ([python, "-P", "-c", IMPORTS], 0),
    }


IMPORTS = "from greenrun import daemon; getattr(daemon, '__path__', None) and __import__('greenrun.daemon.daemon')"


def run(command: Sequence[str], status: int) -> Cost:
    """Run a command to its end, which has to have this status."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, ended, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode != status:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode} and not {status}")
    return Cost((used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss * 1024 / MIB)


@contextmanager
def daemon(binaries: Path, folder: Path) -> Iterator[int]:
    """Give the process number of a daemon that is ready."""
    config = folder / "greenrun.toml"
    config.write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    command = [binaries / "greenrun", "serve", "--config", config]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            if not any('"ready"' in line for line in process.stderr):
                raise SystemExit(f"the daemon of {binaries} does not start")
            yield process.pid
        finally:
            process.terminate()


def idle(binaries: Path, folder: Path) -> Cost:
    """Return what a daemon has used until it is ready, and what it holds some seconds later."""
    with daemon(binaries, folder) as pid:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        time.sleep(SETTLED_S)
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    ticks_ms = 1000 / os.sysconf("SC_CLK_TCK")
    return Cost((int(stat[11]) + int(stat[12])) * ticks_ms, pages * os.sysconf("SC_PAGESIZE") / MIB)


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", action="append", type=Path, default=[], help="the bin folder of another environment")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trees = [Path(sys.executable).parent, *options.bin]
    costs: dict[tuple[str, Path], list[Cost]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="greenrun-") as made:
            bad = Path(made) / "bad.toml"
            bad.write_text("nonsense = 1\n", encoding="utf-8")
            for number, tree in enumerate(trees):
                for name, (command, status) in commands(tree, bad).items():
                    costs.setdefault((name, tree), []).append(run(command, status))
                folder = Path(made) / str(number)
                folder.mkdir()
                for name in ("idle daemon", "idle daemon, again"):
                    costs.setdefault((name, tree), []).append(idle(tree, folder))
    print(f"{'':<20}  {'cpu ms':>7}  {'x python':>8}  {'MiB':>6}  environment")
    for (name, tree), found in costs.items():
        bare = statistics.median(cost.cpu_ms for cost in costs["python", tree])
        cpu_ms, memory_mib = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:<20}  {cpu_ms:7.0f}  {cpu_ms / bare:8.1f}  {memory_mib:6.1f}  {tree}")


if __name__ == "__main__":
    main()
