"""Which queued jobs have room in their quotas and budgets, and why the others wait.

Jobs are looked at one after another, and each that has room takes it before the next is asked: those that can start
first, then by priority, whoever is to start at once, the tightest limit, and submission. One without room lets smaller
ones pass, since what is left of a period would serve nobody otherwise.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from greenrun.core.budgets.budget import NEAR, SPENT, Budget, Measure, OverBudget, Owner, amount_text
from greenrun.core.budgets.calendar_period import CalendarPeriod
from greenrun.core.budgets.charges import ASSUMED_CPU_W, ASSUMED_GPU_W, Amount, Amounts, ChargedAccount
from greenrun.core.budgets.expected_use import Need
from greenrun.core.formatting import count_text, instant_text
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import DeferredSentence, Reason, ReasonCode, because

_ROUNDING = 1e-9  # of a limit: sums that are above it by less are at it
_NO_LIMIT = datetime.max.replace(tzinfo=UTC)


class Fill(StrEnum):
    """How far a budget is used, by what is charged to it."""

    WITHIN = "within"
    NEAR = "near"
    SPENT = "spent"


@dataclass(slots=True, kw_only=True)
class Standing:
    """How a budget stands: what is charged, what runs is still expected to use, and what queued jobs have taken of it.

    `gpus_held` are those of live jobs, `gpus_taken` those that queued jobs are let through for. `by_account` tells
    whose the charges are.
    """

    owner: Owner
    budget: Budget
    period: CalendarPeriod
    used: Amounts = field(default_factory=dict)
    by_account: Mapping[ChargedAccount, Amounts] = field(default_factory=dict)
    running: dict[Measure, float] = field(default_factory=dict)
    queued: dict[Measure, float] = field(default_factory=dict)
    jobs_queued: int = 0
    jobs_withheld: int = 0
    gpus_held: int = 0
    gpus_taken: int = 0

    @property
    def fill(self) -> Fill:
        """How far the measure is used of which the largest share is."""
        shares = (self.used.get(measure, Amount()).value / most for measure, most in self.budget.most.items())
        most = max(shares, default=0.0)
        return Fill.SPENT if most >= SPENT else Fill.NEAR if most >= NEAR else Fill.WITHIN

    def taken(self, measure: Measure) -> float:
        """Return what is used and spoken for."""
        used = self.used.get(measure, Amount()).value
        return used + self.running.get(measure, 0.0) + self.queued.get(measure, 0.0)

    def left(self, measure: Measure) -> float:
        """Return what is neither used nor spoken for; not below nothing."""
        return max(0.0, self.budget.most[measure] - self.taken(measure))

    def need(self, need: Need) -> dict[Measure, float]:
        """Return what a queued job has to have room for, as far as that can be told.

        That is all of it, so that nothing depends on how near the period's end is; of a job longer than a period only
        what falls into this one, and of one that is planned for a later one nothing.
        """
        share = self._share(need)
        return {key: own * share for key, own in need.amounts.items() if own is not None and share}

    def inside(self, need: Need) -> dict[Measure, float]:
        """Return what is expected to fall into the period, as far as that can be told."""
        share = self.period.share(need.start, need.end)
        return {measure: amount * share for measure, amount in need.amounts.items() if amount is not None}

    def lacking(self, need: Need) -> Measure | None:
        """Return the first measure that has no room for it; None where all have."""
        share = self._share(need) if self.budget.most else 0.0
        for measure, most in self.budget.most.items() if share else ():
            own = need.amounts[measure]
            if own and self.taken(measure) + own * share > most * (1 + _ROUNDING):
                return measure
        return None

    def never_fits(self, need: Need) -> Measure | None:
        """Return the first measure of which a job alone would take more in one period than there is."""
        ran_s = max(1.0, (need.end - need.start).total_seconds())
        share = min(1.0, (self.period.end - self.period.start).total_seconds() / ran_s)
        for measure, most in self.budget.most.items():
            amount = need.amounts[measure]
            if amount is not None and amount * share > most * (1 + _ROUNDING):
                return measure
        return None

    def take(self, need: Need, sign: int = 1) -> None:
        """Set aside what a queued job is expected to use."""
        share = self._share(need) * sign if self.budget.most else 0.0
        for measure in self.budget.most if share else ():
            self.queued[measure] = self.queued.get(measure, 0.0) + (need.amounts[measure] or 0.0) * share

    def _share(self, need: Need) -> float:
        if need.start >= self.period.end:
            return 0.0
        is_longer = need.end - need.start > self.period.end - self.period.start
        return self.period.share(need.start, need.end) if is_longer else 1.0

    def lacks_gpus(self, job: Job) -> bool:
        """Whether its quota has no room for a job's GPUs beside those that are held or promised."""
        most = self.budget.gpus
        return most is not None and job.spec.gpus > 0 and self.gpus_held + self.gpus_taken + job.spec.gpus > most


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A queued job, in whose budgets it counts, and what it is expected to use; `is_later`: it cannot start yet."""

    job: Job
    owners: tuple[Owner, ...]
    need: Need
    is_later: bool = False


class Withheld(NamedTuple):
    """Why a job waits, and what to say instead to whoever submits it where that is refused."""

    reason: Reason
    refusal: Callable[[], str] = str


def judge_all(
    asks: Iterable[Ask], standings: Mapping[Owner, Standing], default_max_delay: timedelta, currency: str | None = None
) -> dict[int, Withheld]:
    """Return, by id, why these jobs wait; the standings take in the others."""
    found = {}
    for ask in sorted(asks, key=_turn):
        if why := judge(ask, standings, default_max_delay, currency):
            found[ask.job.id] = why
    return found


def judge(
    ask: Ask, standings: Mapping[Owner, Standing], default_max_delay: timedelta, currency: str | None = None
) -> Withheld | None:
    """Return why a job waits; None if it has room, which it takes. One that waits for GPUs alone keeps its budget."""
    own = [standings[owner] for owner in ask.owners]
    found = _judged(ask, own, default_max_delay, currency)
    for standing in own:
        standing.jobs_queued += 1
        standing.jobs_withheld += found is not None
        standing.gpus_taken += ask.job.spec.gpus if found is None else 0
    return found


def _judged(ask: Ask, own: Sequence[Standing], default_max_delay: timedelta, currency: str | None) -> Withheld | None:
    for standing in own:
        lacking = None if _is_exempt(ask.job, standing, default_max_delay) else standing.lacking(ask.need)
        if lacking is not None:
            return _over_budget(ask, standing, lacking, currency)
    for standing in own:
        standing.take(ask.need)
    crowded = next((standing for standing in own if standing.lacks_gpus(ask.job)), None)
    return None if crowded is None else Withheld(_over_quota(ask.job, crowded))


def need_text(need: Need, amount: float, measure: Measure, currency: str | None) -> str:
    """Return what a job is expected to use, and on what assumption."""
    told = amount_text(amount, measure, currency)
    if not need.is_assumed or measure is Measure.GPU_HOURS:
        return told
    watts = ASSUMED_GPU_W if need.amounts.get(Measure.GPU_HOURS) else ASSUMED_CPU_W
    each = f"{watts:.0f} W for each GPU" if watts == ASSUMED_GPU_W else f"{watts:.0f} W"
    return f"{told} (its power is not known, so {each} are assumed)"


def _turn(ask: Ask) -> tuple[bool, int, bool, datetime, datetime, int]:
    job = ask.job
    return (
        ask.is_later, -job.spec.priority, not job.spec.start_now, job.own_limit or _NO_LIMIT, job.queued_since, job.id,
    )  # fmt: skip


def _is_exempt(job: Job, standing: Standing, default_max_delay: timedelta) -> bool:
    """Whether a job may go over the budget: an admin lets it, or the site puts limits first and it would miss one."""
    if job.over_budget or not standing.budget.keep_limits:
        return job.over_budget
    return job.has_limit and job.latest_start(default_max_delay) < standing.period.end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shortage:
    """What a budget lacked for a job when that was looked at."""

    job: Job
    need: Need
    owner: Owner
    budget: Budget
    period: CalendarPeriod
    measure: Measure
    own: float
    taken: float
    currency: str | None

    def reason(self) -> Reason:
        """Return why the job waits."""
        limit = self.job.own_limit
        is_late = limit is not None and self.period.end + self.job.remaining > limit
        risk = f"; so it will miss its limit of {instant_text(limit)}" if is_late else ""
        details = {"at": instant_text(self.period.end), "owner": self.owner.text, "left": self._left(), "risk": risk}
        if self.code is ReasonCode.BUDGET_APPROVAL:
            return because(self.code, job=self.job.id, **details)
        return because(self.code, **details)

    def refusal(self) -> str:
        """Return what to say to whoever submits the job, where that is refused; else nothing."""
        if self.budget.over is not OverBudget.REFUSE:
            return ""
        return (
            f"the budget of {self.owner.text} has no room for the job: {self._left()}; ask for it from "
            f"{instant_text(self.period.end)} on, when that begins anew, or make it smaller"
        )

    @property
    def code(self) -> ReasonCode:
        """Return what it waits for."""
        return ReasonCode.BUDGET_APPROVAL if self.budget.over is OverBudget.ASK else ReasonCode.BUDGET_SPENT

    def _left(self) -> str:
        most, taken = (
            amount_text(amount, self.measure, self.currency) for amount in (self.budget.most[self.measure], self.taken)
        )
        return (
            f"of {most} this {self.budget.period} {taken} are used or set aside for jobs before it, "
            f"and it is expected to take {need_text(self.need, self.own, self.measure, self.currency)}"
        )


def _over_budget(ask: Ask, standing: Standing, measure: Measure, currency: str | None) -> Withheld:
    lack = _Shortage(
        job=ask.job, need=ask.need, owner=standing.owner, budget=standing.budget, period=standing.period,
        measure=measure, own=standing.need(ask.need)[measure], taken=standing.taken(measure), currency=currency,
    )  # fmt: skip
    return Withheld(DeferredSentence(lack.code, lack.reason), lack.refusal)


def _over_quota(job: Job, standing: Standing) -> Reason:
    limit, taken = count_text(standing.budget.gpus or 0, "GPU"), standing.gpus_held + standing.gpus_taken
    details = {"owner": standing.owner.text, "limit": limit, "taken": taken, "needs": job.spec.gpus}
    return DeferredSentence(ReasonCode.GPU_QUOTA, lambda: because(ReasonCode.GPU_QUOTA, **details))


def problems_of(
    asks: Sequence[Ask],
    standings: Mapping[Owner, Standing],
    counted: Mapping[int, Sequence[Owner]],
    currency: str | None = None,
) -> list[tuple[str, str]]:
    """Return, as field and sentence, why these jobs can never be let through, whatever else is in the queue.

    `counted` tells by id for whom a job is queued already.
    """
    found: dict[tuple[str, str], None] = {}
    new: dict[Owner, int] = {}
    for ask in asks:
        for owner in ask.owners:
            new[owner] = new.get(owner, 0) + (owner not in counted.get(ask.job.id, ()))
            standing = standings[owner]
            most, gpus = standing.budget.gpus, ask.job.spec.gpus
            if most is not None and gpus > most:
                may = f"{owner.text} may hold {count_text(most, 'GPU')} at once"
                found["gpus", f"{may}, and the job needs {gpus}"] = None
            measure = None if standing.budget.over is OverBudget.ASK else standing.never_fits(ask.need)
            if measure is not None:
                takes = need_text(ask.need, ask.need.amounts[measure] or 0.0, measure, currency)
                whole = amount_text(standing.budget.most[measure], measure, currency)
                why = (
                    f"the job is expected to take {takes}, more than the whole budget of {owner.text}, {whole} a "
                    f"{standing.budget.period}, so it would wait for ever: make it smaller or ask who runs this machine"
                )
                found["", why] = None
    for owner, count in new.items():
        standing = standings[owner]
        most = standing.budget.queued_jobs
        if most is not None and count and standing.jobs_queued + count > most:
            why = (
                f"{owner.text} may have {count_text(most, 'job')} queued at once, and {standing.jobs_queued} are: "
                "wait until some have started, or cancel some"
            )
            found["", why] = None
    return list(found)
