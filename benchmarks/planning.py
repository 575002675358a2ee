"""Every table on planning in docs/benchmarks.md, printed as it stands there.

    python benchmarks/planning.py --data ../shared/data                       # all of it, most of an hour
    python benchmarks/planning.py --data ../shared/data --only peers --cells AU-SA:28 \\
        --history-jobs ../shared/data/jobs/pai_history_8weeks.csv
    python benchmarks/planning.py --only queue                                # needs no data

`queue`: one queue that is known in full, and how far from the best possible its plan is. `growth`: the same from small
to large. `peers`: greenrun compared with the rules of other schedulers and with CATS itself, which is installed
into an environment of its own (or taken from `--cats PYTHON`). `year`: a year of 10,000 jobs.
The machine may do other things meanwhile, so compare CPU seconds.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from peers import Cell, Inputs, Table, cats_python, table
from year import simulated

from greenrun.clock import utc_now

PARTS = ("queue", "growth", "peers", "year")
CELLS = ("AU-SA:28", "AU-SA:40", "US-CAL-CISO:28", "US-CAL-CISO:40", "DE:28", "DE:40")
SMALL = (500, 128, 192)
LARGE = ((10_000, 128, 192), (10_000, 128, 576), (10_000, 1_000, 192), (10_000, 1_000, 576))
COLUMNS = ("grid", "load", "gap", "worst gap", "late", "CPU s", "most CPU s", "wall s", "least wall s", "peak MiB")
LOADS = (0.6, 0.7, 0.8, 0.9)
TRACES = ("", "AU-SA", "US-CAL-CISO", "DE")
SIZES = (
    (500, 128, 192), (1_000, 256, 192), (2_000, 256, 384), (4_000, 512, 384), (8_000, 1_000, 384), (10_000, 1_000, 576),
)  # fmt: skip


def row(*cells: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells: str) -> None:
    """Print the head of a table."""
    print()
    row(*cells)
    row(*("---" for _ in cells))


def planned(size: tuple[int, int, int], **more: object) -> Any:
    """Plan one fixed queue in a process of its own; return its figures."""
    numbers = zip(("--jobs", "--gpus", "--slots"), size, strict=True)
    asked = [*numbers, *((f"--{name}", value) for name, value in more.items() if value not in ("", None))]
    command = [sys.executable, str(Path(__file__).with_name("fixed_queue.py"))]
    command += [str(part) for pair in asked for part in pair]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def trace_of(zone: str, own: argparse.Namespace) -> str | None:
    """Return the file of a zone, "" for a made-up grid, None where there are no data."""
    if not zone:
        return ""
    return None if own.data is None else str(own.data / "intensity" / f"{zone}_2022.csv")


def show_queues(own: argparse.Namespace) -> None:
    """Print how near to its bound the plan of a queue is, and what it takes."""
    print(f"\n### One fixed queue: {' jobs x '.join(map(str, SMALL[:2]))} GPUs x {SMALL[2]} half-hours\n")
    print(
        f"Each line sums up {own.seeds} queues, with the daemon's own options; medians where it does not say otherwise."
    )
    head(*COLUMNS)
    for zone in TRACES:
        for load in LOADS:
            trace = trace_of(zone, own)
            if trace is None:
                continue
            seeds = range(1, own.seeds + 1)
            found = [planned(SMALL, load=load, seed=seed, intensity=trace, times=1) for seed in seeds]
            _show_queue(zone or "synthetic", load, found)
    for size in LARGE:
        print(f"\n### One fixed queue: {' jobs x '.join(map(str, size[:2]))} GPUs x {size[2]} half-hours\n")
        print(f"Each line is one queue, {own.times} times, with the daemon's own options.")
        head(*COLUMNS)
        for zone in TRACES:
            for load in LOADS:
                trace = trace_of(zone, own)
                if trace is not None:
                    found = planned(size, load=load, intensity=trace, times=own.times)
                    _show_queue(zone or "synthetic", load, [found])


def _show_queue(zone: str, load: float, found: Sequence[Any]) -> None:
    gaps = [one["gap"] for one in found if one["gap"] is not None]
    cpu = [seconds for one in found for seconds in one["cpu_s"]]
    wall = [seconds for one in found for seconds in one["wall_s"]]
    row(
        zone,
        f"{load:.0%}",
        f"{statistics.median(gaps):.2%}" if gaps else "unknown",
        f"{max(gaps):.2%}" if gaps else "unknown",
        sum(one["late"] for one in found),
        f"{statistics.median(cpu):.2f}",
        f"{max(cpu):.2f}",
        f"{statistics.median(wall):.2f}",
        f"{min(wall):.2f}",
        f"{max(one['peak_mib'] for one in found):.0f}",
    )


def show_growth(own: argparse.Namespace) -> None:
    """Print how time grows with jobs times slots, with the daemon's own options."""
    print("\n### Growth")
    head("jobs", "GPUs", "slots", "jobs x slots", "CPU s", "s per million", "gap", "peak MiB")
    sizes, seconds = [], []
    for size in SIZES:
        found = planned(size, load=0.7, times=own.times)
        sizes.append(size[0] * size[2])
        seconds.append(statistics.median(found["cpu_s"]))
        per = seconds[-1] / sizes[-1] * 1e6
        row(
            *size,
            f"{sizes[-1]:,}",
            f"{seconds[-1]:.2f}",
            f"{per:.2f}",
            f"{found['gap']:.2%}",
            f"{found['peak_mib']:.0f}",
        )
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    print(f"\nFitted: time grows as (jobs x slots)^{exponent:.2f}.")


