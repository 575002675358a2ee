"""Validate a job that is well formed: find contradictions, and what this machine does not have."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from greenrun.core.errors import InputProblem
from greenrun.core.formatting import duration_text, exact_duration_text, instant_text
from greenrun.core.jobs.job import DurationSource, JobSpec
from greenrun.core.planning.admission import finish_by_text, shorter_text, time_to_follow

Here = dict[tuple[str | None, ...], Sequence[InputProblem]]  # what was found on this machine, by what was looked for


def problems_of(spec: JobSpec, now: datetime, here: Here) -> list[InputProblem]:
    """Return all problems that show without planning; each says the smallest change that would do.

    What was looked for on this machine is kept in `here`: many jobs of one submission have the same program and folder.
    """
    looked_for = (spec.workdir, spec.command[0], spec.env.get("PATH"), spec.env_file)
    if looked_for not in here:
        here[looked_for] = list(_here(spec))
    return [*here[looked_for], *_limits(spec, now)]


def _here(spec: JobSpec) -> Iterator[InputProblem]:
    if not _seen(Path(spec.workdir).is_dir):
        yield InputProblem(field="workdir", message=f"{spec.workdir} is not a folder on this machine")
        return
    if not _can_be_run(spec):
        yield InputProblem(field="command", message=_not_found(spec))
    if spec.env_file is not None and not _seen(Path(spec.env_file).is_file):
        yield InputProblem(field="env_file", message=f"{spec.env_file} is not a file on this machine")


def _can_be_run(spec: JobSpec) -> bool:
    program = spec.command[0]
    folders = [""] if "/" in program else os.get_exec_path(dict(spec.env))
    return any(shutil.which(str(Path(spec.workdir, folder, program))) for folder in folders)


def _seen(check: Callable[[], bool]) -> bool:
    """Whether a path passes; one that cannot be looked at (too long, no permission) does not."""
    try:
        return check()
    except OSError:
        return False


def _not_found(spec: JobSpec) -> str:
    program = spec.command[0]
    if "/" in program:
        return f"{program} is not an executable file (seen from {spec.workdir})"
    return f"{program} is not found on the job's PATH; give its path, or the PATH it is on"


def _limits(spec: JobSpec, now: datetime) -> Iterator[InputProblem]:
    earliest = max(now, spec.start_after or now)
    if spec.time_limit is not None and spec.duration > spec.time_limit:
        limit = exact_duration_text(spec.duration)
        yield InputProblem(field="time_limit_s", message=f"is shorter than the duration: raise it to {limit} or more")
    if spec.max_delay is not None and earliest > now + spec.max_delay:
        least = exact_duration_text(_whole_seconds(earliest - now + time_to_follow(spec.duration)))
        yield InputProblem(
            field="max_delay_s", message=f"ends before start_after: raise it to {least}, or start earlier"
        )
    if spec.finish_by is not None and earliest + spec.duration > spec.finish_by:
        yield InputProblem(field="finish_by", message=_too_early(spec, earliest, spec.finish_by))
    if spec.expire and spec.finish_by is None and spec.max_delay is None:
        yield InputProblem(field="expire", message="has no limit to expire by: give finish_by or max_delay_s as well")


def _whole_seconds(duration: timedelta) -> timedelta:
    """Round up, so that it is enough."""
    return timedelta(seconds=ceil(duration.total_seconds()))


def _too_early(spec: JobSpec, earliest: datetime, finish_by: datetime) -> str:
    source = " (the configured default)" if spec.duration_source is DurationSource.DEFAULT else ""
    ends = earliest + spec.duration
    duration = f"{duration_text(spec.duration)}{source}"
    finding = f"a job of {duration} that starts at {instant_text(earliest)} ends at {instant_text(ends)}"
    shorter = shorter_text(finish_by - earliest, spec.duration)
    advice = f"ask for --finish-by {finish_by_text(ends, spec.duration)} or later"
    return f"{finding}: {advice}" + (f", or a --duration of at most {shorter}" if shorter else "")
