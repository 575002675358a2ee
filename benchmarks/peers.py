"""Simulate recorded jobs on a recorded grid under greenrun, its peers' rules and CATS itself; one table a case."""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.simulation.compare import figures
from greenrun.simulation.files import read_case
from greenrun.simulation.policies import Arrival, dispatch
from greenrun.simulation.schedule import Schedule, schedule_text

START = datetime(2022, 10, 19, 16, tzinfo=UTC)
START_TEXT = "2022-10-19T16:00Z"
JOBS = "jobs/pai_1k.csv"
CATS = "climate-aware-task-scheduler==1.2.1"
GREENRUN = str(Path(sys.executable).parent / "greenrun")
RULES = ("start-at-once", "own-best-window", "lowest-slot", "carbon-time", "threshold:{threshold:.0f}", "percentile:30")
LOOKED_BACK = timedelta(days=28)  # from which the threshold is taken: what had been measured when the jobs began


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A grid zone and a number of GPUs."""

    zone: str
    gpus: int

    @classmethod
    def read(cls, text: str) -> "Cell":
        """Read `AU-SA:28`; raise ValueError when it is no such thing."""
        zone, _, gpus = text.rpartition(":")
        return cls(zone=zone, gpus=int(gpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a policy came to in a cell; savings in per cent, `judged` is what an independent judge says."""

    policy: str
    saving: float
    late: int
    mean_delay_h: float
    peak_gpus: int
    judged: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A cell's rows, the saving that none can exceed, and how long greenrun took over the whole week."""

    cell: Cell
    rows: Sequence[Row]
    bound: float
    greenrun_s: float
    refused_by_cats: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where everything is: the data, greenrun's earlier jobs, CATS's Python, and the judge, where there is one."""

    data: Path
    history_jobs: Path | None
    cats: Path | None
    judge: Path | None

    @property
    def jobs(self) -> Path:
        """The jobs that arrive."""
        return self.data / JOBS

    def intensity(self, cell: Cell) -> Path:
        """The year of a cell's zone."""
        return self.data / "intensity" / f"{cell.zone}_2022.csv"


def cats_python(folder: Path) -> Path:
    """Install CATS into an environment of its own under a folder and return its Python."""
    home = folder / "cats"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", CATS], check=True)
    return python


def table(cell: Cell, inputs: Inputs) -> Table:
    """Simulate a cell under everything."""
    with tempfile.TemporaryDirectory() as folder:
        schedule = Path(folder) / "greenrun.csv"
        cats, refused = _cats(cell, inputs, Path(folder)) if inputs.cats else (None, None)
        rules = _rules(cell, inputs)
        told, greenrun_s = _greenrun(cell, inputs, schedule)
        ours = _row("greenrun", told["policies"]["greenrun"], _judged(cell, inputs, schedule))
        rows = [ours, *(_row(name, own) for name, own in rules["policies"].items())]
    return Table(
        cell=cell,
        rows=[*rows, *([cats] if cats else [])],
        bound=100 * told["bound_saving_ratio"],
        greenrun_s=greenrun_s,
        refused_by_cats=refused,
    )


def _greenrun(cell: Cell, inputs: Inputs, schedule: Path) -> tuple[Any, float]:
    earlier = ["--history-jobs", str(inputs.history_jobs)] if inputs.history_jobs else []
    began_s = time.perf_counter()
    told = _simulate(cell, inputs, ["--policy", "greenrun", "--schedule-out", str(schedule), *earlier])
    return told, time.perf_counter() - began_s


def _rules(cell: Cell, inputs: Inputs) -> Any:
    names = [name.format(threshold=_threshold(inputs.intensity(cell))) for name in RULES]
    return _simulate(cell, inputs, [part for name in names for part in ("--policy", name)])


def _simulate(cell: Cell, inputs: Inputs, more: Sequence[str]) -> Any:
    files = ["--intensity", str(inputs.intensity(cell)), "--jobs", str(inputs.jobs)]
    command = [GREENRUN, "simulate", *files, "--gpus", str(cell.gpus), "--start", START_TEXT, "--json", *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _threshold(trace: Path) -> float:
    """Return the median intensity of the weeks before the jobs, in g/kWh."""
    with trace.open(newline="") as file:
        rows = [(datetime.fromisoformat(row["start"]), float(row["g_per_kwh"])) for row in csv.DictReader(file)]
    return statistics.median(value for start, value in rows if START - LOOKED_BACK <= start < START)


def _row(policy: str, own: Mapping[str, Any], judged: Mapping[str, Any] | None = None) -> Row:
    return Row(
        policy=policy,
        saving=100 * own["saving_ratio"],
        late=own["late"],
        mean_delay_h=own["mean_delay_s"] / 3600,
        peak_gpus=own["peak_gpus"],
        judged=judged,
    )


def _cats(cell: Cell, inputs: Inputs, folder: Path) -> tuple[Row, int]:
    """Let CATS choose each start, and start each job then, or once its GPUs are free."""
    files = ["--intensity", inputs.intensity(cell), "--jobs", inputs.jobs, "--start", START_TEXT]
    script = Path(__file__).with_name("cats_starts.py")
    command = [str(part) for part in (inputs.cats, script, *files)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    case = read_case(intensity=inputs.intensity(cell), jobs=inputs.jobs, start=START, gpus=cell.gpus)
    base = _played(case.jobs, [job.submitted_s for job in case.jobs], cell.gpus)
    schedule = _played(case.jobs, [START.timestamp() + at_s for at_s in told["wanted_s"]], cell.gpus)
    path = folder / "cats.csv"
    path.write_text(schedule_text(schedule, START))
    own, other = (figures(each, case.jobs, case.measured) for each in (schedule, base))
    assert own.emissions_g is not None, "the trace covers all jobs"
    assert other.emissions_g is not None, "the trace covers all jobs"
    row = Row(
        policy=f"CATS {told['version']} itself",
        saving=100 * (1 - own.emissions_g / other.emissions_g),
        late=own.late,
        mean_delay_h=own.mean_delay_s / 3600,
        peak_gpus=own.peak_gpus,
        judged=_judged(cell, inputs, path),
    )
    return row, len(told["refused"])


def _played(jobs: Sequence[Arrival], wanted_s: Sequence[float], gpus: int) -> Schedule:
    return Schedule.whole(dispatch(jobs, wanted_s, gpus), jobs)


def _judged(cell: Cell, inputs: Inputs, schedule: Path) -> Mapping[str, Any] | None:
    if inputs.judge is None:
        return None
    files = ["--intensity", inputs.intensity(cell), "--jobs", inputs.jobs, "--schedule", schedule]
    command = [sys.executable, inputs.judge, *files, "--gpus", cell.gpus, "--start", START_TEXT]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    judged: Mapping[str, Any] = json.loads(done.stdout)
    return judged