def show_peers(own: argparse.Namespace) -> None:
    """Print a table a cell, and one that sets them side by side."""
    with ExitStack() as stack:
        cats = own.cats or (
            None if own.no_cats else cats_python(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        )
        judge = own.judge or own.data.parent / "tools" / "score_schedule.py"
        history = [own.history_jobs] if own.history_jobs else []
        for earlier in (None, *history):
            inputs = Inputs(data=own.data, history_jobs=earlier, cats=cats, judge=judge if judge.is_file() else None)
            print(f"\n### 1,000 jobs in a week, {'earlier jobs known' if earlier else 'no earlier jobs known'}")
            found = []
            for cell in own.cells:
                found.append(table(cell, inputs))
                _show_cell(found[-1])
            _show_cells(found)


def _show_cell(found: Table) -> None:
    print(f"\n{found.cell.zone}, {found.cell.gpus} GPUs: no schedule saves more than {found.bound:.2f} %; ", end="")
    print(f"greenrun took {found.greenrun_s:.0f} s for the week", end="")
    print("." if found.refused_by_cats is None else f"; CATS refused {found.refused_by_cats} jobs.")
    head("policy", "saving %", "late", "mean delay h", "peak GPUs", "judged %", "judged late")
    for own in found.rows:
        judged = own.judged or {}
        row(
            own.policy,
            f"{own.saving:.2f}",
            own.late,
            f"{own.mean_delay_h:.1f}",
            own.peak_gpus,
            judged.get("saving_percent", ""),
            judged.get("late", ""),
        )


def _show_cells(tables: Iterable[Table]) -> None:
    """Print savings, and in brackets the jobs that were late, of all policies in all cells."""
    rows = list(tables)
    head("zone, GPUs", *(own.policy.split(":")[0] for own in rows[0].rows), "bound", "greenrun / bound")
    for found in rows:
        cells = [f"{own.saving:.1f} ({own.late})" if own.late else f"{own.saving:.1f}" for own in found.rows]
        name = f"{found.cell.zone} {found.cell.gpus}"
        row(name, *cells, f"{found.bound:.1f}", f"{found.rows[0].saving / found.bound:.1%}")
    print("\nSaving in %; in brackets how many of the 1,000 jobs started later than allowed.")


def show_year(own: argparse.Namespace) -> None:
    """Print what a year of 10,000 jobs on 64 GPUs takes."""
    intensity, jobs = own.data / "intensity" / "AU-SA_2022.csv", own.data / "jobs" / "pai_history_8weeks.csv"
    found = simulated(intensity, jobs, count=10_000, gpus=64)
    ours = found.told["policies"]["greenrun"]
    print("\n### A year of 10,000 jobs on 64 GPUs, AU-SA 2022")
    head("wall s", "CPU s", "saving %", "late", "MiB at 25 %", "50 %", "75 %", "at most")
    shares = [f"{found.around(share):.0f}" for share in (0.25, 0.5, 0.75)]
    row(
        f"{found.wall_s:.0f}",
        f"{found.cpu_s:.0f}",
        f"{100 * ours['saving_ratio']:.2f}",
        ours["late"],
        *shares,
        f"{max(found.resident_mib):.0f}",
    )


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds intensity/ and jobs/")
    parser.add_argument("--only", action="append", choices=PARTS, help="repeatable; without it all that can be run")
    parser.add_argument("--cells", nargs="+", type=Cell.read, default=[Cell.read(cell) for cell in CELLS])
    parser.add_argument("--history-jobs", type=Path, help="do the peers' table once more with earlier jobs known")
    parser.add_argument("--cats", type=Path, help="a Python that has CATS installed")
    parser.add_argument("--no-cats", action="store_true", help="leave CATS itself out")
    parser.add_argument("--judge", type=Path, help="score_schedule.py; else the one beside the data, if it is there")
    parser.add_argument("--seeds", type=int, default=5, help="queues that a line of the small table sums up")
    parser.add_argument(
        "--times", type=int, default=3, help="repetitions of each large queue and of each size of the growth"
    )
    own = parser.parse_args()
    if own.data is None and {"peers", "year"} & set(own.only or ()):
        parser.error("peers and year need --data")
    own.only = own.only or (PARTS if own.data else PARTS[:2])
    return own


def main() -> None:
    """Print the tables that are asked for."""
    own = options()
    shown: dict[str, Callable[[argparse.Namespace], None]] = {
        "queue": show_queues,
        "growth": show_growth,
        "peers": show_peers,
        "year": show_year,
    }
    print(
        f"{utc_now():%Y-%m-%d %H:%MZ}, Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}"
    )
    for part in PARTS:
        if part in own.only:
            shown[part](own)


if __name__ == "__main__":
    main()
