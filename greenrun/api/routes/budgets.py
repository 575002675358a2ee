"""The route of budgets: what is left, who used it, and what the queue will take; of those that the caller may see."""

from collections.abc import Iterator

from fastapi import APIRouter

from greenrun.api.identity import Caller
from greenrun.api.json_types import Number, ResponseInstant, ResponseModel
from greenrun.api.problems import refusals
from greenrun.api.service import Service, ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.core.budgets.budget import Measure, OverBudget, Owner, OwnerKind
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.budgets.charges import Amount, Amounts
from greenrun.core.jobs.access import Viewer

OTHERS = "others"  # in the place of those whose use the caller may not see


class BudgetLineOut(ResponseModel):
    """One measure of a budget, in its own unit (GPU-hours, kWh, kg CO2e or `currency`).

    `used` is charged for what has run, `assumed` the part of it that stands in for what was not measured or priced;
    `is_known` is false where there is nothing to assume, so that more was used than is told. `running` is what live
    jobs are still expected to use in the period, `queued` what queued jobs are that have room, and `left` the rest.
    `ratio` is `used` by `limit`.
    """

    measure: Measure
    limit: float
    used: float
    assumed: float
    is_known: bool
    running: float
    queued: float
    left: float
    ratio: float


class BudgetUserOut(ResponseModel):
    """What one user has used of a project's budget; `others` in one where the caller may not see whose it is."""

    user: str
    gpu_hours: Number
    kwh: Number
    kg_co2e: Number
    money: Number


class BudgetOut(ResponseModel):
    """How the budget and the quotas of a user or project stand in the present period `[start, end)`.

    `gpus_held` are those of live jobs, `gpus_kept` those of queued jobs that may start beside them; `jobs_waiting` are
    queued jobs that have no room.
    """

    kind: OwnerKind
    name: str
    period: PeriodKind
    period_name: str
    start: ResponseInstant
    end: ResponseInstant
    over: OverBudget
    keep_limits: bool
    currency: str | None
    lines: list[BudgetLineOut]
    gpus_limit: int | None
    gpus_held: int
    gpus_kept: int
    queued_limit: int | None
    jobs_queued: int
    jobs_waiting: int
    users: list[BudgetUserOut]


class BudgetsOut(ResponseModel):
    """The budgets that the caller may see; `is_set`: there are any here. `may_approve`: the caller may let jobs go."""

    is_set: bool
    may_approve: bool
    budgets: list[BudgetOut]


router = APIRouter(prefix="/v1/budgets", route_class=StrictRoute, tags=["budgets"], responses=refusals())


@router.get("")
def get_budgets(daemon: ServiceDep, caller: Caller) -> BudgetsOut:
    """Tell how budgets and quotas stand: the caller's own, and those of the projects the caller may submit to.

    Those who may see all jobs see those of every user and project that has used something or is set by name.
    """
    shown = [_out(daemon, caller, standing) for standing in _visible(daemon, caller)]
    may_approve = daemon.settings.access.may_all(caller)
    return BudgetsOut(is_set=bool(daemon.scheduler.budgets.rules), may_approve=may_approve, budgets=shown)


def _visible(daemon: Service, caller: Viewer) -> Iterator[Standing]:
    kept, access, now = daemon.scheduler.budgets, daemon.settings.access, daemon.now()
    owners = dict.fromkeys(kept.standings)
    if kept.rules.of(own := Owner(OwnerKind.USER, caller.name)):
        owners.setdefault(own)
    for owner in sorted(owners):
        if access.sees_budget(caller, owner.kind, owner.name) and (standing := kept.standing(owner, now)):
            yield standing


def _out(daemon: Service, caller: Viewer, standing: Standing) -> BudgetOut:
    budget, period = standing.budget, standing.period
    return BudgetOut(
        kind=standing.owner.kind,
        name=standing.owner.name,
        period=budget.period,
        period_name=period.name,
        start=period.start,
        end=period.end,
        over=budget.over,
        keep_limits=budget.keep_limits,
        currency=daemon.scheduler.budgets.rules.currency,
        lines=[_line(standing, measure) for measure in budget.most],
        gpus_limit=budget.gpus,
        gpus_held=standing.gpus_held,
        gpus_kept=standing.gpus_taken,
        queued_limit=budget.queued_jobs,
        jobs_queued=standing.jobs_queued,
        jobs_waiting=standing.jobs_withheld,
        users=_users(daemon, caller, standing) if standing.owner.kind is OwnerKind.PROJECT else [],
    )


def _line(standing: Standing, measure: Measure) -> BudgetLineOut:
    most, used = standing.budget.most[measure], standing.used.get(measure, Amount())
    return BudgetLineOut(
        measure=measure,
        limit=most,
        used=used.value,
        assumed=used.assumed,
        is_known=used.is_known,
        running=standing.running.get(measure, 0.0),
        queued=standing.queued.get(measure, 0.0),
        left=standing.left(measure),
        ratio=used.value / most,
    )


def _users(daemon: Service, caller: Viewer, standing: Standing) -> list[BudgetUserOut]:
    """Return what each user has used, those that the caller may not see put together."""
    shown: dict[str, list[Amounts]] = {}
    for account, amounts in standing.by_account.items():
        is_seen = daemon.settings.access.sees_budget(caller, OwnerKind.USER, account.user)
        shown.setdefault(account.user if is_seen else OTHERS, []).append(amounts)
    return [
        BudgetUserOut(user=user, **{measure.value: _sum(rows, measure) for measure in Measure})
        for user, rows in sorted(shown.items(), key=lambda item: (item[0] == OTHERS, item[0]))
    ]


def _sum(rows: list[Amounts], measure: Measure) -> float | None:
    known = [row[measure].value for row in rows if measure in row and row[measure].is_known]
    return sum(known) if known else None
