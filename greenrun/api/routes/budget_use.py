"""What jobs that are submitted are expected to take of the budgets that they count in."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from greenrun.api.job_models import BudgetUseOut
from greenrun.api.service import Preview, Service
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.job import Job, JobSpec


def standings_of(daemon: Service, caller: Viewer, specs: Iterable[JobSpec], now: datetime) -> list[Standing]:
    """Return how the budgets stand that these jobs count in."""
    kept = daemon.scheduler.budgets
    if not kept.rules:
        return []
    owners = {owner: None for spec in specs for owner in kept.rules.owners(caller.name, spec.project)}
    return [standing for owner in owners if (standing := kept.standing(owner, now))]


def uses_of(
    daemon: Service, job: Job, preview: Preview, before: Sequence[Standing], now: datetime
) -> list[BudgetUseOut]:
    """Return what a job is expected to take of each budget in which it counts, as these stood before it."""
    kept = daemon.scheduler.budgets
    owners = kept.rules.owners(job.user, job.spec.project) if before else ()
    if not owners:
        return []
    need = kept.expected(job.spec, job.user, preview.placement, now)
    return [
        BudgetUseOut(
            kind=standing.owner.kind,
            name=standing.owner.name,
            measure=measure,
            period=standing.budget.period,
            limit=most,
            left=standing.left(measure),
            expected=standing.need(need).get(measure),
            currency=kept.rules.currency,
        )
        for standing in before
        if standing.owner in owners
        for measure, most in standing.budget.most.items()
    ]
