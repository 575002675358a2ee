"""What the energy of a row was for: how much work its runs said to have done."""

from collections.abc import Iterable
from datetime import datetime
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part, Period
from greenrun.core.jobs.job import Run


def work(parts: Iterable[Part], runs: Iterable[Run], period: Period, now: datetime) -> dict[str, Any]:
    """Return the work of these runs, its unit, and the IT energy in joules that each unit of it took.

    Runs that lie wholly within the period count, for their work is told of all of it alone; so do those that go on
    where the period does. All is None where no such run told of any, or they count different things; the energy of a
    unit also where a part of theirs is unknown.
    """
    told = [run for run in runs if run.work is not None and _is_within(run, period, now)]
    units = {run.work_unit for run in told}
    if len(units) != 1:
        return {"work": None, "work_unit": None, "energy_per_work_j": None}
    done, ids = fsum(run.work or 0.0 for run in told), {run.id for run in told}
    energies = [part.energy_j for part in parts if part.run_id in ids]
    known = [energy_j for energy_j in energies if energy_j is not None]
    is_known = bool(known) and len(known) == len(energies) and done > 0
    return {"work": done, "work_unit": units.pop(), "energy_per_work_j": fsum(known) / done if is_known else None}


def _is_within(run: Run, period: Period, now: datetime) -> bool:
    if run.started_at is None or run.started_at < period.start:
        return False
    return now <= period.end if run.ended_at is None else run.ended_at <= period.end
