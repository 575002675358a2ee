"""The rows of a report: which parts, runs and jobs belong together, and who or what a row is about."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from math import fsum

from greenrun.core.accounting.period import Part, Period
from greenrun.core.energy.model import Component
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.reports.completeness import HOUR_S, completeness
from greenrun.reports.cost_and_scope2 import Rates
from greenrun.reports.emissions import brief, compared_figures, percent_of
from greenrun.reports.energy import gpu_seconds, held_by_gpu, idle, work
from greenrun.reports.figure_models import Counts, Figures, combined
from greenrun.reports.figures import Share, figures
from greenrun.reports.identity import Hardware, Place, identity
from greenrun.reports.model import By, Day, ForecastComparison, Hour, JobRow, Named, OutcomeRow, Row, Unattributed
from greenrun.reports.period_models import Completeness
from greenrun.reports.uncertainty import Widths

WASTED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED, Outcome.FAILED_TO_START})
NO_ZONE = "unknown"
UNFINISHED = "unfinished"

Key = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRuns:
    """The runs that are wholly in a row: for how long they held GPUs in total and each one (`gpu_s`), and how often."""

    runs: Sequence[Run]
    held_s: float
    holds: int
    gpu_s: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)  # without slots: what is looked up often is kept
class Books:
    """The data of a period's report: its jobs and runs by id, and how far forecasts were off."""

    period: Period
    jobs: Mapping[int, Job]
    runs: Mapping[int, Run]
    hardware: Hardware
    now: datetime
    forecasts: ForecastComparison
    place: Place = field(default_factory=Place)
    zone: str | None = None
    widths: Widths = field(default_factory=Widths)
    rates: Rates = field(default_factory=Rates)

    def figures(
        self,
        parts: Sequence[Part],
        whole: WholeRuns | None = None,
        *,
        is_all: bool = False,
        lacks_runs: bool = False,
        expected_s: float | None = None,
    ) -> Figures:
        """Return every figure of a row that is made of these parts, of which `whole` are the runs that it has wholly.

        Where a row has none, GPUs were held for as long as is booked, and no work is known. `is_all`: of everything.
        `lacks_runs`: it has runs of which nothing could be metered. `expected_s` are the device-seconds of a row that
        is about the whole period.
        """
        runs = whole.runs if whole else ()
        ids = {part.run_id for part in parts if part.run_id is not None}.union(run.id for run in runs)
        share = Share(
            parts=parts,
            held_s=whole.held_s if whole else None,
            holds=whole.holds if whole else 0,
            compared={run_id: self.period.compared.get(run_id) for run_id in ids},
            succeeded=self.succeeded,
            expected_s=expected_s,
            is_watched=expected_s is None or self.completeness.is_whole,
            widths=self.widths,
            sparse=self._sparse,
            emulated=self._emulated,
            is_whole=is_all,
            lacks_runs=lacks_runs or any(self.is_unmetered(run) for run in runs),
        )
        inventory = figures(share, self.forecasts.mean_absolute_error_pct)
        done = work(parts, runs, self.period, self.now)
        others = self.rates.figures(parts, inventory, whole.gpu_s if whole else None)
        return combined(Figures, inventory, idle(parts, self.hardware.idle_w), done, *others)

    @cached_property
    def completeness(self) -> Completeness:
        """For how much of the period the books know its devices."""
        return completeness(self.period, self.now)

    @cached_property
    def succeeded(self) -> frozenset[int]:
        """The runs whose work was of use: those that succeeded, and what a job that succeeded had saved before."""
        return frozenset(run.id for run in self.runs.values() if self._is_success(run))

    def _is_success(self, run: Run) -> bool:
        if run.outcome is Outcome.CHECKPOINTED:
            return self.jobs[run.job_id].state is State.SUCCEEDED
        return run.outcome is Outcome.SUCCEEDED

    @cached_property
    def _emulated(self) -> frozenset[str]:
        return frozenset(device.id for device in self.hardware.devices.values() if device.emulated)

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

    def is_unmetered(self, run: Run) -> bool:
        """Whether a run has ended and nothing that it used could be metered: it held no GPU, and no CPU was read."""
        is_booked = run.id in self.parts_of or self._is_cpu_metered
        return run.ended_at is not None and not run.devices and not is_booked

    @cached_property
    def _is_cpu_metered(self) -> bool:
        return any(part.component is Component.CPU for part in self.period.parts)

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
        """The runs of each job that had started, by id, including those outside the period."""
        found: defaultdict[int, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            if run.started_at is not None:
                found[run.job_id].append(run)
        return found


def rows(books: Books, by: By) -> list[JobRow] | list[Row]:
    """Return a row for each group of what runs used, the largest emitter first; jobs and months in their order."""
    match by:
        case "job":
            return list(by_job(books))
        case "month":
            return sorted(_by_part(books, _month), key=lambda row: row.group)
        case "zone":
            return sorted(_by_part(books, _zone), key=lambda row: -(row.emissions_location_g or 0.0))
    found = [
        combined(Row, Named(group=str(group)), *_of_runs(books, runs, parts))
        for group, runs, parts in _grouped(books, _project if by == "project" else _user)
    ]
    return sorted(found, key=lambda row: (-(row.emissions_location_g or 0.0), row.group))


def unattributed(books: Books) -> Unattributed:
    """Return what no run held: idle GPUs, and what is shared."""
    of_runs_s = fsum(part.seconds for part in books.period.parts if part.run_id is not None)
    expected_s = max(0.0, books.completeness.device_hours * HOUR_S - of_runs_s)
    return combined(
        Unattributed,
        Named(group="unattributed"),
        books.figures(books.parts_of.get(None, ()), expected_s=expected_s),
    )


def total(books: Books) -> Row:
    """Return the figures of everything in the books of the period."""
    runs = books.overlapping
    free_s = gpu_seconds(books.parts_of.get(None, ()))
    expected_s = books.completeness.device_hours * HOUR_S
    whole = _whole(books, runs, free_s)
    known = books.figures(books.period.parts, whole, is_all=True, expected_s=expected_s)
    return combined(Row, Named(group="total"), _counts(books, runs), known)


def by_outcome(books: Books) -> list[OutcomeRow]:
    """Return runs, energy, emissions and what they avoided by how runs ended, waste first."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in books.overlapping:
        groups[_ending(books, run)].append(run)
    found = [_outcome_row(books, ending, runs) for ending, runs in groups.items()]
    return sorted(found, key=lambda row: (not row.is_waste, -(row.it_energy_kwh or 0.0), row.outcome))


def _ending(books: Books, run: Run) -> str:
    """Return how a run ended; what was saved for a job that did not succeed, or not yet, is a kind of its own."""
    if run.outcome is None:
        return "running"
    is_saved = run.outcome is Outcome.CHECKPOINTED and run.id not in books.succeeded
    return UNFINISHED if is_saved else run.outcome.value


def days(parts: Sequence[Part]) -> list[Day]:
    """Return the energy and emissions of each day (UTC) from the first to the last that has any; in between: None."""
    by_day: defaultdict[date, list[Part]] = defaultdict(list)
    for part in parts:
        by_day[part.hour.date()].append(part)
    first, last = min(by_day, default=date.min), max(by_day, default=date.min)
    all_days = [first + timedelta(days=number) for number in range((last - first).days + 1)] if by_day else []
    return [_day(day, by_day.get(day, [])) for day in all_days]


def _day(day: date, parts: Sequence[Part]) -> Day:
    held = brief([part for part in parts if part.run_id is not None])
    return combined(
        Day,
        brief(parts),
        day=day,
        attributed_energy_kwh=held.it_energy_kwh,
        attributed_emissions_g=held.emissions_location_g,
    )


def _outcome_row(books: Books, ending: str, runs: Sequence[Run]) -> OutcomeRow:
    parts = _parts_of(books, runs)
    row = books.figures(parts, _whole(books, runs))
    baseline_g, actual_g, avoided_g = compared_figures(parts)
    return OutcomeRow(
        outcome=ending,
        is_waste=runs[0].outcome in WASTED,
        is_success=runs[0].id in books.succeeded,
        runs=len(runs),
        it_energy_kwh=row.it_energy_kwh,
        emissions_location_g=row.emissions_location_g,
        complete=row.complete,
        cost=row.cost,
        currency=row.currency,
        cost_missing_kwh=row.cost_missing_kwh,
        baseline_emissions_g=baseline_g,
        compared_emissions_g=actual_g,
        avoided_g=avoided_g,
        avoided_pct=percent_of(avoided_g, baseline_g),
    )


def by_job(books: Books) -> Iterator[JobRow]:
    """Yield the row of each job, by id: of tens of thousands, nobody need have all at once."""
    for job_id, runs, parts in sorted(_grouped(books, lambda job: job.id), key=lambda group: int(group[0])):
        job = books.jobs[int(job_id)]
        who = identity(job, books.runs_of.get(job.id, ()), books.hardware, books.place, books.zone)
        named = Named(group=str(job.id))
        yield combined(JobRow, named, *_of_runs(books, runs, parts), who, slices=hourly(parts))


def _grouped(books: Books, key: Callable[[Job], Key]) -> Iterator[tuple[Key, Sequence[Run], Sequence[Part]]]:
    """Yield each group of jobs with the runs that held something and the parts of theirs that are booked."""
    groups: defaultdict[Key, list[Run]] = defaultdict(list)
    for run in books.overlapping:
        groups[key(books.jobs[run.job_id])].append(run)
    parts: defaultdict[Key, list[Part]] = defaultdict(list)
    for part in books.period.parts:
        if part.run_id is not None:
            group = key(books.jobs[books.runs[part.run_id].job_id])
            parts[group].append(part)
            groups.setdefault(group, [])
    for group, runs in groups.items():
        yield group, runs, parts[group]


def _of_runs(books: Books, runs: Sequence[Run], parts: Sequence[Part]) -> tuple[Counts, Figures]:
    return _counts(books, runs), books.figures(parts, _whole(books, runs))


def _by_part(books: Books, key: Callable[[Part], str]) -> list[Row]:
    """A run may have several rows here, so figures of whole runs are in the total only."""
    parts: defaultdict[str, list[Part]] = defaultdict(list)
    for part in books.period.parts:
        if part.run_id is not None:
            parts[key(part)].append(part)
    unbooked = _unbooked_by(books, key is _month)
    found = []
    for group in {**parts, **unbooked}:
        mine, also = parts.get(group, []), unbooked.get(group, {})
        runs = [books.runs[run_id] for run_id in dict.fromkeys(part.run_id for part in mine) if run_id is not None]
        run_seconds = fsum((*_seconds_by_parts(books, mine), *also.values()))
        others = [books.runs[run_id] for run_id in also]
        known = books.figures(mine, lacks_runs=any(books.is_unmetered(run) for run in others))
        found.append(combined(Row, Named(group=group), _counts(books, [*runs, *others], run_seconds), known))
    return found


def _unbooked_by(books: Books, by_month: bool) -> Mapping[str, Mapping[int, float]]:
    """Return for how long each run ran of which nothing is booked, by month, or in no zone that is known."""
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for run in books.overlapping:
        held = books.held(run)
        if held is None or run.id in books.parts_of:
            continue
        for start, end in _split_by_month(*held) if by_month else (held,):
            found[f"{start:%Y-%m}" if by_month else NO_ZONE][run.id] = (end - start).total_seconds()
    return found


def _split_by_month(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the part of `[start, end)` that is in each month (UTC)."""
    while start < end:
        first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        until = min(end, (first + timedelta(days=32)).replace(day=1))
        yield start, until
        start = until


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


def _whole(books: Books, runs: Sequence[Run], also_s: float = 0.0) -> WholeRuns:
    """Return how these runs held GPUs; `also_s` are GPU-seconds that nobody held, of a row that has them too."""
    return WholeRuns(
        runs=runs,
        held_s=also_s + _held_s(books, runs),
        holds=sum(len(run.devices) for run in runs),
        gpu_s=_gpu_s(books, runs),
    )


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


def _seconds(span: tuple[datetime, datetime] | None) -> float:
    return (span[1] - span[0]).total_seconds() if span else 0.0


def _counts(books: Books, runs: Sequence[Run], run_seconds: float | None = None) -> Counts:
    """Count these runs and their jobs; `run_seconds` is how long they ran, where a row has not all of that."""
    jobs = {run.job_id: books.jobs[run.job_id] for run in runs}
    return Counts(
        jobs=len(jobs),
        failed_jobs=sum(job.state is State.FAILED for job in jobs.values()),
        runs=len(runs),
        wasted_runs=sum(run.outcome in WASTED for run in runs),
        run_seconds=sum(_seconds(books.held(run)) for run in runs) if run_seconds is None else run_seconds,
    )


def _parts_of(books: Books, runs: Sequence[Run]) -> list[Part]:
    return [part for run in runs for part in books.parts_of.get(run.id, ())]


def hourly(parts: Iterable[Part]) -> list[Hour]:
    """Return the energy and emissions of each hour in which there were any, in time order."""
    hours: defaultdict[datetime, list[Part]] = defaultdict(list)
    for part in parts:
        hours[part.hour].append(part)
    return [combined(Hour, brief(mine), hour=hour) for hour, mine in sorted(hours.items())]
