"""The runs of rows: how many, how long they held what, which are compared with an earlier start, the work they did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from greenrun.core.accounting.grouping import Codes, Grouping, Truths, grouped
from greenrun.core.accounting.parts import Integers
from greenrun.core.accounting.period import NO_OUTCOME, OUTCOMES, Period, microseconds
from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.gpu_parts import board_of, share_of, weight_of
from greenrun.core.energy.model import Component
from greenrun.core.jobs.job import Outcome
from greenrun.reports.emissions import NOT_SUCCEEDED
from greenrun.reports.rows.groups import Figures, GroupedParts, joined_names, ratios, significants

WASTED = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED, Outcome.FAILED_TO_START)
MICROS = 1e6
RUNNING, UNFINISHED = "running", "unfinished"
ENDINGS = (*(outcome.value for outcome in OUTCOMES), RUNNING, UNFINISHED)


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Runs, by their positions in the table of them, and the groups that they are in."""

    run: Integers
    by: Grouping

    @classmethod
    def of(cls, code_of_run: Codes, which: Truths, count: int) -> "Members":
        """Return the runs of which this is true, each in the group that its code says."""
        run = np.flatnonzero(which & (code_of_run >= 0))
        return cls(run, Grouping(code_of_run[run], count))

    @classmethod
    def nobody(cls, count: int) -> "Members":
        """Return so many groups without any run."""
        return cls(np.zeros(0, dtype=np.int64), Grouping(np.zeros(0, dtype=np.int64), count))

    def joined(self, code: Codes, run: Integers) -> "Members":
        """Return these and others, each once in a group."""
        runs = int(max(self.run.max(initial=-1), run.max(initial=-1))) + 1
        both = np.unique(np.concatenate([self.by.code * runs + self.run, code * runs + run]))
        return Members(both % runs if runs else both, Grouping(both // runs if runs else both, self.by.count))


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """For how long the runs of each group (rows) held each device (columns); `is_listed`: whether they did at all."""

    devices: Sequence[str]
    seconds: Floats
    is_listed: Truths


def held_by_parts(used: GroupedParts) -> Held:
    """Return for how long runs held GPUs as far as that is booked, be their energy known or not."""
    parts = used.parts
    mine = parts.is_held & parts.of_component(Component.GPU) & (used.by.code >= 0)
    seconds, is_listed = np.zeros((2, used.by.count, len(parts.devices)))
    np.add.at(seconds, (used.by.code[mine], parts.device[mine]), parts.seconds[mine])
    is_listed[used.by.code[mine], parts.device[mine]] = 1
    return Held(parts.devices, seconds, is_listed > 0)


class RunBooks:
    """What the books tell of each run of a period."""

    def __init__(self, period: Period, now: datetime) -> None:
        self.table = period.runs
        self._period = period
        self._jobs = period.jobs
        self._now = now
        first, last = microseconds(period.start), microseconds(period.end)
        until = np.where(self.table.has_ended, self.table.ended, microseconds(now))
        inside = np.minimum(until, last) - np.maximum(self.table.started, first)
        is_inside = self.table.has_started & (inside > 0)
        self.overlaps: Truths = is_inside
        self.held_s: Floats = np.where(is_inside, inside, 0) / MICROS
        self.of_part: Integers = self.table.positions(period.parts.run_id)  # where a run holds the part's device
        self.gpus: Integers = np.array(list(map(len, self.table.holdings)), dtype=np.int64)[self.table.holding]
        self.boards: Floats = np.array(list(map(weight_of, self.table.holdings)), dtype=np.float64)[self.table.holding]

    @cached_property
    def is_booked(self) -> Truths:
        """Which have parts in the books."""
        found = np.zeros(len(self.table), dtype=np.bool_)
        found[self.of_part[self._period.parts.is_held]] = True
        return found

    @cached_property
    def is_unmetered(self) -> Truths:
        """Which have ended and nothing that they used could be metered: they held no GPU, and no CPU was read."""
        if self._period.parts.of_component(Component.CPU).any():
            return np.zeros(len(self.table), dtype=np.bool_)
        return np.asarray(self.table.has_ended & (self.gpus == 0) & ~self.is_booked)

    @cached_property
    def is_succeeded(self) -> Truths:
        """Whose work was of use: those that succeeded, and what a job that succeeded had saved before."""
        saved = self.table.had(Outcome.CHECKPOINTED)
        of_use = self._jobs.is_succeeded[self.table.job]
        return np.asarray(np.where(saved, of_use, self.table.had(Outcome.SUCCEEDED)))

    @cached_property
    def _reasons(self) -> tuple[list[str | None], Codes]:
        """Why runs are not in the avoided emissions; None of those that are."""
        whys = self.table.whys
        reasons, code = grouped([*whys, *(why or NOT_SUCCEEDED for why in whys)])
        return reasons, code[self.table.why + np.where(self.is_succeeded, 0, len(whys))]

    def counts(self, members: Members, run_seconds: Floats | None = None) -> Figures:
        """Count the runs of each group and their jobs; `run_seconds` is how long they ran, where a row lacks some."""
        jobs = len(self._jobs.id)
        pairs = np.unique(members.by.code * jobs + self.table.job[members.run]) if jobs else members.by.code
        of_jobs = Grouping(pairs // jobs if jobs else pairs, members.by.count)
        failed = self._jobs.is_failed[pairs % jobs] if jobs else np.zeros(0, dtype=np.bool_)
        every = np.ones(len(members.run), dtype=np.bool_)
        held_s = members.by.sums(self.held_s[members.run])
        return {
            "jobs": of_jobs.counts(np.ones(len(pairs), dtype=np.bool_)),
            "failed_jobs": of_jobs.counts(failed),
            "runs": members.by.counts(every),
            "wasted_runs": members.by.counts(self.table.had(*WASTED)[members.run]),
            "run_seconds": held_s if run_seconds is None else run_seconds,
        }

    def compared(self, members: Members) -> Figures:
        """Tell how many runs of each group are compared with an earlier start, and why others are not."""
        reasons, code = self._reasons
        mine = code[members.run]
        is_told = np.array([why is not None for why in reasons], dtype=np.bool_)
        others = members.by.sets(mine, len(reasons), is_told[mine])
        return {
            "avoided_runs": members.by.counts(~is_told[mine]),
            "avoided_missing": joined_names(others, [why or "" for why in reasons]),
        }

    def holds(self, members: Members) -> Codes:
        """Return how often the runs of each group held a GPU."""
        return np.bincount(members.by.code, weights=self.gpus[members.run], minlength=members.by.count).astype(np.int64)

    def held(self, members: Members, used: GroupedParts) -> Held:
        """Return for how long the runs of each group held each GPU; of those that go on, what is booked by now."""
        parts, (devices, device, run, share) = used.parts, self._holdings
        known = list(dict.fromkeys([*devices, *parts.devices]))
        seconds, is_listed = np.zeros((2, members.by.count, len(known)))
        code_of_run = np.full(len(self.table), -1)
        code_of_run[members.run] = members.by.code
        code_of_run[~self.table.has_ended] = -1
        mine = code_of_run[run] >= 0
        np.add.at(seconds, (code_of_run[run[mine]], device[mine]), self.held_s[run[mine]] * share[mine])
        is_listed[code_of_run[run[mine]], device[mine]] = 1
        goes_on = parts.is_held & parts.of_component(Component.GPU) & (used.by.code >= 0)
        if goes_on.any():
            goes_on[goes_on] = ~self.table.has_ended[self.table.positions(parts.run_id[goes_on])]
            place = parts.by_device(known.index, np.int64)[parts.device[goes_on]]
            np.add.at(seconds, (used.by.code[goes_on], place), parts.seconds[goes_on])
            is_listed[used.by.code[goes_on], place] = 1
        return Held(known, seconds, is_listed > 0)

    @cached_property
    def _holdings(self) -> tuple[list[str], Codes, Integers, Floats]:
        """The boards that runs held, and of each that a run held: which it was, the run's position, its share."""
        held = [name for each in self.table.holdings for name in each]
        devices, code = grouped(map(board_of, held))
        shares = np.array([share_of(name) for name in held], dtype=np.float64)
        counts = np.array(list(map(len, self.table.holdings)), dtype=np.int64)
        begins = np.cumsum(counts) - counts
        run = np.repeat(np.arange(len(self.table)), self.gpus)
        nth = np.arange(len(run)) - np.repeat(np.cumsum(self.gpus) - self.gpus, self.gpus)
        which = begins[self.table.holding[run]] + nth
        return devices, code[which], run, shares[which]

    def work(self, members: Members) -> Figures:
        """Return the work of the runs of each group, its unit, and the IT energy in joules that each unit of it took.

        Runs that lie wholly within the period count, because work is reported of whole runs only; so do those that go
        on where the period does. All is NaN where no such run reported any, or they count different things; the energy
        of a unit also where a part of theirs is unknown.
        """
        count = members.by.count
        is_told = (~np.isnan(self.table.work) & self._is_within)[members.run]
        if not is_told.any():
            return {
                "work": np.full(count, np.nan),
                "work_unit": [None] * count,
                "energy_per_work_j": np.full(count, np.nan),
            }
        units, unit = grouped(self.table.work_unit)
        of_units = members.by.sets(unit[members.run], len(units), is_told)
        is_one = of_units.sum(axis=1) == 1
        done = members.by.sums(self.table.work[members.run], is_told)
        energy_j, lacks = self._energies
        used_j = members.by.sums(energy_j[members.run], is_told)
        has_all = is_one & ~members.by.any(is_told & lacks[members.run]) & (done > 0)
        has_all &= members.by.any(is_told & ~np.isnan(energy_j[members.run]))
        return {
            "work": np.where(is_one, done, np.nan),
            "work_unit": [
                units[int(row.argmax())] if one else None for row, one in zip(of_units, is_one.tolist(), strict=True)
            ],
            "energy_per_work_j": np.where(has_all, significants(ratios(used_j, done)), np.nan),
        }

    @cached_property
    def _energies(self) -> tuple[Floats, Truths]:
        """The known energy of each run in the period, and whether some of it is not known."""
        parts = self._period.parts
        by_run = Grouping(np.where(parts.is_held, self.of_part, -1), len(self.table))
        return by_run.known_sums(parts.energy_j), by_run.any(~parts.is_known)

    @cached_property
    def _is_within(self) -> Truths:
        period, last = self._period, microseconds(self._period.end)
        goes_on = np.full(len(self.table), self._now <= period.end)
        ended = np.where(self.table.has_ended, self.table.ended <= last, goes_on)
        return self.table.has_started & (self.table.started >= microseconds(period.start)) & ended

    @cached_property
    def endings(self) -> Codes:
        """How each run ended, as a position in ENDINGS; saved for a job that has not succeeded is UNFINISHED."""
        is_saved = self.table.had(Outcome.CHECKPOINTED) & ~self.is_succeeded
        ended = np.where(is_saved, ENDINGS.index(UNFINISHED), self.table.outcome)
        return np.where(self.table.outcome == NO_OUTCOME, ENDINGS.index(RUNNING), ended)
