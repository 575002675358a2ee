"""Keep the budgets: what is charged to them, what jobs are expected to take, and which of those wait for that.

Nothing of it is stored but the ledger and the runs, from which all of it follows. It is worked out anew when jobs, the
plan, the outlook or the charges change, and each minute while something runs; without budgets it costs nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from greenrun.core.budgets.budget import Budgets, Measure, Owner
from greenrun.core.budgets.budget_admission import Ask, Standing, judge, judge_all, problems_of
from greenrun.core.budgets.charges import (
    ChargedAccount,
    total,
)
from greenrun.core.budgets.expected_use import Need, UseRates
from greenrun.core.carbon.intensity import Series
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.jobs.dependencies import blocked, crowded_out
from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.planning.model import Options, Placement, Plan
from greenrun.engine.budgets.present_charges import AGAIN_AFTER, BudgetRules, BudgetStore, PresentCharges

PRICES_AHEAD = timedelta(days=8)
PER_JOB = timedelta(milliseconds=1)  # of the queue: how long a decision holds while nothing but submissions come
_ROUNDED = timedelta(seconds=1)
_USED_BY = ("gpus", "duration", "power_w", "power_cap", "restart_cost", "start_after", "finish_by", "max_delay")
OF_BUDGETS = (ReasonCode.BUDGET_SPENT, ReasonCode.BUDGET_APPROVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What there is besides charges: the jobs, what runs, the plan in force and what is expected of the grid."""

    jobs: Mapping[int, Job]
    queued: Sequence[Job]
    states: Mapping[int, State]
    live: Sequence[tuple[Run, Job]]
    plan: Plan
    outlook: Series | None
    expected_end: Callable[[Run, Job], datetime]


