"""Decide at submission whether a job's limits can be met without breaking others', and what to ask for if not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.formatting import count_text, duration_text, exact_duration_text, instant_text, iso_text
from greenrun.core.jobs.job import Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.capacity import Pool, all_pools, shut_out, too_few
from greenrun.core.planning.insertion import OpenPlan, Row, is_provisional
from greenrun.core.planning.model import Plan, Situation
from greenrun.core.planning.planner import SoonestEnd, can_end_by, places_of, plan, soonest_end
from greenrun.core.planning.power_cap.alone import Alone
from greenrun.core.planning.power_cap.site_power import SitePower

SHORT = 100  # jobs that are planned while somebody waits for the answer
FEW_MINUTES_S = 600  # advice about a shorter duration is given to the second, else to the minute


def insert_each(into: OpenPlan, jobs: Sequence[Job], states: Mapping[int, State], now: datetime) -> list[Row] | None:
    """Return the place of each job beside all that have one; None where it takes a plan to tell what to answer.

    That is so where others have to move for a finish-by. Where they may have to for anything else, a short queue is
    planned, and a long one answers with provisional places. Raise InvalidJob when a job needs more GPUs than there are.
    """
    for job in jobs:
        _require_devices(into.situation, job)
    rows = into.find(jobs, states, now)
    return None if _needs_plan(jobs, rows, len(into.situation.jobs) + len(jobs)) else rows


def insert_groups(
    into: OpenPlan, groups: Sequence[Sequence[Job]], states: Mapping[int, State], now: datetime
) -> list[Sequence[Row] | None]:
    """Return the places of the jobs of each group, found as `insert_each` does, beside those of all other groups.

    None for a group that it would not place, or refuse: to tell which, it has to be asked alone.
    """
    able = [_have_devices(into.situation, group) for group in groups]
    asked = [job for group, is_able in zip(groups, able, strict=True) if is_able for job in group]
    places = dict(zip([job.id for job in asked], into.find(asked, states, now), strict=True)) if asked else {}
    queued = len(into.situation.jobs) + len(asked)
    found: list[Sequence[Row] | None] = []
    for group, is_able in zip(groups, able, strict=True):
        rows = [places[job.id] for job in group] if is_able else []
        found.append(rows if is_able and not _needs_plan(group, rows, queued) else None)
    return found


def _needs_plan(jobs: Sequence[Job], rows: Sequence[Row], queued: int) -> bool:
    is_short = queued <= SHORT
    return any(is_provisional(row) and (is_short or job.spec.finish_by) for job, row in zip(jobs, rows, strict=True))


def admit_all(situation: Situation, jobs: Sequence[Job]) -> Plan:
    """Return a plan with all of the jobs; raise as `admit` for the first that cannot be accepted.

    The jobs of an array, and those without a finish-by, are planned together: that takes one plan and not one for each.
    """
    planned = None
    for _, group in groupby(jobs, key=_told_with):
        together = list(group)
        planned = admit(situation, together, planned)
        situation = replace(situation, jobs=(*situation.jobs, *together))
    return planned or plan(situation)


def _told_with(job: Job) -> str | int | None:
    if job.spec.finish_by is None:
        return None
    return job.spec.array.key if job.spec.array else job.id


def admit(situation: Situation, jobs: Sequence[Job], before: Plan | None = None) -> Plan:
    """Plan the queue with `jobs` added, which share their limits.

    `before` is a plan of the queue without them. It is no last plan: what it starts now is not decided, and yields.

    Raise InvalidJob, saying the smallest change that would do, when one needs more GPUs than there are, when their
    finish-by cannot be met, or when meeting it, or a start at once, would make a job that was accepted earlier miss
    its own.
    """
    for job in jobs:
        _require_devices(situation, job)
    promised = [job for job in jobs if job.spec.finish_by is not None]
    is_urgent = promised or any(job.spec.start_now for job in jobs)  # others give way to those that have a promise
    before = before or (_as_it_stands(situation) if is_urgent else None)
    asked = replace(situation, jobs=(*situation.jobs, *jobs))
    found = _soonest(asked, promised, before) if promised and before else None
    if before and found and found.is_proved and found.end > min(_limits(promised)):
        raise _refused("finish_by", _too_tight(asked, before, promised, found))
    after = plan(asked, places_of(before) if before else None)
    if before and is_urgent and _breaks_a_promise(before, after, situation, promised):
        after = _arranged(before, after, situation, jobs, promised, found)
    if before and not promised and any(_gives_way(after, job.id) for job in jobs):
        _require_no_promise_broken(before, situation, asked)
    return after


def _as_it_stands(situation: Situation) -> Plan:
    """Return the last plan if it knows all jobs that are queued, else a new one."""
    last = situation.last
    return last if last and all(last.reason(job.id) for job in situation.jobs) else plan(situation)


def _limits(promised: Sequence[Job]) -> list[datetime]:
    return [job.spec.finish_by for job in promised if job.spec.finish_by is not None]


def _breaks_a_promise(before: Plan, after: Plan, situation: Situation, promised: Sequence[Job]) -> bool:
    """Whether a new job ends after its finish-by, or a job that was accepted earlier misses a limit for it."""
    if any(_is_late(after, job) for job in promised):
        return True
    return bool(_displaced(before, after, situation, promised))


def _displaced(before: Plan, after: Plan, situation: Situation, promised: Sequence[Job]) -> list[int]:
    """Return the jobs that only now miss a limit where more are missed than before, and those that give way further.

    Whoever starts at once displaces those with a finish-by alone, and a new finish-by everybody.
    """
    jobs = [job for job in situation.jobs if promised or job.spec.finish_by is not None]
    was_late, is_late = _late(before, jobs), _late(after, jobs)
    known = {job.id for job in was_late}
    displaced = [job.id for job in is_late if job.id not in known] if _weights(is_late) > _weights(was_late) else []
    if promised:
        displaced += [job.id for job in jobs if _starts_later(before, after, job.id) and _gives_way(after, job.id)]
    return displaced


def _starts_later(before: Plan, after: Plan, job_id: int) -> bool:
    old, new = before.placement(job_id), after.placement(job_id)
    return old is not None and new is not None and new.start > old.start + timedelta(seconds=1)


def _late(made: Plan, jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if (row := made.placement(job.id)) and row.late]


def _weights(late: Sequence[Job]) -> tuple[int, int]:
    """Count the limits missed, to be compared: a finish-by counts for more than any number of others."""
    promised = sum(job.spec.finish_by is not None for job in late)
    return promised, len(late) - promised


def _gives_way(made: Plan, job_id: int) -> bool:
    """Whether a job that is to start as soon as it can starts later, so that others meet their limits."""
    reason = made.reason(job_id)
    return reason is not None and reason.code is ReasonCode.GIVES_WAY


def _require_no_promise_broken(before: Plan, situation: Situation, asked: Situation) -> None:
    """Raise InvalidJob where a job that was accepted earlier would miss its finish-by for those that start at once."""
    pushed = plan(asked, places_of(before), gives_way=False)
    if displaced := _displaced(before, pushed, situation, ()):
        raise _refused("start_now", _displacing(min(displaced)))


def _arranged(
    before: Plan,
    after: Plan,
    situation: Situation,
    jobs: Sequence[Job],
    promised: Sequence[Job],
    found: SoonestEnd | None,
) -> Plan:
    """Return a plan in which others yield so that all promises are kept; raise InvalidJob where none is found."""
    asked = replace(situation, jobs=(*situation.jobs, *jobs))
    if found and found.end <= min(_limits(promised)):
        after = plan(asked, found.kept)
        if not _breaks_a_promise(before, after, situation, promised):
            return after
    if before is situation.last and before.made_at < situation.now:  # what is missed may be for another reason
        return admit(situation, jobs, plan(situation))
    if not promised:
        raise _refused("start_now", _displacing(min(_displaced(before, after, situation, promised))))
    raise _refused("finish_by", _too_tight(asked, before, promised, found))


def _soonest(asked: Situation, new: Sequence[Job], before: Plan) -> SoonestEnd | None:
    """Return how soon jobs can end; what finish-by they ask for makes no difference, so that advice stays true."""
    return soonest_end(_unlimited(asked, new), [job.id for job in new], before)


def _unlimited(asked: Situation, new: Sequence[Job], duration: timedelta | None = None) -> Situation:
    """Return the situation with these jobs without their finish-by, and with another duration if one is given."""
    ids = {job.id for job in new}
    return replace(asked, jobs=tuple(_without_limit(job, duration) if job.id in ids else job for job in asked.jobs))


def _without_limit(job: Job, duration: timedelta | None) -> Job:
    spec = replace(job.spec, finish_by=None, duration=duration or job.spec.duration)
    return replace(job, spec=spec)


def _require_devices(situation: Situation, job: Job) -> None:
    if job.spec.gpus > len(situation.devices):
        has = count_text(len(situation.devices), "GPU") + (situation.gpus_note and f": {situation.gpus_note}")
        raise _refused("gpus", f"the job needs {count_text(job.spec.gpus, 'GPU')} and this machine has {has}")
    pools = all_pools(situation)  # what is away for a while is refused to nobody
    if job.spec.gpus and not any(pool.suits(job) for pool in pools):
        there = ", ".join(f"{pool.units} x {pool.name}" for pool in pools if pool.kind is not None)
        asked = (
            ("gpu_model", job.spec.gpu_model),
            ("gpu_memory_gib", job.spec.gpu_memory_gib),
            ("shared", job.spec.shared or None),
        )
        field = next((name for name, value in asked if value is not None), "gpus")
        raise _refused(field, f"the job {too_few(job, pools).text}: it has {there}{_about_parts(job, pools)}")
    if not job.spec.gpus and not situation.cpu_slots:
        raise _refused("gpus", "the job needs a CPU slot and [devices] cpu_slots is 0; ask for a GPU, or raise it")
    if job.spec.finish_by is not None and (why := shut_out(job, situation, pools)):
        raise _refused("finish_by", f"no finish-by can be promised, for the job {why.text}")
    if situation.power:
        _require_power(situation, situation.power, job)


def _about_parts(job: Job, pools: Sequence[Pool]) -> str:
    """Say how a job gets a part of a GPU, or a whole one, where that is what it lacks."""
    other = replace(job, spec=replace(job.spec, shared=not job.spec.shared))
    if not any(pool.suits(other) for pool in pools):
        more = any(pool.kind and pool.kind.of_board for pool in pools) and job.spec.gpus > 1
        return "; a job gets a part of one GPU at the most" if more else ""
    return "; leave out --shared for a whole GPU" if job.spec.shared else "; say --shared if a part of a GPU is enough"


def _require_power(situation: Situation, site: SitePower, job: Job) -> None:
    alone = Alone(replace(situation, jobs=(job,), running=()), site, all_pools(situation))
    advice = "ask for fewer GPUs, or state with --power what it draws if that is less"
    if too_much := alone.never_fits(job):
        raise _refused("power_w", f"the job {too_much.text}; {advice}")
    if late := alone.why_late(job):
        field = "finish_by" if job.spec.finish_by is not None else "max_delay"
        raise _refused(field, f"{late}; give it more time, {advice}")


def _have_devices(situation: Situation, jobs: Sequence[Job]) -> bool:
    try:
        for job in jobs:
            _require_devices(situation, job)
    except InvalidJob:
        return False
    return True


def _is_late(planned: Plan, job: Job) -> bool:
    """Whether a job ends after its finish-by, by more than a second's slack; one without a place does not yet."""
    placement, finish_by = planned.placement(job.id), job.spec.finish_by
    return placement is not None and finish_by is not None and placement.end > finish_by + timedelta(seconds=1)


