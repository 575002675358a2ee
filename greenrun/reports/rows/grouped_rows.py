"""The rows of a report: which parts, runs and jobs belong together, and who or what a row is about."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from math import fsum

import numpy as np

from greenrun.core.accounting.grouping import Codes, Grouping, grouped
from greenrun.core.accounting.parts import NO_SERIES, Integers, Parts, hour_of
from greenrun.core.accounting.usage import owner_labels
from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.job import Outcome
from greenrun.reports.completeness import HOUR_S
from greenrun.reports.emissions import brief, compared_figures, percents
from greenrun.reports.energy import gpu_seconds
from greenrun.reports.formats import By
from greenrun.reports.model import Day, JobRow, OutcomeRow, Row, Unattributed
from greenrun.reports.rows.groups import GroupedParts, ratios, rows_of
from greenrun.reports.rows.job_rows import by_job
from greenrun.reports.rows.members import ENDINGS, WASTED, Members
from greenrun.reports.rows.period_books import Books
from greenrun.reports.rows.reader import OTHERS, told_jobs

NO_ZONE = "unknown"
DAY_H = 24


def rows(books: Books, by: By, most: int | None = None) -> list[JobRow] | list[Row]:
    """Return a row for each group of what runs used, the largest emitter first; jobs and months in their order.

    Of jobs, so many `most`: those that were submitted first.
    """
    jobs = books.period.jobs
    uids: Sequence[int | None] | None = None
    match by:
        case "job":
            return [row for some in by_job(books, most) for row in some.rows()]
        case "month":
            return sorted(_by_part(books, _months, is_by_month=True), key=lambda row: row.group)
        case "zone":
            return sorted(_by_part(books, _zones), key=lambda row: -(row.emissions_location_g or 0.0))
        case "project":
            groups, group = jobs.projects, jobs.project
        case "user":
            groups, group = owner_labels(jobs.owners), jobs.owner
            uids = [owner.uid for owner in jobs.owners]
    found = _of_jobs(books, groups, np.where(told_jobs(jobs, books.reader.names), group, -1), uids)
    return sorted(found, key=lambda row: (-(row.emissions_location_g or 0.0), row.group))


def _of_jobs(books: Books, groups: Sequence[str], group: Codes, uids: Sequence[int | None] | None = None) -> list[Row]:
    code = group[books.runs.table.job] if len(group) else group
    used = _of_condensed(books, code, len(groups))
    runs = Members.of(code, books.runs.overlaps, len(groups))
    everyone = Members.of(code, books.runs.overlaps | books.runs.is_booked, len(groups))
    made = books.figures(used, runs, everyone) | books.runs.counts(runs)
    made |= {"group": list(groups), "uid": None if uids is None else list(uids)}
    is_there = everyone.by.any(np.ones(len(everyone.run), dtype=np.bool_))
    found = rows_of(made, len(groups), Row.model_fields)
    return [Row(**row) for row, is_row in zip(found, is_there.tolist(), strict=True) if is_row]


def _of_condensed(books: Books, code_of_run: Codes, count: int) -> GroupedParts:
    parts = books.condensed
    return GroupedParts(parts, Grouping(books.by_run(code_of_run, parts), count))


def of_others(books: Books, by: By) -> Row | None:
    """Return what jobs used of which the reader may not be told one by one, or by name; None where that is nothing."""
    if by not in ("job", "project", "user"):
        return None
    may_tell = books.reader.tells if by == "job" else books.reader.names
    hidden = ~told_jobs(books.period.jobs, may_tell)
    found = _of_jobs(books, [OTHERS], np.where(hidden, 0, -1)) if hidden.any() else []
    return found[0] if found else None


def unattributed(books: Books) -> Unattributed:
    """Return what no run held: idle GPUs, and what is shared."""
    of_runs_s = fsum(books.condensed.seconds[books.condensed.is_held].tolist())
    expected_s = max(0.0, books.completeness.device_hours * HOUR_S - of_runs_s)
    used, nobody = GroupedParts.whole(books.condensed.taken(~books.condensed.is_held)), Members.nobody(1)
    made = books.figures(used, nobody, nobody, has_whole_runs=False, expected_s=expected_s)
    (row,) = rows_of(made | {"group": "unattributed"}, 1, Unattributed.model_fields)
    return Unattributed(**row)


def total(books: Books) -> Row:
    """Return the figures of everything in the books of the period."""
    used, everything = GroupedParts.whole(books.condensed), np.zeros(len(books.runs.table), dtype=np.int64)
    runs = Members.of(everything, books.runs.overlaps, 1)
    everyone = Members.of(everything, books.runs.overlaps | books.runs.is_booked, 1)
    free_s = float(gpu_seconds(GroupedParts.whole(books.condensed.taken(~books.condensed.is_held)))[0])
    expected_s = books.completeness.device_hours * HOUR_S
    made = books.figures(used, runs, everyone, is_all=True, expected_s=expected_s, also_s=free_s)
    (row,) = rows_of(made | books.runs.counts(runs) | {"group": "total", "uid": None}, 1, Row.model_fields)
    return Row(**row)


def by_outcome(books: Books) -> list[OutcomeRow]:
    """Return runs, energy, emissions and what they avoided by how runs ended, waste first."""
    groups, ending = list(ENDINGS), books.runs.endings
    code = np.where(books.runs.overlaps, ending, -1)
    runs = Members.of(code, books.runs.overlaps, len(groups))
    used = _of_condensed(books, ending, len(groups))
    made = books.figures(used, runs, runs) | books.runs.counts(runs)
    baseline_g, actual_g, avoided_g = compared_figures(used)
    made |= {
        "outcome": groups,
        "is_waste": [group in {outcome.value for outcome in WASTED} for group in groups],
        "is_success": [group in (Outcome.SUCCEEDED, Outcome.CHECKPOINTED) for group in groups],
        "baseline_emissions_g": baseline_g,
        "compared_emissions_g": actual_g,
        "avoided_g": avoided_g,
        "avoided_pct": percents(avoided_g, baseline_g),
    }
    found = [OutcomeRow(**row) for row in rows_of(made, len(groups), OutcomeRow.model_fields) if row["runs"]]
    return sorted(found, key=lambda row: (not row.is_waste, -(row.it_energy_kwh or 0.0), row.outcome))


def days(parts: Parts) -> list[Day]:
    """Return the energy and emissions of each day (UTC) from the first to the last that has any; in between: None."""
    if not len(parts):
        return []
    day = parts.hour.astype(np.int64) // DAY_H
    first, count = int(day.min()), int(day.max() - day.min()) + 1
    used = GroupedParts(parts, Grouping(day - first, count))
    held = brief(GroupedParts(parts, Grouping(np.where(parts.is_held, day - first, -1), count)))
    made = brief(used) | {
        "day": [date(1970, 1, 1) + timedelta(days=first + number) for number in range(count)],
        "attributed_energy_kwh": held["it_energy_kwh"],
        "attributed_emissions_g": held["emissions_location_g"],
    }
    return [Day(**row) for row in rows_of(made, count, Day.model_fields)]


# rows by month and zone


def _by_part(books: Books, key: Callable[[Parts], tuple[list[str], Codes]], *, is_by_month: bool = False) -> list[Row]:
    """A run may have several rows here, so figures of whole runs are in the total only."""
    names, code = key(books.period.parts)
    unbooked = _unbooked_by(books, by_month=is_by_month)
    names = list(dict.fromkeys([*names, *unbooked]))
    count, held = len(names), np.flatnonzero(books.period.parts.is_held)
    parts, code_of_part = books.condensed_by(code)
    used = GroupedParts(parts, Grouping(code_of_part, count))
    mine = Grouping(code[held], count)
    of_parts = Members.nobody(count).joined(mine.code, books.runs.of_part[held])
    also = [(names.index(name), run) for name, runs in unbooked.items() for run in runs]
    also_code, also_run = np.array(also, dtype=np.int64).reshape(-1, 2).T
    everyone = of_parts.joined(also_code, also_run)
    seconds = _seconds_by_parts(books, mine, held)
    np.add.at(seconds, also_code, np.array([each_s for runs in unbooked.values() for each_s in runs.values()]))
    lacks = Grouping(also_code, count).any(books.runs.is_unmetered[also_run])
    made = books.figures(used, Members.nobody(count), of_parts, has_whole_runs=False, lacks_runs=lacks)
    made |= books.runs.counts(everyone, seconds) | {"group": names, "uid": None}
    is_there = everyone.by.any(np.ones(len(everyone.run), dtype=np.bool_)).tolist()
    found = zip(rows_of(made, count, Row.model_fields), is_there, strict=True)
    return [Row(**row) for row, is_row in found if is_row]


def _unbooked_by(books: Books, *, by_month: bool) -> Mapping[str, Mapping[int, float]]:
    """Return for how long each run ran of which nothing is booked, by month, or in no zone that is known."""
    found: dict[str, dict[int, float]] = {}
    table, period = books.runs.table, books.period
    for run in np.flatnonzero(books.runs.overlaps & ~books.runs.is_booked).tolist():
        if not by_month:
            found.setdefault(NO_ZONE, {})[run] = float(books.runs.held_s[run])
            continue
        start = max(period.start, _instant(table.started[run]))
        end = min(period.end, _instant(table.ended[run]) if table.has_ended[run] else books.now)
        for since, until in _split_by_month(start, end):
            found.setdefault(f"{since:%Y-%m}", {})[run] = (until - since).total_seconds()
    return found


def _instant(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))


def _split_by_month(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the part of `[start, end)` that is in each month (UTC)."""
    while start < end:
        first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        until = min(end, (first + timedelta(days=32)).replace(day=1))
        yield start, until
        start = until


def _seconds_by_parts(books: Books, group: Grouping, held: Integers) -> Floats:
    """Return of each group the time that falls to its parts (`held`), by their part of their runs' device-seconds."""
    run, runs, seconds = books.runs.of_part[held], len(books.runs.table), books.period.parts.seconds[held]
    both, code = np.unique(group.code * runs + run, return_inverse=True) if runs else (run, run)
    here = Grouping(code, len(both)).sums(seconds)
    of_run = both % runs if runs else both
    whole = Grouping(run, runs).sums(seconds)[of_run]
    mine = np.nan_to_num(books.runs.held_s[of_run] * ratios(here, whole))
    return Grouping(both // runs if runs else both, group.count).sums(mine)


def _months(parts: Parts) -> tuple[list[str], Codes]:
    hours, at = np.unique(parts.hour, return_inverse=True)
    months, month = grouped(f"{hour_of(int(hour)):%Y-%m}" for hour in hours.tolist())
    return months, month[at]


def _zones(parts: Parts) -> tuple[list[str], Codes]:
    zones, zone = grouped([*(each.zone for each in parts.series), NO_ZONE])
    return zones, zone[np.where(parts.priced_by == NO_SERIES, len(parts.series), parts.priced_by)]
