"""Decide at submission whether a job's limits can be met without breaking others', and what to ask for if not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.formatting import duration_text, exact_duration_text, instant_text, iso_text
from greenrun.core.jobs.dependencies import predecessors
from greenrun.core.jobs.job import Job
from greenrun.core.planning.capacity import Timeline
from greenrun.core.planning.model import Placement, Plan, Situation, Waiting
from greenrun.core.planning.planner import plan


def admit_each(situation: Situation, jobs: Sequence[Job]) -> list[Placement | Waiting]:
    """Return the place of each job beside those before it; raise as `admit` for the first that cannot be accepted.

    The jobs of an array, and those without a finish-by, are planned together: that takes one plan and not one for each.
    """
    places: list[Placement | Waiting] = []
    for _, group in groupby(jobs, key=_told_with):
        together = list(group)
        planned, found = admit(situation, together)
        situation = replace(situation, jobs=(*situation.jobs, *together), last=planned)
        places += found
    return places


def _told_with(job: Job) -> str | int | None:
    if job.spec.finish_by is None:
        return None
    return job.spec.array.key if job.spec.array else job.id


def admit(situation: Situation, jobs: Sequence[Job]) -> tuple[Plan, list[Placement | Waiting]]:
    """Plan the queue with `jobs` added, which share their limits; return that plan and their places in it.

    Raise InvalidJob, saying the smallest change that would do, when one needs more GPUs than there are, when their
    finish-by cannot be met, or when meeting it, or a start at once, would make a job that was accepted earlier miss
    its own.
    """
    for job in jobs:
        _require_devices(situation, job)
    promised = [job for job in jobs if job.spec.finish_by is not None]
    is_urgent = promised or any(job.spec.start_now for job in jobs)  # others give way to those that have a promise
    before = plan(situation) if is_urgent else None
    after = plan(replace(situation, jobs=(*situation.jobs, *jobs), last=situation.last or before))
    late = [job for job in promised if _is_late(after.placement(job.id))]
    displaced = _newly_late(before, after) if before else []
    accepted = {job.id for job in situation.jobs if job.spec.finish_by is not None}
    if not promised and accepted & set(displaced):
        raise _refused("start_now", _displacing(min(accepted & set(displaced))))
    if promised and before and (late or displaced):
        last = max(late or promised, key=lambda job: _end(after, job))
        is_alone = len(jobs) == 1 and not last.spec.after
        beside = before if is_alone else replace(after, placements=_others(after, last))
        assert last.spec.finish_by is not None
        raise _refused("finish_by", _too_tight(situation, beside, last, last.spec.finish_by))
    waiting = {row.job_id: row for row in after.waiting}
    return after, [after.placement(job.id) or waiting[job.id] for job in jobs]


def _require_devices(situation: Situation, job: Job) -> None:
    if job.spec.gpus > len(situation.devices):
        raise _refused("gpus", f"the job needs {job.spec.gpus} GPUs and this machine has {len(situation.devices)}")
    if not job.spec.gpus and not situation.cpu_slots:
        raise _refused("gpus", "the job needs a CPU slot and [devices] cpu_slots is 0; ask for a GPU, or raise it")


def _end(planned: Plan, job: Job) -> datetime:
    """When a job is planned to end; one without a place ends first."""
    placement = planned.placement(job.id)
    return placement.end if placement else job.submitted_at


def _others(planned: Plan, job: Job) -> tuple[Placement, ...]:
    return tuple(row for row in planned.placements if row.job_id != job.id)


def _is_late(placement: Placement | None) -> bool:
    return placement is not None and placement.late


def _newly_late(before: Plan, after: Plan) -> list[int]:
    was_late = {row.job_id for row in before.placements if row.late}
    return [row.job_id for row in after.placements if row.late and row.job_id not in was_late]


def _displacing(job_id: int) -> str:
    return (
        f"started at once, the job would make job {job_id} miss its finish-by; submit it without --now, so that it "
        f"starts when there is room, or give job {job_id} more time"
    )


def _too_tight(situation: Situation, before: Plan, job: Job, finish_by: datetime) -> str:
    start = _soonest_beside(situation, before, job)
    duration = job.spec.duration
    advised = finish_by_text(start + duration, duration)
    sentence = (
        f"the job cannot finish by {instant_text(finish_by)}: it takes {duration_text(duration)} and can start "
        f"at {instant_text(start)} at the soonest; ask for --finish-by {advised} or later"
    )
    shorter = shorter_text(finish_by - start, duration)
    return sentence + (f", or a --duration of at most {shorter}" if shorter else "")


def _soonest_beside(situation: Situation, before: Plan, job: Job) -> datetime:
    """Return the first instant at which the job fits beside everything already running or planned."""
    units = job.spec.gpus or 1
    capacity = Timeline(len(situation.devices) if job.spec.gpus else situation.cpu_slots)
    now_s = situation.now.timestamp()
    for until in situation.busy.values() if job.spec.gpus else situation.cpu_busy:
        capacity.reserve(now_s - 1, max(now_s, until.timestamp()), 1)
    for row in before.placements:
        if bool(row.gpus) == bool(job.spec.gpus):
            capacity.reserve(row.start.timestamp(), row.end.timestamp(), max(1, row.gpus))
    ends = {**situation.ends, **{row.job_id: row.end for row in before.placements}}
    waits_for = [ends[job_id] for job_id in predecessors(job, situation.states) if job_id in ends]
    earliest = max(job.earliest_start, situation.now, *waits_for)
    found_s = capacity.first_fit(earliest.timestamp(), job.spec.duration.total_seconds(), units)
    return earliest if found_s is None else max(earliest, datetime.fromtimestamp(found_s, earliest.tzinfo))


def _refused(field: str, sentence: str) -> InvalidJob:
    return InvalidJob(sentence, [InputProblem(field=field, message=sentence)])


def time_to_follow(duration: timedelta) -> timedelta:
    """How long advice about a job of this duration must hold, for somebody has to read it first."""
    return min(max(duration / 10, timedelta(seconds=5)), timedelta(minutes=1))


def finish_by_text(end: datetime, duration: timedelta) -> str:
    """The earliest finish-by to advise for a job that can end at `end`: to the second, with time to follow it."""
    return iso_text((end + time_to_follow(duration)).replace(microsecond=0) + timedelta(seconds=1))


def shorter_text(room: timedelta, duration: timedelta) -> str | None:
    """The longest duration to advise for a job that has `room`, with time to follow it; None when there is none."""
    seconds = int((room - time_to_follow(duration)).total_seconds())
    return exact_duration_text(timedelta(seconds=seconds)) if seconds >= 1 else None
