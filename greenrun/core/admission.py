"""Decide at submission whether a job's limits can be met beside those already promised, and what would do if not."""

from dataclasses import replace
from datetime import datetime

from greenrun.core.capacity import Capacity
from greenrun.core.errors import InvalidJob, Problem
from greenrun.core.explain import duration_text, finish_by_text, shorter_text, time_text
from greenrun.core.job import Job
from greenrun.core.plan import Placement, Plan, Situation, Waiting
from greenrun.core.planner import plan


def admit(situation: Situation, job: Job) -> tuple[Plan, Placement | Waiting]:
    """Plan the queue with `job` added; return that plan and the job's place in it.

    Raise InvalidJob, saying the smallest change that would do, when the job needs more GPUs than there are, when its
    finish-by cannot be met, or when meeting it would make a job that was accepted earlier miss its own.
    """
    if job.spec.gpus > len(situation.devices):
        raise _refused("gpus", f"the job needs {job.spec.gpus} GPUs and this machine has {len(situation.devices)}")
    if not job.spec.gpus and not situation.cpu_slots:
        raise _refused("gpus", "the job needs a CPU slot and [devices] cpu_slots is 0; ask for a GPU, or raise it")
    before = plan(situation)
    after = plan(replace(situation, jobs=(*situation.jobs, job), last=situation.last or before))
    placement = after.placement(job.id)
    if job.spec.finish_by is not None and (_is_late(placement) or _newly_late(before, after)):
        raise _refused("finish_by", _too_tight(situation, before, job, job.spec.finish_by))
    if placement is not None:
        return after, placement
    return after, next(row for row in after.waiting if row.job_id == job.id)


def _is_late(placement: Placement | None) -> bool:
    return placement is not None and placement.late


def _newly_late(before: Plan, after: Plan) -> bool:
    was_late = {row.job_id for row in before.placements if row.late}
    return any(row.late and row.job_id not in was_late for row in after.placements)


def _too_tight(situation: Situation, before: Plan, job: Job, finish_by: datetime) -> str:
    start = _soonest_beside(situation, before, job)
    end = start + job.spec.duration
    sentence = (
        f"the job cannot finish by {time_text(finish_by)}: it takes {duration_text(job.spec.duration)} and can start "
        f"at {time_text(start)} at the soonest; ask for --finish-by {finish_by_text(end, job.spec.duration)} or later"
    )
    shorter = shorter_text(finish_by - start, job.spec.duration)
    return sentence + (f", or a --duration of at most {shorter}" if shorter else "")


def _soonest_beside(situation: Situation, before: Plan, job: Job) -> datetime:
    """Return the first instant at which the job fits beside everything already running or planned."""
    units = job.spec.gpus or 1
    capacity = Capacity(len(situation.devices) if job.spec.gpus else situation.cpu_slots)
    now_s = situation.now.timestamp()
    for until in situation.busy.values() if job.spec.gpus else situation.cpu_busy:
        capacity.reserve(now_s - 1, max(now_s, until.timestamp()), 1)
    for row in before.placements:
        if bool(row.gpus) == bool(job.spec.gpus):
            capacity.reserve(row.start.timestamp(), row.end.timestamp(), max(1, row.gpus))
    earliest = max(job.earliest_start, situation.now)
    found_s = capacity.first_fit(earliest.timestamp(), job.spec.duration.total_seconds(), units)
    return earliest if found_s is None else max(earliest, datetime.fromtimestamp(found_s, earliest.tzinfo))


def _refused(field: str, sentence: str) -> InvalidJob:
    return InvalidJob(sentence, [Problem(field=field, message=sentence)])