class BudgetKeeper:
    """Tells which jobs wait for budgets. `withheld`, `thrifty` and `renewed` are as a `Situation` has them.

    `standings` tell how each budget stands that anybody uses or that is set by name; they are replaced, never changed.
    """

    def __init__(self, store: BudgetStore, settings: BudgetRules, options: Options) -> None:
        self._budgets, self._price, self._options = settings.budgets, settings.price, options
        self._charges = PresentCharges(store, settings, options)
        self.withheld: Mapping[int, Reason] = {}
        self.thrifty: frozenset[int] = frozenset()
        self.renewed: Mapping[int, datetime] = {}
        self.standings: Mapping[Owner, Standing] = {}
        self._seen: tuple[object, ...] = ()
        self._again_at: datetime | None = None
        self._decided_at: datetime | None = None
        self._live: frozenset[int] = frozenset()
        self._known: dict[int, Job] = {}  # the queued jobs that were looked at, as they were then
        self._rates = UseRates(pue=options.pue, gpu_power_w=options.gpu_power_w)
        self._rates_of: tuple[object, ...] = ()
        self._rates_version = 0
        self._thrifty_since: dict[tuple[Owner, str], datetime] = {}
        self._needs: dict[int, tuple[tuple[object, ...], Need]] = {}
        self._placed: dict[int, tuple[Placement, JobSpec]] = {}  # what a job was when its place was first seen
        self._owners_of: dict[tuple[str, str], tuple[Owner, ...]] = {}

    @property
    def rules(self) -> Budgets:
        """The budgets as they are set."""
        return self._budgets

    @property
    def next_change(self) -> datetime | None:
        """When the first period ends that any budget has."""
        return self._charges.ends_at if self._budgets else None

    def is_outdated(self, now: datetime) -> bool:
        """Whether a look is due before anything can be said: there was none, or another period has begun."""
        return bool(self._budgets) and (not self._seen or self._charges.is_over(now))

    def look(self, present: Present, changed_hours: Collection[datetime], now: datetime) -> None:
        """Bring everything up to `now`; `changed_hours` are those in which slices were booked or settled since."""
        if not self._budgets:
            return
        self._charges.note(changed_hours)
        plan_of = present.plan.made_at
        seen = (present.jobs, plan_of, present.outlook)
        is_same = len(self._seen) == len(seen) and all(
            a is b or (a == b and isinstance(a, datetime)) for a, b in zip(self._seen, seen, strict=True)
        )
        if is_same and self._again_at is not None and now < self._again_at and not self._charges.is_over(now):
            return
        if self._may_wait(present, now):
            return
        self._charges.refresh(present.live, now, self._rates_at(present.outlook, now))
        self._seen, self._decided_at = seen, now
        self._live = frozenset(run.id for run, _ in present.live)
        self._decide(present, now)
        again = [now + AGAIN_AFTER] if present.live or self._charges.has_news else []
        self._again_at = min([*again, *filter(None, [self._charges.ends_at])])

    def _may_wait(self, present: Present, now: datetime) -> bool:
        """Whether all that is new since the last decision are jobs that were considered by themselves.

        The longer the queue, the longer a decision takes, and the longer the next one then waits.
        """
        if self._decided_at is None or self._charges.is_over(now):
            return False
        is_soon = self._decided_at <= now < self._decided_at + len(present.queued) * PER_JOB
        _, made_at, outlook = self._seen
        if not is_soon or made_at != present.plan.made_at or outlook is not present.outlook:
            return False
        is_live_same = self._live == {run.id for run, _ in present.live}
        return is_live_same and all(_is_as(self._known.get(job.id), job) for job in present.queued)

    def consider(self, jobs: Sequence[Job], now: datetime, *, are_known: bool = False) -> Mapping[int, Reason]:
        """Return which of these jobs, that are about to be stored, would wait, with those that wait already.

        Raise InvalidJob with everything that keeps any of them from being accepted. With `are_known` they are queued
        already and stand in place of what they were.
        """
        if not self._budgets:
            return self.withheld
        before = [known for job in jobs if (known := self._known.get(job.id))] if are_known else []
        standings = {owner: _copied(row) for owner, row in self._standings_for([*before, *jobs], now).items()}
        remembered = {job.id: self._needs[job.id] for job in before if job.id in self._needs}
        needed = {job_id: need for job_id, (_, need) in remembered.items()}
        for job in before:
            self._give_back(job, needed.get(job.id), standings)
        asks = [ask for job in jobs if (ask := self._ask(job, None, is_later=bool(job.spec.after), now=now))]
        self._needs |= remembered  # what the standings have, until they take in what is only considered
        kept = {job.id: self._owners(job) for job in before}
        grown = [ask for ask in asks if _grows(ask, needed.get(ask.job.id), kept.get(ask.job.id))]
        problems = problems_of(grown, standings, kept, self._budgets.currency)
        refusing = {ask.job.id for ask in grown}
        ids = {job.id for job in jobs} if are_known else frozenset[int]()
        withheld = {job_id: reason for job_id, reason in self.withheld.items() if job_id not in ids}
        for ask in asks:
            if why := judge(ask, standings, self._options.default_max_delay, self._budgets.currency):
                withheld[ask.job.id] = why.reason
                if ask.job.id in refusing and (refusal := why.refusal()):
                    problems.append(("", refusal))
        if problems:
            rows = [InputProblem(field=name, message=text) for name, text in dict.fromkeys(problems)]
            raise InvalidJob("; ".join(map(str, rows)), rows)
        return withheld

    def take(self, jobs: Iterable[Job], now: datetime) -> None:
        """Set aside what jobs are expected to take that were stored since the last look, until the next one."""
        if not self._budgets:
            return
        new = list(jobs)
        standings = {owner: _copied(row) for owner, row in self._standings_for(new, now).items()}
        withheld = dict[int, Reason]()
        for job in new:
            ask = self._ask(job, None, is_later=bool(job.spec.after), now=now)
            why = ask and judge(ask, standings, self._options.default_max_delay, self._budgets.currency)
            if why:
                withheld[job.id] = why.reason
        self.standings = {**self.standings, **standings}
        self.withheld = {**self.withheld, **withheld} if withheld else self.withheld
        self._known.update((job.id, job) for job in new)

    def let_go(self, job_ids: Collection[int]) -> None:
        """Withhold these jobs, which an admin lets go, for their budgets no longer."""
        gone = {job_id for job_id in job_ids if (why := self.withheld.get(job_id)) and why.code in OF_BUDGETS}
        if gone:
            self.withheld = {job_id: why for job_id, why in self.withheld.items() if job_id not in gone}

    def expected(self, spec: JobSpec, user: str, row: Placement | None, now: datetime) -> Need:
        """Return what a job is expected to use: at its place, else in the cleanest hours of the time it has."""
        job = Job(id=0, spec=spec, user=user, uid=-1, state=State.QUEUED, submitted_at=now)
        return self._need(job, row, now)

    def standing(self, owner: Owner, now: datetime) -> Standing | None:
        """Return how an owner's budget stands, whether or not anybody has used it; None without one."""
        known = self.standings.get(owner)
        return known or (self._standing(owner, now, ()) if self._budgets.of(owner) else None)

    def _decide(self, present: Present, now: datetime) -> None:
        standings = self._made_standings(present, now)
        crowded = crowded_out(
            (job for job in present.queued if job.spec.array and blocked(job, present.states) is None),
            Counter(job.spec.array.key for _, job in present.live if job.spec.array),
        )
        asks, renewed = list[Ask](), dict[int, datetime]()
        for job in present.queued:
            if job.cancel_requested:
                continue
            if job.held:
                for owner in self._owners(job):
                    standings[owner].jobs_queued += 1
                continue
            is_later = job.id in crowded or job.earliest_start > now or blocked(job, present.states) is not None
            if ask := self._ask(job, self._place(job, present.plan), is_later=is_later, now=now):
                asks.append(ask)
                if not job.has_limit and (since := _renewed(ask, standings)):
                    renewed[job.id] = since
        self._spare(asks, standings, present.plan, now)
        thrifty = {ask.job.id for ask in asks if any(self._is_thrifty(standings[owner]) for owner in ask.owners)}
        asks = [self._thrifty(ask, standings, present.plan, now) if ask.job.id in thrifty else ask for ask in asks]
        found = judge_all(asks, standings, self._options.default_max_delay, self._budgets.currency)
        self.withheld = {job_id: row.reason for job_id, row in found.items()}
        if thrifty != self.thrifty:
            self.thrifty = frozenset(thrifty)
        self.standings, self.renewed = standings, renewed
        self._known = {job.id: job for job in present.queued}
        self._needs = {job_id: row for job_id, row in self._needs.items() if job_id in self._known}
        self._placed = {job_id: row for job_id, row in self._placed.items() if job_id in self._known}

    def _made_standings(self, present: Present, now: datetime) -> dict[Owner, Standing]:
        """Return how all budgets stand that anybody uses or that are set by name, without queued jobs."""
        waiting = {ChargedAccount(job.user, job.spec.project) for job in present.jobs.values()}
        owners = dict.fromkeys(self._budgets.named())
        for user, project in sorted(waiting | self._charges.accounts):
            owners |= dict.fromkeys(self._budgets.owners(user, project))
        found = {owner: self._standing(owner, now, present.live) for owner in owners}
        for run, job in present.live:
            end = max(now, present.expected_end(run, job))
            need = self._rates.need(job, now, end, end - now)
            for owner in self._owners(job):
                standing = found[owner]
                standing.gpus_held += len(run.devices)
                for measure, amount in standing.inside(need).items():
                    standing.running[measure] = standing.running.get(measure, 0.0) + amount
        return found

    def _standing(self, owner: Owner, now: datetime, live: Sequence[tuple[Run, Job]]) -> Standing:
        budget = self._budgets.of(owner)
        assert budget is not None
        by_account = self._charges.of(owner, budget.period, live, now)
        used = {measure: total(list(by_account.values()), measure) for measure in Measure}
        return Standing(
            owner=owner,
            budget=budget,
            period=self._charges.period(budget.period, now),
            used=used,
            by_account=by_account,
        )

    def _standings_for(self, jobs: Sequence[Job], now: datetime) -> dict[Owner, Standing]:
        owners = {owner for job in jobs for owner in self._owners(job)}
        return {owner: self.standings.get(owner) or self._standing(owner, now, ()) for owner in owners}

    def _owners(self, job: Job) -> tuple[Owner, ...]:
        key = (job.user, job.spec.project)
        if key not in self._owners_of:
            self._owners_of[key] = self._budgets.owners(*key)
        return self._owners_of[key]

    def _ask(self, job: Job, row: Placement | None, *, is_later: bool, now: datetime) -> Ask | None:
        owners = self._owners(job)
        return Ask(job=job, owners=owners, need=self._need(job, row, now), is_later=is_later) if owners else None

    def _place(self, job: Job, plan: Plan) -> Placement | None:
        """Return a job's place in the plan; None also where that was found for what the job was before an edit."""
        row = plan.placement(job.id)
        if row is None:
            return None
        known = self._placed.get(job.id)
        if known is None or (known[0] is not row and known[0] != row):
            known = self._placed[job.id] = row, job.spec
        return row if _uses_the_same(known[1], job.spec) and _is_long_enough(row, job) else None

    def _need(self, job: Job, row: Placement | None, now: datetime) -> Need:
        """Return what a job is expected to use at its place, else in the cleanest hours of the time it has."""
        key = (job.spec, job.progress, row, self._rates_version)
        known = self._needs.get(job.id)
        if known is not None and known[0] == key:
            return known[1]
        if row is not None:
            ran = sum((end - start for start, end in row.intervals), timedelta(0))
            need = self._rates.need(job, row.start, row.end, ran, row.expected_g)
        else:
            start = max(now, job.earliest_start)
            need = self._rates.least_need(job, start, job.latest_start(self._options.default_max_delay))
        if job.id:
            self._needs[job.id] = (key, need)
        return need

    def _spare(self, asks: Sequence[Ask], standings: Mapping[Owner, Standing], plan: Plan, now: datetime) -> None:
        """Note for which budgets of grams the plan would take more than there is: their jobs spare it from now on."""
        planned: defaultdict[Owner, float] = defaultdict(float)
        for ask in asks:
            if plan.placement(ask.job.id) is not None:
                for owner in ask.owners:
                    planned[owner] += standings[owner].need(ask.need).get(Measure.KG_CO2E, 0.0)
        for owner, kg in planned.items():
            standing = standings[owner]
            most = standing.budget.most.get(Measure.KG_CO2E)
            if most is not None and standing.taken(Measure.KG_CO2E) + kg > most:
                since = max(now, plan.made_at + timedelta(microseconds=1))
                self._thrifty_since.setdefault((owner, standing.period.name), since)
        names = {(owner, standing.period.name) for owner, standing in standings.items()}
        self._thrifty_since = {key: at for key, at in self._thrifty_since.items() if key in names}

    def _is_thrifty(self, standing: Standing) -> bool:
        return (standing.owner, standing.period.name) in self._thrifty_since

    def _thrifty(self, ask: Ask, standings: Mapping[Owner, Standing], plan: Plan, now: datetime) -> Ask:
        """Return a job that spares a budget with what it needs at its cleanest, until a plan knows that it does."""
        since = max(
            at for owner in ask.owners if (at := self._thrifty_since.get((owner, standings[owner].period.name)))
        )
        if plan.made_at >= since:
            return ask
        start = max(now, ask.job.earliest_start)
        latest = ask.job.latest_start(self._options.default_max_delay)
        return replace(ask, need=self._rates.least_need(ask.job, start, latest))

    def _give_back(self, job: Job, need: Need | None, standings: Mapping[Owner, Standing]) -> None:
        """Take what a queued job, as it was looked at last, has of its budgets out of them."""
        why = self.withheld.get(job.id)
        if need is None or job.held or (why is not None and why.code in OF_BUDGETS):
            return
        for owner in self._owners(job):
            standing = standings[owner]
            standing.take(need, sign=-1)
            standing.gpus_taken -= job.spec.gpus if why is None else 0

    def _rates_at(self, outlook: Series | None, now: datetime) -> UseRates:
        """Return the rates that hold now; the same object for as long as nothing has changed."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._rates_of[1:] != (hour,) or self._rates_of[0] is not outlook:
            price = self._price(hour, hour + PRICES_AHEAD) if self._price else None
            self._rates = replace(self._rates, outlook=outlook, price=price, known_g={})
            self._rates_of = (outlook, hour)
            self._rates_version += 1
        return self._rates


def _uses_the_same(first: JobSpec, other: JobSpec) -> bool:
    """Whether a job of either takes the same of a budget at a place."""
    return first is other or all(getattr(first, name) == getattr(other, name) for name in _USED_BY)


def _is_long_enough(row: Placement, job: Job) -> bool:
    """Whether a place is one for as much as the job has still to do: for no other need does it tell anything."""
    ran = sum((end - start for start, end in row.intervals), timedelta(0))
    is_no_longer = bool(row.pieces) or ran <= job.remaining + _ROUNDED  # what is suspended takes longer
    return row.gpus == job.spec.gpus and is_no_longer and ran >= job.remaining - _ROUNDED


def _renewed(ask: Ask, standings: Mapping[Owner, Standing]) -> datetime | None:
    """Return when the last of a job's budgets began anew since it asked to start; None where none has."""
    starts = (standings[owner].period.start for owner in ask.owners if standings[owner].budget.most)
    return max((start for start in starts if start > ask.job.asked_start), default=None)


def _is_as(known: Job | None, job: Job) -> bool:
    """Whether a queued job is what it was when it was looked at, as far as budgets are concerned."""
    if known is None or known is job:
        return known is job
    ours = (known.spec, known.held, known.over_budget, known.cancel_requested, known.progress)
    return ours == (job.spec, job.held, job.over_budget, job.cancel_requested, job.progress)


def _grows(ask: Ask, before: Need | None, owners: tuple[Owner, ...] | None) -> bool:
    """Whether a job is new to a budget, or is expected to take more of one than before."""
    if owners is None or not set(ask.owners) <= set(owners):
        return True
    if before is None:  # one that is held takes its part when it is released
        return not ask.job.held
    return any((amount or 0.0) > (before.amounts[measure] or 0.0) for measure, amount in ask.need.amounts.items())


def _copied(row: Standing) -> Standing:
    return replace(row, running=dict(row.running), queued=dict(row.queued))
