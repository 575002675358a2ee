"""The data of a period's report, and every figure of rows that are made of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from greenrun.core.accounting.condensed import condensed, condensed_of
from greenrun.core.accounting.grouping import Codes, Grouping, Truths, combined_codes
from greenrun.core.accounting.parts import Integers, Parts
from greenrun.core.accounting.period import JobDetails, Period
from greenrun.core.carbon.intensity import Floats
from greenrun.reports.completeness import completeness
from greenrun.reports.cost_and_scope2 import Rates
from greenrun.reports.energy import gpu_seconds, idle
from greenrun.reports.figures import Share, figures
from greenrun.reports.identity import Hardware, Place
from greenrun.reports.model import ForecastComparison
from greenrun.reports.period_models import Completeness
from greenrun.reports.rows.groups import Figures, GroupedParts
from greenrun.reports.rows.members import Members, RunBooks, held_by_parts
from greenrun.reports.rows.reader import EVERYTHING, Reader
from greenrun.reports.uncertainty import Widths


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots: what is looked up often is kept
class Books:
    """The data of a period's report, and how far forecasts were off."""

    period: Period
    hardware: Hardware
    now: datetime
    forecasts: ForecastComparison
    details: Callable[[Sequence[int]], JobDetails]
    place: Place = field(default_factory=Place)
    zone: str | None = None
    widths: Widths = field(default_factory=Widths)
    rates: Rates = field(default_factory=Rates)
    reader: Reader = EVERYTHING

    def some_parts(self, which: Integers) -> Parts:
        """Return the parts at these positions with what they cost, and what contracts make of them."""
        return self.rates.rated(self.period.parts.taken(which))

    @cached_property
    def condensed(self) -> Parts:
        """All parts so, without their hours, and one for all runs of a project, a user and an outcome that are alike.

        `run_id` is that of one of these runs, of which holds what holds of all.
        """
        return condensed(self.rates.rated(self.period.parts), self.by_run(self._alike))

    def condensed_by(self, code: Codes) -> tuple[Parts, Codes]:
        """Return the same of what runs held, apart also by a code of each part, and the code of each."""
        runs = self.by_run(self._alike)
        both = np.where(runs < 0, -1, code * (int(runs.max(initial=0)) + 1) + runs)
        made, first = condensed_of(self.rates.rated(self.period.parts), both)
        held = np.flatnonzero(made.is_held)
        return made.taken(held), code[first[held]]

    @cached_property
    def _alike(self) -> Codes:
        """Of each run which of those it is like that have its project, user and outcome, and have ended as it has."""
        jobs, job = self.period.jobs, self.runs.table.job
        goes_on = np.where(self.runs.table.has_ended, 0, np.arange(len(job)) + 1)
        return combined_codes([jobs.project[job], jobs.owner[job], self.runs.endings, self.runs.is_succeeded, goes_on])

    @cached_property
    def runs(self) -> RunBooks:
        """The runs."""
        return RunBooks(self.period, self.now)

    @cached_property
    def completeness(self) -> Completeness:
        """For how much of the period the books know its devices."""
        return completeness(self.period, self.now)

    def figures(
        self,
        used: GroupedParts,
        runs: Members,
        everyone: Members,
        *,
        has_whole_runs: bool = True,
        is_all: bool = False,
        lacks_runs: Truths | bool = False,
        expected_s: float | None = None,
        also_s: float = 0.0,
    ) -> Figures:
        """Return every figure of rows that are made of these parts and runs; `everyone` has parts or is of them.

        Where runs need not be wholly in a row (not `has_whole_runs`), GPUs were held for as long as is booked, and no
        work is known. `is_all`: of everything. `lacks_runs`: rows that have other runs of which nothing could be
        metered. `expected_s` are the device-seconds of a row that is about the whole period, `also_s` GPU-seconds that
        nobody held, of a row that has them too.
        """
        books = self.runs
        held_s = also_s + self._held_s(runs, used) if has_whole_runs else None
        share = Share(
            used=used,
            held_s=held_s,
            holds=books.holds(runs),
            succeeded=self._has_succeeded(used.parts),
            expected_s=expected_s or 0.0,
            is_watched=expected_s is None or self.completeness.is_whole,
            widths=self.widths,
            sparse=self._sparse,
            emulated=self._emulated,
            is_whole=is_all,
            lacks_runs=lacks_runs | runs.by.any(books.is_unmetered[runs.run]),
        )
        inventory = figures(share, self.forecasts.mean_absolute_error_pct) | books.compared(everyone)
        others = self.rates.figures(used, inventory, books.held(runs, used) if has_whole_runs else held_by_parts(used))
        return inventory | idle(used, self.hardware.idle_w) | books.work(runs) | others

    def _held_s(self, whole: Members, used: GroupedParts) -> Floats:
        """Return the GPU-seconds that these runs held; of those that go on, what is booked by now."""
        table, books = self.runs.table, self.runs
        ended = whole.by.sums((books.held_s * books.boards)[whole.run], table.has_ended[whole.run])
        goes_on = used.parts.is_held.copy()
        goes_on[goes_on] = ~table.has_ended[table.positions(used.parts.run_id[goes_on])]
        if not goes_on.any():
            return ended
        code = np.where(goes_on, used.by.code, -1)
        return ended + gpu_seconds(GroupedParts(used.parts, Grouping(code, used.by.count)))

    def _has_succeeded(self, parts: Parts) -> Truths:
        found = parts.is_held.copy()
        found[found] = self.runs.is_succeeded[self.runs.table.positions(parts.run_id[found])]
        return found

    @cached_property
    def _emulated(self) -> frozenset[str]:
        return frozenset(device.id for device in self.hardware.devices.values() if device.emulated)

    @cached_property
    def _sparse(self) -> frozenset[str]:
        return self.hardware.sparse

    def by_run(self, code_of_run: Codes, parts: Parts | None = None) -> Codes:
        """Return the code of each part's run (of all parts, where none are named); -1 where no run held the device."""
        mine = self.period.parts if parts is None else parts
        found = np.full(len(mine), -1)
        found[mine.is_held] = code_of_run[self.runs.table.positions(mine.run_id[mine.is_held])]
        return found
