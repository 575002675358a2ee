"""The rows of a report: which parts, runs and jobs belong together, and who or what a row is about."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part, Period
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.reports.bases import Rates
from greenrun.reports.embodied import held_by_gpu
from greenrun.reports.figures import Figures, Share, brief, figures
from greenrun.reports.identity import Hardware, Place, identity, text
from greenrun.reports.idle import idle
from greenrun.reports.uncertainty import Widths
from greenrun.reports.utilisation import gpu_seconds
from greenrun.reports.work import work

WASTED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED, Outcome.FAILED_TO_START})
NO_ZONE = "unknown"
_OF_WASTE = ("it_energy_kwh", "emissions_location_g", "complete", "cost", "currency", "cost_missing_kwh")

Key = str | int


@dataclass(frozen=True, kw_only=True)  # without slots: what is looked up often is kept
class Books:
    """A period with what was found out about it: its jobs and runs by id, and how far forecasts were off."""

    period: Period
    jobs: Mapping[int, Job]
    runs: Mapping[int, Run]
    hardware: Hardware
    now: datetime
    forecasts: Figures
    place: Place = field(default_factory=Place)
    zone: str | None = None
    widths: Widths = field(default_factory=Widths)
    rates: Rates = field(default_factory=Rates)

    def figures(self, parts: Sequence[Part], gpu_s: Mapping[str, float] | None = None, **more: Any) -> Figures:
        """Return every figure of a row that is made of these parts; `more` is the rest of its share.

        `gpu_s` is how long its runs held each GPU; None: as long as is booked.
        """
        runs, whole = {part.run_id for part in parts if part.run_id is not None}, more.pop("runs", ())
        compared = {run_id: self.period.compared.get(run_id) for run_id in runs.union(whole)}
        share = Share(parts=parts, compared=compared, widths=self.widths, sparse=self._sparse, **more)
        row = {**figures(share, self.forecasts["mean_absolute_error_pct"]), **idle(parts, self.hardware.idle_w)}
        row |= work(parts, [self.runs[run_id] for run_id in whole], self.period, self.now)
        return row | self.rates.figures(parts, row, gpu_s)

    @cached_property
    def _sparse(self) -> frozenset[str]:
        return self.hardware.sparse

    @cached_property
    def parts_of(self) -> Mapping[int | None, Sequence[Part]]:
        """The parts of each run; under None those of nobody."""
        found: defaultdict[int | None, list[Part]] = defaultdict(list)
        for part in self.period.parts:
            found[part.run_id].append(part)
        return found

    def held(self, run: Run) -> tuple[datetime, datetime] | None:
        """Return when the run held its devices within the period; None when it did not."""
        if run.started_at is None:
            return None
        start, end = max(run.started_at, self.period.start), min(run.ended_at or self.now, self.period.end)
        return (start, end) if start < end else None

    @cached_property
    def overlapping(self) -> Sequence[Run]:
        """The runs that held something in the period, by id."""
        return [run for run in self.runs.values() if self.held(run) is not None]

    @cached_property
    def runs_of(self) -> Mapping[int, Sequence[Run]]:
        """The runs of each job that had started, by id, be they outside the period too."""
        found: defaultdict[int, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            if run.started_at is not None:
                found[run.job_id].append(run)
        return found


def rows(books: Books, by: str) -> list[Figures]:
    """Return a row for each group of what runs used, the largest emitter first; jobs and months in their order."""
    if by in ("month", "zone"):
        return _by_part(books, _month if by == "month" else _zone, is_month=by == "month")
    key = _KEYS[by]
    groups: defaultdict[Key, list[Run]] = defaultdict(list)
    for run in books.overlapping:
        groups[key(books.jobs[run.job_id])].append(run)
    parts: defaultdict[Key, list[Part]] = defaultdict(list)
    for part in books.period.parts:
        if part.run_id is not None:
            job = books.jobs[books.runs[part.run_id].job_id]
            parts[key(job)].append(part)
            groups.setdefault(key(job), [])
    found = [_row(books, group, runs, parts[group], by) for group, runs in groups.items()]
    if by == "job":
        return sorted(found, key=lambda row: int(row["job_id"]))
    return sorted(found, key=lambda row: (-(row["emissions_location_g"] or 0.0), str(row["group"])))


def unattributed(books: Books) -> Figures:
    """Return what no run held: idle GPUs, and what is shared."""
    parts = books.parts_of.get(None, ())
    return {"group": "unattributed", **books.figures(parts)}


def total(books: Books) -> Figures:
    """Return the figures of everything in the books of the period."""
    runs = books.overlapping
    free_s = gpu_seconds(books.parts_of.get(None, ()))
    known = books.figures(books.period.parts, **{**_of_runs(books, runs), "held_s": free_s + _held_s(books, runs)})
    return {"group": "total", **_counts(books, runs), **known}


def waste(books: Books) -> list[Figures]:
    """Return runs, energy and emissions by how runs ended, failed ones first."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in books.overlapping:
        groups[run.outcome.value if run.outcome else "running"].append(run)
    found = []
    for outcome, runs in groups.items():
        row = books.figures(_parts_of(books, runs), _gpu_s(books, runs))
        is_waste = outcome in {each.value for each in WASTED}
        kept = {name: row[name] for name in _OF_WASTE}
        found.append({"outcome": outcome, "is_waste": is_waste, "runs": len(runs), **kept})
    return sorted(found, key=lambda row: (not row["is_waste"], -(row["it_energy_kwh"] or 0.0), row["outcome"]))


