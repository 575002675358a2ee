"""The rows of a report: which parts, runs and jobs belong together, and who or what a row is about."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from greenrun.core.energy import Device
from greenrun.core.job import Job, Outcome, Run, State
from greenrun.core.period import Part, Period
from greenrun.reports.counterfactual import Compared
from greenrun.reports.figures import Figures, Share, brief, figures

WASTED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED, Outcome.FAILED_TO_START})
NO_ZONE = "unknown"

Key = str | int


@dataclass(frozen=True, kw_only=True)  # without slots: what is looked up often is kept
class Books:
    """A period with what was found out about it: its jobs and runs by id, and each run's comparison."""

    period: Period
    jobs: Mapping[int, Job]
    runs: Mapping[int, Run]
    compared: Mapping[int, Compared]
    devices: Mapping[str, Device]
    now: datetime
    forecast_error_pct: float | None

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
    return {"group": "unattributed", **figures(Share(parts=parts), books.forecast_error_pct)}


def total(books: Books) -> Figures:
    """Return the figures of everything in the books of the period."""
    runs = books.overlapping
    free_s = sum(part.seconds for part in books.parts_of.get(None, ()))
    share = Share(
        parts=books.period.parts,
        held_s=free_s + _held_s(books, runs),
        holds=_holds(runs),
        compared=[books.compared[run.id] for run in runs],
    )
    return {"group": "total", **_counts(books, runs), **figures(share, books.forecast_error_pct)}


def waste(books: Books) -> list[Figures]:
    """Return runs, energy and emissions by how runs ended, failed ones first."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in books.overlapping:
        groups[run.outcome.value if run.outcome else "running"].append(run)
    found = []
    for outcome, runs in groups.items():
        row = figures(Share(parts=_parts_of(books, runs)), books.forecast_error_pct)
        is_waste = outcome in {each.value for each in WASTED}
        kept = {name: row[name] for name in ("it_energy_kwh", "emissions_location_g", "complete")}
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
        found.append({"group": group, **_counts(books, runs), **figures(Share(parts=mine), books.forecast_error_pct)})
    order = (lambda row: row["group"]) if is_month else (lambda row: -(row["emissions_location_g"] or 0.0))
    return sorted(found, key=order)


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
    share = Share(
        parts=parts, held_s=_held_s(books, runs), holds=_holds(runs), compared=[books.compared[run.id] for run in runs]
    )
    row = {"group": str(group), **_counts(books, runs), **figures(share, books.forecast_error_pct)}
    return {**row, **_identity(books, books.jobs[int(group)], runs)} if by == "job" else row


def _held_s(books: Books, runs: Sequence[Run]) -> float:
    """Return the device-seconds that these runs held; of one that goes on, what is booked by now."""
    ended = sum(_seconds(books.held(run)) * len(run.devices) for run in runs if run.ended_at is not None)
    going_on = [run for run in runs if run.ended_at is None]
    return ended + sum(part.seconds for part in _parts_of(books, going_on))


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


def _identity(books: Books, job: Job, runs: Sequence[Run]) -> Figures:
    """Return who and what a job is; its times are of all its runs, be they outside the period too."""
    own = books.runs_of.get(job.id, ())
    started_at = min((run.started_at for run in own if run.started_at), default=None)
    ended_at = max((run.ended_at for run in own if run.ended_at), default=None) if job.finished_at else None
    devices = sorted({device for run in own for device in run.devices})
    run_s = sum((run.ended_at - run.started_at).total_seconds() for run in own if run.started_at and run.ended_at)
    wall_s = (ended_at - started_at).total_seconds() if started_at and ended_at else None
    last = own[-1] if own else None
    return {
        "job_id": job.id,
        "job_name": job.name,
        "project": job.spec.project,
        "user": job.user,
        "tags": dict(job.spec.labels),
        "submitted_at": _text(job.submitted_at),
        "eligible_at": _text(job.earliest_start),
        "deadline_at": _text(job.spec.finish_by),
        "started_at": _text(started_at),
        "ended_at": _text(ended_at),
        "wall_seconds": wall_s,
        "paused_seconds": wall_s - run_s if wall_s is not None else None,
        "deferral_seconds": (started_at - job.earliest_start).total_seconds() if started_at else None,
        "attempts": len(own),
        "outcome": last.outcome.value if last and last.outcome else job.state.value,
        "exit_code": last.exit_code if last else None,
        "gpu_count": job.spec.gpus,
        "gpu_share": 1.0 if devices else None,
        "gpu_model": sorted({books.devices[each].model for each in devices if each in books.devices}),
        "gpu_uuid": devices,
        "slices": hourly(_parts_of(books, runs)),
    }


def hourly(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the energy and emissions of each hour in which there were any, in time order."""
    hours: defaultdict[datetime, list[Part]] = defaultdict(list)
    for part in parts:
        hours[part.hour].append(part)
    found = []
    for hour, mine in sorted(hours.items()):
        found.append({"hour": _text(hour), **brief(mine)})
    return found


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