def _displacing(job_id: int) -> str:
    return (
        f"started at once, the job would make job {job_id} miss its finish-by; submit it without --now, so that it "
        f"starts when there is room, or cancel job {job_id}"
    )


def _too_tight(asked: Situation, before: Plan, new: Sequence[Job], found: SoonestEnd | None) -> str:
    """Say how soon the jobs can end, and how long they may be to end by the finish-by that they ask for."""
    finish_by = min(_limits(new))
    last = max(new, key=lambda job: job.spec.duration)
    duration = last.spec.duration
    what = "the job" if len(new) == 1 else f"{len(new)} jobs together"
    takes = f"it takes {duration_text(duration)}" if len(new) == 1 else f"each takes {duration_text(duration)}"
    starts = "can start" if len(new) == 1 else "the last can start"
    sentence = f"{what} cannot finish by {instant_text(finish_by)}: {takes}"
    if found is None:
        return f"{sentence}, and there is no room for it; submit without --finish-by"
    surely = "at the soonest" if found.is_proved else "at the soonest found"
    sentence += (
        f" and {starts} at {instant_text(found.start)} {surely}; "
        f"ask for --finish-by {finish_by_text(found.end, duration)} or later"
    )
    shorter = _shorter(asked, before, new, finish_by, found)
    if shorter is not None:
        most = "at most " if found.is_proved else ""
        sentence += f", or a --duration of {most}{exact_duration_text(shorter)}"
    return f"{sentence}{_not_counted(asked)}"


