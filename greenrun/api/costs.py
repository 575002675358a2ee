"""What the electricity of a job cost, told with the job when it is asked for by itself."""

from greenrun.api.job_models import JobOut
from greenrun.api.json_types import Number
from greenrun.reports.build import Reports


class CostedJobOut(JobOut):
    """A job with what the electricity of its runs cost so far, PUE included; null where no price is set or known.

    `cost_missing_kwh` is energy whose price is not known, and which is in no cost.
    """

    cost: Number
    currency: str | None
    cost_missing_kwh: Number


def costed(view: JobOut, reports: Reports) -> CostedJobOut:
    """Return the job with its cost; raise StoreError."""
    told = {name: getattr(view, name) for name in JobOut.model_fields}
    return CostedJobOut(**told, **reports.cost_of([run.id for run in view.runs]))
