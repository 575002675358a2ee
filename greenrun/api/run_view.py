"""Turn a run, with what the books have of it, into the JSON of job_models.py."""

from collections.abc import Sequence

from greenrun.api.job_models import AnomalyOut, RunOut
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.anomalies import Spell
from greenrun.core.jobs.job import Run
from greenrun.core.units import J_PER_KWH


def run_view(run: Run, total: Total | None, spells: Sequence[Spell] = ()) -> RunOut:
    """Return a run; without a total in the books its energy is unknown."""
    energy_j = total.energy_j if total and total.quality is not Quality.UNKNOWN else None
    return RunOut(
        id=run.id,
        number=run.number,
        started_at=run.started_at,
        ended_at=run.ended_at,
        outcome=run.outcome,
        exit_code=run.exit_code,
        devices=list(run.devices),
        energy_j=total.energy_j if total else None,
        energy_quality=total.quality if total else Quality.UNKNOWN,
        emissions_g=total.emissions_g if total else None,
        emissions_settled_g=total.settled_g if total else None,
        baseline_emissions_g=total.baseline_g if total else None,
        avoided_g=total.avoided_g if total else None,
        gpu_utilization=total.utilization if total else None,
        gpu_utilization_coverage=total.utilization_coverage if total else None,
        work=run.work,
        work_unit=run.work_unit,
        work_at=run.work_at,
        work_per_kwh=run.work * J_PER_KWH / energy_j if energy_j and run.work else None,
        energy_per_work_j=energy_j / run.work if energy_j and run.work else None,
        anomalies=[AnomalyOut(anomaly=row.anomaly, since=row.since, until=row.until, text=row.text) for row in spells],
        log=run.log,
    )
