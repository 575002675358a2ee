"""What accounts are charged for what has run in the present periods, kept up to date from the ledger and the runs."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

import numpy as np

from greenrun.core.accounting.step_function import Steps
from greenrun.core.budgets.budget import Budgets, Measure, Owner, OwnerKind
from greenrun.core.budgets.calendar_period import CalendarPeriod, PeriodKind, period_of
from greenrun.core.budgets.charges import ASSUMED_GPU_W, Amount, ChargedAccount, ChargedHour, Estimates, charged
from greenrun.core.budgets.expected_use import UseRates
from greenrun.core.energy.gpu_parts import weight_of
from greenrun.core.jobs.history import GpuTime
from greenrun.core.jobs.job import Job, Run
from greenrun.core.planning.model import Options
from greenrun.engine.ports import BookStore, WorkStore

AGAIN_AFTER = timedelta(minutes=1)  # while something runs
HOUR = timedelta(hours=1)
_APART = 4  # hours without change between two that are read in one go

Price = Callable[[datetime, datetime], Steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRules:
    """The budgets of a site, and what a kWh costs over a time (None: nobody knows)."""

    budgets: Budgets = field(default_factory=Budgets)
    price: Price | None = None


class BudgetStore(Protocol):
    """Where charges come from."""

    @property
    def books(self) -> BookStore: ...

    @property
    def runs(self) -> WorkStore: ...


class PresentCharges:
    """What accounts are charged for what has run, by kind of period."""

    def __init__(self, store: BudgetStore, settings: BudgetRules, options: Options) -> None:
        self._books, self._runs = store.books, store.runs
        self._budgets, self._price = settings.budgets, settings.price
        self._gpu_w = options.gpu_power_w or ASSUMED_GPU_W
        self._hours: dict[datetime, list[ChargedHour]] = {}
        self._changed: set[datetime] = set()
        self._since: datetime | None = None
        self._read_at: datetime | None = None
        self._ended_s: dict[PeriodKind, dict[ChargedAccount, float]] = {}  # GPU-seconds of runs that have ended
        self._ran: set[ChargedAccount] = set()
        self._last_run = 0
        self._alive: frozenset[int] = frozenset()
        self._periods: dict[PeriodKind, CalendarPeriod] = {}
        self._sums: dict[PeriodKind, dict[ChargedAccount, dict[Measure, Amount]]] = {}
        self.accounts: set[ChargedAccount] = set()

    @property
    def ends_at(self) -> datetime | None:
        """When the first of the present periods ends."""
        return min((period.end for period in self._periods.values()), default=None)

    @property
    def has_news(self) -> bool:
        """Whether hours have changed that were not read again yet."""
        return bool(self._changed)

    def note(self, hours: Collection[datetime]) -> None:
        """Note that these hours have changed."""
        self._changed.update(hours)

    def is_over(self, now: datetime) -> bool:
        """Whether another period has begun than those known, or the clock was set back before one."""
        return any(not period.start <= now < period.end for period in self._periods.values())

    def period(self, kind: PeriodKind, now: datetime) -> CalendarPeriod:
        """Return the present period of a kind."""
        known = self._periods.get(kind)
        return known or period_of(kind, now, self._budgets.zone)

    def refresh(self, live: Sequence[tuple[Run, Job]], now: datetime, rates: UseRates) -> None:
        """Read what has changed: all of it at first and in a new period, and else at most once a minute."""
        is_new = not self._periods or self.is_over(now)
        if is_new:
            self._periods = {kind: period_of(kind, now, self._budgets.zone) for kind in self._budgets.periods}
            self._since = min(period.start for period in self._periods.values())
            self._hours, self._changed = self._read(self._since, max(p.end for p in self._periods.values())), set()
            self._ended_s = {kind: {} for kind in self._periods}
            self._ran, self._last_run, self._alive = set(), 0, frozenset()
        self._read_runs(live)
        is_due = self._read_at is None or not self._read_at <= now < self._read_at + AGAIN_AFTER
        if not is_new and (not self._changed or not is_due):
            return
        for at in self._changed:
            self._hours.pop(at, None)
        for start, end in _ranges(self._changed):
            self._hours |= self._read(max(start, self._since or start), end)
        self._changed, self._read_at = set(), now
        self._sum(rates, now)

    def of(
        self, owner: Owner, kind: PeriodKind, live: Sequence[tuple[Run, Job]], now: datetime
    ) -> dict[ChargedAccount, dict[Measure, Amount]]:
        """Return what each account of an owner is charged in the present period."""
        period = self.period(kind, now)
        found = {key: dict(row) for key, row in self._sums.get(kind, {}).items() if _is_of(key, owner)}
        gpu_s: defaultdict[ChargedAccount, float] = defaultdict(float)
        gpu_s |= {key: seconds for key, seconds in self._ended_s.get(kind, {}).items() if _is_of(key, owner)}
        for run, job in live:
            account = ChargedAccount(job.user, job.spec.project)
            if _is_of(account, owner):
                gpu_s[account] += weight_of(run.devices) * _seconds_in(period, run.started_at or run.claimed_at, now)
        for account, seconds in gpu_s.items():
            if seconds:
                found.setdefault(account, {})[Measure.GPU_HOURS] = Amount(seconds / 3600)
        return found

    def _read(self, start: datetime, end: datetime) -> dict[datetime, list[ChargedHour]]:
        found: defaultdict[datetime, list[ChargedHour]] = defaultdict(list)
        cuts = sorted({start, end, *(row.start for row in self._periods.values() if start < row.start < end)})
        for begin, until in pairwise(cuts):
            for row in self._books.charged_hours(begin, until):
                found[row.hour].append(row)
        return dict(found)

    def _read_runs(self, live: Sequence[tuple[Run, Job]]) -> None:
        """Take in the runs that have ended since the last look."""
        if self._since is None:
            return
        alive = frozenset(run.id for run, _ in live)  # the same as before tells nothing: one may have come and gone
        new = self._runs.gpu_time(after=self._last_run, among=self._alive - alive, since=self._since)
        for row in new:
            self._add_ended(row)
        self._last_run = max((self._last_run, *alive, *(row.run_id for row in new)))
        self._alive = alive
        self.accounts |= self._ran

    def _add_ended(self, row: GpuTime) -> None:
        """Add a run that has ended to the sums: there may be thousands in a period, so none is looked at twice."""
        account = ChargedAccount(row.user, row.project)
        self._ran.add(account)
        for kind, period in self._periods.items():
            sums = self._ended_s[kind]
            sums[account] = sums.get(account, 0.0) + row.gpus * _seconds_in(period, row.start, row.end)

    def _sum(self, rates: UseRates, now: datetime) -> None:
        rows = [row for each in self._hours.values() for row in each]
        accounts = {row.account for row in rows}
        estimates = Estimates(
            gpu_w=self._gpu_w, g_per_kwh=rates.mean_g(now, now + HOUR), prices=self._prices(self._hours)
        )
        for kind, period in self._periods.items():
            mine = [row for row in rows if period.start <= row.start < period.end]
            self._sums[kind] = charged(mine, estimates, accounts)
        self.accounts = accounts | self._ran

    def _prices(self, hours: Iterable[datetime]) -> dict[datetime, float | None]:
        """Return the mean price of each hour, as reports have it."""
        known = sorted(hours)
        if self._price is None or not known:
            return {}
        starts_s = np.array([hour.timestamp() for hour in known])
        means = self._price(known[0], known[-1] + HOUR).means(starts_s, starts_s + HOUR.total_seconds())
        return {hour: mean if np.isfinite(mean) else None for hour, mean in zip(known, means.tolist(), strict=True)}


def _seconds_in(period: CalendarPeriod, start: datetime, end: datetime) -> float:
    """Return how much of a time falls into a period."""
    return max(0.0, (min(end, period.end) - max(start, period.start)).total_seconds())


def _is_of(account: ChargedAccount, owner: Owner) -> bool:
    return owner.name == (account.user if owner.kind is OwnerKind.USER else account.project)


def _ranges(hours: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Return intervals of whole hours that have all of these, joining what lies close together."""
    found: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        if found and hour <= found[-1][1] + _APART * HOUR:
            found[-1] = (found[-1][0], hour + HOUR)
        else:
            found.append((hour, hour + HOUR))
    return found
