"""Validate a job that is well formed: find what is certain to fail or contradicts itself."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import ceil

from greenrun.api.needs import log_problems, program_problems
from greenrun.core.errors import InputProblem
from greenrun.core.formatting import duration_text, exact_duration_text, instant_text
from greenrun.core.jobs.job import DurationSource, JobSpec
from greenrun.core.jobs.log_names import log_of
from greenrun.core.planning.admission import finish_by_text, shorter_text, time_to_follow

Here = dict[tuple[str | None, ...], Sequence[InputProblem]]  # what was found on this machine, by what was looked for


def problems_of(spec: JobSpec, user: str, now: datetime, here: Here) -> list[InputProblem]:
    """Return all problems that show without planning; each says the smallest change that would do.

    What was looked for on this machine is kept in `here`: many jobs of one submission have the same program and folder.
    """
    looked_for = (spec.workdir, spec.command[0], spec.env.get("PATH"), spec.env_file, spec.container)
    if looked_for not in here:
        here[looked_for] = list(program_problems(spec))
    of_program = here[looked_for]
    can_look = spec.log is not None and all(row.field != "workdir" for row in of_program)
    of_log = log_problems(spec, log_of(spec, user)) if can_look else ()
    return [*of_program, *of_log, *_limits(spec, now)]


def _limits(spec: JobSpec, now: datetime) -> Iterator[InputProblem]:
    earliest = max(now, spec.start_after or now)
    if spec.time_limit is not None and spec.duration > spec.time_limit:
        limit = exact_duration_text(spec.duration)
        yield InputProblem(field="time_limit_s", message=f"is shorter than the duration: raise it to {limit} or more")
    if spec.max_delay is not None and earliest > now + spec.max_delay:
        least = exact_duration_text(_whole_seconds(earliest - now + time_to_follow(spec.duration)))
        yield InputProblem(
            field="max_delay_s", message=f"ends before --start-after: raise it to {least}, or start earlier"
        )
    if spec.finish_by is not None and earliest + spec.duration > spec.finish_by:
        yield InputProblem(field="finish_by", message=_too_early(spec, earliest, spec.finish_by))
    if spec.start_now and spec.start_after is not None:
        why = "contradicts --now, which starts it as soon as GPUs are free: leave one of the two out"
        yield InputProblem(field="start_after", message=why)
    if spec.expire and spec.start_now:
        why = "contradicts --now: a job that starts as soon as GPUs are free has no latest start to expire by"
        yield InputProblem(field="expire", message=f"{why}; leave one of the two out")
    elif spec.expire and spec.finish_by is None and spec.max_delay is None:
        yield InputProblem(field="expire", message="has no limit to expire by: give --finish-by or --max-delay as well")


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
