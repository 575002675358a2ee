"""What nobody did and yet happened, found beside the ticks: limits at risk, sources lost, conditions begun or over.

It becomes an event like all others, in the audit trail, and hooks are told of it from there.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.conditions import Condition, ConditionCode
from greenrun.core.errors import StoreError
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import LIMIT_SLACK, Job, Run
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.core.planning.decisions import expected_end
from greenrun.core.planning.model import Plan
from greenrun.engine.polling import RequestCounts
from greenrun.notifications.budget_watch import BudgetWatch, told_budgets
from greenrun.store import Store

AT_RISK_FOR = timedelta(seconds=30)  # a plan that changes meanwhile has told nobody
OVER_FOR = timedelta(seconds=60)  # a condition that comes and goes is told once
FAILURES = 3  # in a row, after which a source is lost; each has been tried several times

log = structlog.get_logger("greenrun.notifications")


class ConditionWatch:
    """Which conditions began, and which are over for good."""

    def __init__(self) -> None:
        self._known: dict[ConditionCode, Condition] = {}
        self._gone: dict[ConditionCode, datetime] = {}

    def look(self, found: Iterable[Condition], now: datetime) -> Iterator[NewEvent]:
        """Yield an event for each that began, or was over for long enough, since the last look."""
        there = {row.code: row for row in found}
        for code, row in there.items():
            self._gone.pop(code, None)
            if code not in self._known or self._known[code].effect is not row.effect:
                self._known[code] = row
                yield NewEvent(kind=EventKind.CONDITION_BEGAN, at=now, detail=_told(row))
        for code in [code for code in self._known if code not in there]:
            if now - self._gone.setdefault(code, now) >= OVER_FOR:
                del self._gone[code]
                yield NewEvent(kind=EventKind.CONDITION_OVER, at=now, detail=_told(self._known.pop(code)))


class SourceWatch:
    """Which sources have failed several times in a row, and which of them answer again."""

    def __init__(self, counts: RequestCounts) -> None:
        self._counts = counts
        self._answers: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._lost: set[str] = set()

    def look(self, now: datetime) -> Iterator[NewEvent]:
        """Yield an event for each that was lost, or is back, since the last look."""
        failures, causes = Counter[str](), dict[str, str]()
        for (name, cause), count in list(self._counts.failures.items()):
            failures[name] += count
            causes[name] = cause
        for name, asked in list(self._counts.requests.items()):
            answers = asked - failures[name]
            if answers != self._answers.get(name):
                self._answers[name], self._failures[name] = answers, failures[name]
                if name in self._lost:
                    self._lost.discard(name)
                    yield NewEvent(kind=EventKind.SOURCE_BACK, at=now, detail={"provider": name, "cause": None})
            elif failures[name] - self._failures[name] >= FAILURES and name not in self._lost:
                self._lost.add(name)
                yield NewEvent(kind=EventKind.SOURCE_LOST, at=now, detail={"provider": name, "cause": causes.get(name)})


class RiskWatch:
    """Which jobs will miss a limit of their users', as plans of the last half minute have it; each limit once.

    A limit that is less than that ahead is told of at once.
    """

    def __init__(self, told: Mapping[int, str]) -> None:
        """`told` are the limits of which was told before, by job."""
        self._told = dict(told)
        self._since: dict[int, datetime] = {}

    def look(
        self, jobs: Mapping[int, Job], live: Sequence[Run], plan: Plan, now: datetime
    ) -> Iterator[tuple[Job, NewEvent]]:
        """Yield each job whose limit is at risk for long enough, with the event of it."""
        ends = {row.job_id: (row.start, row.end) for row in plan.placements}
        for run in live:
            if run.job_id in jobs:
                started = run.started_at or run.claimed_at
                ends[run.job_id] = (started, _likely_end(run, jobs[run.job_id], now))
        at_risk = {
            job_id: end
            for job_id, (start, end) in ends.items()
            if (job := jobs.get(job_id)) and not job.deadline_missed and job.misses_limit(start, end)
        }
        self._since = {job_id: self._since.get(job_id, now) for job_id in at_risk}
        self._told = {job_id: limit for job_id, limit in self._told.items() if job_id in jobs}
        for job_id, end in at_risk.items():
            limit = jobs[job_id].own_limit
            text = iso_text(limit) if limit else ""
            is_soon = limit is not None and limit - now < AT_RISK_FOR
            if (is_soon or now - self._since[job_id] >= AT_RISK_FOR) and self._told.get(job_id) != text:
                self._told[job_id] = text
                detail = {"limit": text or None, "expected_end": iso_text(end)}
                yield jobs[job_id], NewEvent(kind=EventKind.LIMIT_AT_RISK, at=now, detail=detail)


def _likely_end(run: Run, job: Job, now: datetime) -> datetime:
    """Return when a run is expected to end; near its limit, one that has outlasted its estimate is as if it missed it.

    When that ends nobody knows, and each estimate is only a tenth beyond the last one.
    """
    end, limit = expected_end(run, job, now), job.limit_passes_at
    is_overdue = now - (run.started_at or run.claimed_at) >= job.remaining
    while is_overdue and limit is not None and limit - now < AT_RISK_FOR and end <= limit + LIMIT_SLACK:
        end = expected_end(run, job, end)
    return end


def told_risks(store: Store, jobs: Collection[int]) -> dict[int, str]:
    """Return of which limits of these jobs was told before; raise StoreError."""
    if not jobs:
        return {}
    events = store.jobs.events(job_ids=jobs, kinds=[EventKind.LIMIT_AT_RISK], limit=100_000)
    return {event.job_id: str(event.detail.get("limit") or "") for event in events if event.job_id is not None}


class Watch:
    """All of it, one look at a time; `unstored` is told of what happens while nothing can be stored."""

    def __init__(
        self,
        store: Store,
        counts: RequestCounts,
        plan: Callable[[], Plan],
        conditions: Callable[[], Sequence[Condition]],
        unstored: Callable[[NewEvent], None],
        budgets: Callable[[], Sequence[Standing]] = tuple,
    ) -> None:
        """Begin where the last daemon ended; raise StoreError."""
        self._standings, self._budgets = budgets, BudgetWatch(told_budgets(store))
        self._store, self._plan, self._found, self._unstored = store, plan, conditions, unstored
        self._conditions, self._sources = ConditionWatch(), SourceWatch(counts)
        self._risks = RiskWatch(told_risks(store, list(store.jobs.unfinished())))

    def look(self, now: datetime) -> None:
        """Keep as events what has happened since the last look; raise StoreError where the jobs cannot be read."""
        found = [*self._conditions.look(self._found(), now), *self._sources.look(now)]
        for event in [*found, *self._budgets.look(self._standings(), now)]:
            try:
                self._store.jobs.note_event(event)
            except StoreError as exc:
                log.warning("the event cannot be kept", kind=event.kind.value, error=str(exc))
                self._unstored(event)
        jobs = self._store.jobs.unfinished()
        if any(job.own_limit is not None for job in jobs.values()):
            for job, event in self._risks.look(jobs, self._store.runs.live_runs(), self._plan(), now):
                self._store.jobs.note_of_job(job, event)


def _told(row: Condition) -> dict[str, object]:
    return {
        "code": row.code.value, "effect": row.effect.value, "text": row.text, "remedy": row.remedy,
        "since": iso_text(row.since),
    }  # fmt: skip