def _by_part(books: Books, key: Callable[[Part], str], *, is_month: bool) -> list[Figures]:
    """Rows of a run may be several here, so what is told of whole runs is told in the total only."""
    parts: defaultdict[str, list[Part]] = defaultdict(list)
    for part in books.period.parts:
        if part.run_id is not None:
            parts[key(part)].append(part)
    found = []
    for group, mine in parts.items():
        runs = [books.runs[run_id] for run_id in dict.fromkeys(part.run_id for part in mine) if run_id is not None]
        row = {"group": group, **_counts(books, runs), **books.figures(mine)}
        found.append({**row, "run_seconds": fsum(_seconds_by_parts(books, mine))})
    order = (lambda row: row["group"]) if is_month else (lambda row: -(row["emissions_location_g"] or 0.0))
    return sorted(found, key=order)


def _seconds_by_parts(books: Books, mine: Sequence[Part]) -> Iterator[float]:
    """Yield of each run the time that falls to these parts, by their part of all of its device-seconds."""
    here: defaultdict[int, float] = defaultdict(float)
    for part in mine:
        if part.run_id is not None:
            here[part.run_id] += part.seconds
    for run_id, seconds in here.items():
        whole = fsum(part.seconds for part in books.parts_of[run_id])
        yield _seconds(books.held(books.runs[run_id])) * seconds / whole if whole else 0.0


def _month(part: Part) -> str:
    return f"{part.hour:%Y-%m}"


def _zone(part: Part) -> str:
    return part.price.series.zone if part.price is not None else NO_ZONE


def _project(job: Job) -> Key:
    return job.spec.project


def _user(job: Job) -> Key:
    return job.user


def _job(job: Job) -> Key:
    return job.id


_KEYS: Mapping[str, Callable[[Job], Key]] = {"project": _project, "user": _user, "job": _job}


def _row(books: Books, group: Key, runs: Sequence[Run], parts: Sequence[Part], by: str) -> Figures:
    row = {"group": str(group), **_counts(books, runs), **books.figures(parts, **_of_runs(books, runs))}
    if by != "job":
        return row
    job = books.jobs[int(group)]
    told = identity(job, books.runs_of.get(job.id, ()), books.hardware, books.place, books.zone)
    return {**row, **told, "slices": hourly(parts)}


def _of_runs(books: Books, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "held_s": _held_s(books, runs),
        "holds": _holds(runs),
        "runs": [run.id for run in runs],
        "gpu_s": _gpu_s(books, runs),
    }


def _gpu_s(books: Books, runs: Sequence[Run]) -> dict[str, float]:
    """Return for how many seconds these runs held each GPU; of one that goes on, what is booked by now."""
    found: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        if run.ended_at is None:
            held = held_by_gpu(books.parts_of.get(run.id, ()))
        else:
            held = dict.fromkeys(run.devices, _seconds(books.held(run)))
        for device, seconds in held.items():
            found[device] += seconds
    return found


def _held_s(books: Books, runs: Sequence[Run]) -> float:
    """Return the GPU-seconds that these runs held; of one that goes on, what is booked by now."""
    ended = sum(_seconds(books.held(run)) * len(run.devices) for run in runs if run.ended_at is not None)
    going_on = [run for run in runs if run.ended_at is None]
    return ended + gpu_seconds(_parts_of(books, going_on))


def _holds(runs: Sequence[Run]) -> int:
    return sum(len(run.devices) for run in runs)


def _seconds(span: tuple[datetime, datetime] | None) -> float:
    return (span[1] - span[0]).total_seconds() if span else 0.0


def _counts(books: Books, runs: Sequence[Run]) -> Figures:
    jobs = {run.job_id: books.jobs[run.job_id] for run in runs}
    return {
        "jobs": len(jobs),
        "failed_jobs": sum(job.state is State.FAILED for job in jobs.values()),
        "runs": len(runs),
        "wasted_runs": sum(run.outcome in WASTED for run in runs),
        "run_seconds": sum(_seconds(books.held(run)) for run in runs),
    }


def _parts_of(books: Books, runs: Sequence[Run]) -> list[Part]:
    return [part for run in runs for part in books.parts_of.get(run.id, ())]


def hourly(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the energy and emissions of each hour in which there were any, in time order."""
    hours: defaultdict[datetime, list[Part]] = defaultdict(list)
    for part in parts:
        hours[part.hour].append(part)
    found = []
    for hour, mine in sorted(hours.items()):
        found.append({"hour": text(hour), **brief(mine)})
    return found