def _not_counted(asked: Situation) -> str:
    """Say which GPUs nothing is promised on, because nobody knows when they are back."""
    said = [f"{absence.name}, which is {absence.text}" for absence in asked.away.values()]
    return f"; not counted is {' nor '.join(said)}" if said else ""


def _shorter(
    asked: Situation, before: Plan, new: Sequence[Job], finish_by: datetime, found: SoonestEnd
) -> timedelta | None:
    """Return the longest duration with which the jobs are found to end by then; None without any.

    That they end so much earlier leaves time to follow the advice.
    """
    ids = [job.id for job in new]
    if len({job.spec.duration for job in new}) > 1:
        return None
    slack = time_to_follow(new[0].spec.duration)

    def ends(seconds: int) -> bool:
        shorter = timedelta(seconds=seconds)
        return can_end_by(_unlimited(asked, new, shorter), ids, before, finish_by - slack)

    seconds, most = (finish_by - slack - found.start).total_seconds(), new[0].spec.duration.total_seconds()
    low = int(seconds) if 1 <= seconds < most and ends(int(seconds)) else 0
    if low and found.is_proved and found.start <= asked.now:
        return timedelta(seconds=low)  # none that begins later leaves more time
    step = 60 if most > FEW_MINUTES_S else 1
    high = int(most)
    while high - low > step:
        middle = low + max(step, (high - low) // 2 // step * step)
        low, high = (middle, high) if ends(middle) else (low, middle)
    return timedelta(seconds=low) if low else None


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
