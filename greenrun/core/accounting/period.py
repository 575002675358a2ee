"""What the books hold of a period, as reports are made of it: parts of energy, jobs and runs, as columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from greenrun.core.accounting.grouping import Codes, Truths
from greenrun.core.accounting.parts import Integers, Parts
from greenrun.core.accounting.usage import Owner
from greenrun.core.accounting.watched import BookedTime, Pending
from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.job import Outcome, State

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = np.iinfo(np.int64).min  # where a column of instants has None
MICROSECOND = timedelta(microseconds=1)
STATES, OUTCOMES = tuple(State), tuple(Outcome)
NO_OUTCOME = -1


def microseconds(instant: datetime | None) -> int:
    """Return an instant as columns have it: in microseconds since 1970, NEVER for None."""
    return int(NEVER) if instant is None else (instant - EPOCH) // MICROSECOND


@dataclass(frozen=True, kw_only=True, eq=False)
class JobTable:
    """Jobs by id, as columns: the positions of their projects, owners and states in `projects`, `owners` and STATES."""

    id: Integers
    projects: Sequence[str]
    project: Codes
    owners: Sequence[Owner]
    owner: Codes
    state: Integers

    @cached_property
    def is_succeeded(self) -> Truths:
        """Which have succeeded."""
        return np.asarray(self.state == STATES.index(State.SUCCEEDED))

    @cached_property
    def is_failed(self) -> Truths:
        """Which have failed."""
        return np.asarray(self.state == STATES.index(State.FAILED))


@dataclass(frozen=True, kw_only=True, eq=False)
class RunTable:
    """Runs by id, as columns: the positions of their jobs in the table of these, when they ran, and how they ended.

    `holding` is where `holdings` has the devices that a run held.
    Instants are as `microseconds` has them. `ran_s` is by a clock that nobody can set, `peak_w` the highest mean power
    of a slice, of one GPU, `work` what runs said to have done: NaN where that is not known. `why` is where `whys` say
    why a run that started is not compared with an earlier start; None of one that is.
    """

    id: Integers
    job: Integers
    started: Integers
    ended: Integers
    outcome: Integers
    ran_s: Floats
    exit_code: Sequence[int | None]
    holdings: Sequence[tuple[str, ...]]
    holding: Integers
    why: Integers
    whys: Sequence[str | None]
    work: Floats
    work_unit: Sequence[str | None]
    peak_w: Floats

    def __len__(self) -> int:
        return len(self.id)

    def had(self, *outcomes: Outcome) -> Truths:
        """Return which ended so."""
        return np.isin(self.outcome, [OUTCOMES.index(outcome) for outcome in outcomes])

    @cached_property
    def has_started(self) -> Truths:
        """Which have started."""
        return np.asarray(self.started != NEVER)

    @cached_property
    def has_ended(self) -> Truths:
        """Which have ended."""
        return np.asarray(self.ended != NEVER)

    def positions(self, run_ids: Integers) -> Integers:
        """Return where the runs with these ids are; all are there."""
        return np.searchsorted(self.id, run_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Everything of `[start, end)`; a slice belongs to the period in which it begins, so that periods add up.

    `jobs` are those that held something in the period, and `runs` all of theirs. `booked` has every device in the books
    of the period, a slice that reaches over its edge counting with the part inside.
    """

    start: datetime
    end: datetime
    parts: Parts
    jobs: JobTable
    runs: RunTable
    booked: Sequence[BookedTime] = ()
    pending: Pending = field(default_factory=Pending)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobDetails:
    """What rows of a report tell of jobs beside their figures, as columns; instants as `microseconds` has them."""

    name: Sequence[str]
    labels: Sequence[Mapping[str, str]]
    git_commit: Sequence[str | None]
    gpus: Sequence[int]
    submitted: Integers
    earliest_start: Integers
    finish_by: Integers
    finished: Integers
