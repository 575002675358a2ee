"""Few values as columns and back, for tests that look at single figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from greenrun.core.accounting.grouping import grouped
from greenrun.core.accounting.parts import Part, Parts
from greenrun.core.accounting.period import NO_OUTCOME, OUTCOMES, STATES, JobTable, RunTable, microseconds
from greenrun.core.accounting.usage import Owner
from greenrun.core.jobs.job import Run, State
from greenrun.reports.rows.groups import Figures, GroupedParts, rows_of


def whole(parts: Sequence[Part]) -> GroupedParts:
    """Return parts as one group."""
    return GroupedParts.whole(Parts.of(parts))


def only(figures: Figures) -> dict[str, Any]:
    """Return the figures of the only group, None where one is not known."""
    (row,) = rows_of(figures, 1, figures)
    return row


def value(column: Any) -> float | None:
    """Return the only figure of a column, None where it is not known."""
    return only({"it": column})["it"]


def jobs_table(ids: Sequence[int] = (1,), state: State = State.SUCCEEDED) -> JobTable:
    """Return jobs of one user and project."""
    states = np.full(len(ids), STATES.index(state))
    none = np.zeros(len(ids), dtype=np.int64)
    owners = [Owner(1000, "ada")]
    return JobTable(id=np.array(ids), projects=["p"], project=none, owners=owners, owner=none, state=states)


def runs_table(runs: Sequence[Run], job_ids: Sequence[int] = (1,)) -> RunTable:
    """Return these runs, all compared with an earlier start."""
    whys, why = grouped(None for _ in runs)
    holdings, holding = grouped(run.devices for run in runs)
    return RunTable(
        id=np.array([run.id for run in runs], dtype=np.int64),
        job=np.array([job_ids.index(run.job_id) for run in runs], dtype=np.int64),
        started=np.array([microseconds(run.started_at) for run in runs], dtype=np.int64),
        ended=np.array([microseconds(run.ended_at) for run in runs], dtype=np.int64),
        outcome=np.array([NO_OUTCOME if run.outcome is None else OUTCOMES.index(run.outcome) for run in runs]),
        ran_s=np.full(len(runs), np.nan),
        exit_code=[run.exit_code for run in runs],
        holdings=holdings,
        holding=holding,
        why=why,
        whys=whys,
        work=np.array([run.work for run in runs], dtype=np.float64),
        work_unit=[run.work_unit for run in runs],
        peak_w=np.full(len(runs), np.nan),
    )
