"""Time the command line from a cold start, compared with bare Python on the same machine in the same minute.

    python benchmarks/cli.py                      # greenrun --help
    python benchmarks/cli.py --socket PATH        # also list and submit, against the daemon there (it gets real jobs)

Processor time, user and system. The rounds of all commands are interleaved, so that a busy moment hits them alike; the
ratios are what to compare.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PYTHON = sys.executable
GREENRUN = str(Path(sys.executable).parent / "greenrun")
LIMITS = {"greenrun --help": 2.5, "greenrun submit": 3.5}  # times bare Python


def commands(socket: str | None) -> dict[str, list[str]]:
    """Return what is timed, by name."""
    timed = {
        "python": [PYTHON, "-c", "pass"],
        "import click": [PYTHON, "-c", "import click"],
        "greenrun --help": [GREENRUN, "--help"],
        "greenrun measure": [GREENRUN, "measure", "--output", os.devnull, "--", "true"],
    }
    if socket:
        timed["greenrun list"] = [GREENRUN, "list", "--socket", socket]
        timed["greenrun submit"] = [GREENRUN, "submit", "--socket", socket, "--gpus", "0", "--duration", "1s", "true"]
    return timed


def processor_ms(command: Sequence[str]) -> float:
    """Run a command once and return the milliseconds of processor that it took; a failure ends the benchmark."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    """Time everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", help="the socket of a running daemon")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    timed = commands(options.socket)
    times: dict[str, list[float]] = {name: [] for name in timed}
    for command in timed.values():
        processor_ms(command)  # once unmeasured, so that files are cached and compiled
    for _ in range(options.rounds):
        for name, command in timed.items():
            times[name].append(processor_ms(command))
    bare = statistics.median(times["python"])
    print(f"{'':<16}  {'min ms':>7}  {'median':>7}  {'x python':>8}  {'limit':>6}")
    for name, took in times.items():
        median = statistics.median(took)
        print(f"{name:<16}  {min(took):7.0f}  {median:7.0f}  {median / bare:8.1f}  {LIMITS.get(name, ''):>6}")


if __name__ == "__main__":
    main()
