"""The context of whoever submits or changes a job here and now: this process, its folder and its environment."""

import os
from pathlib import Path

from greenrun.clock import utc_now
from greenrun.core.jobs.spec import LIMITS
from greenrun.paths import find_job_environment
from greenrun.submission import environment
from greenrun.submission.job_options import SubmissionContext
from greenrun.submission.local_zone import local_zone


def present_context(config: str | Path | None = None, *, is_new: bool = True) -> SubmissionContext:
    """Return it, by the settings in `config`; a job that is not new keeps the umask and the limits that it has."""
    return SubmissionContext(
        now=utc_now(),
        zone=local_zone,
        folder=Path.cwd(),
        environ=os.environ,
        variables=find_job_environment(config),
        umask=environment.umask() if is_new else None,
        limits=environment.limits(LIMITS) if is_new else None,
    )
