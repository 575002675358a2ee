"""How far plans may change: when a plan still holds, and how often a job may be put off past what it was promised.

A plan holds until something happens that it did not foresee. A job's promise, the place of its first plan, is kept in
its placement, so that it comes out of the last plan like everything else that was decided. It is kept by the start of
a job that runs in one piece, and by the end of one that may be suspended.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import Series
from greenrun.core.jobs.dependencies import blocked, crowded_out
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import MOVED, Interval, Placement, Plan, Situation
from greenrun.core.planning.reservation import slipped_in
from greenrun.core.planning.site_limits.reserved import is_same_ahead

MOST_PUT_OFFS = 8  # from then on the last plan's place holds, unless limits or a lack of GPUs forbid it

_HAS_RUN = frozenset({ReasonCode.CHECKPOINTED, ReasonCode.RETRYING, ReasonCode.RETRY_PAUSE})


def promise(job: Job, situation: Situation, place: Interval) -> tuple[Interval | None, int]:
    """Return where a queued job was first planned, and how often it was put off since, now that this is its place.

    It is put off when it ends later than it was first to, and later than the last plan said. A job that is to start at
    once is put off by nobody, however long it waits for GPUs; one that has run since starts over.
    """
    if job.spec.start_now:
        known = situation.last.placement(job.id) if situation.last else None
        return (known.promised if known and known.promised else place), 0
    last = _last_place(job, situation)
    if last is None or last.promised is None:
        return place, 0
    return last.promised, last.put_offs + (place[1] > max(last.end, last.promised[1]) + MOVED)


def pins(
    jobs: Sequence[Job], situation: Situation, lengths_s: Sequence[float], but: Collection[int] = ()
) -> dict[int, float]:
    """Return by index the latest start, in epoch seconds, of each queued job that was put off often enough.

    Those in `but` are left out: their turn has not come yet.
    """
    found = {}
    for row, job in enumerate(jobs):
        if row in but:
            continue
        last = _last_place(job, situation)
        if last is None or last.promised is None or last.put_offs < MOST_PUT_OFFS:
            continue
        start, end = (max(pair).timestamp() for pair in zip((last.start, last.end), last.promised, strict=True))
        found[row] = end - lengths_s[row] if job.spec.interruptible else start
    return found


def _last_place(job: Job, situation: Situation) -> Placement | None:
    """Return the job's last place, unless it has run since or is to start at once."""
    if job.spec.start_now or situation.last is None or has_run_since(job):
        return None
    return situation.last.placement(job.id)


def has_run_since(job: Job) -> bool:
    """Whether a queued job has run since a plan placed it, as its reason says until that of the next plan."""
    return job.reason is not None and job.reason.code in _HAS_RUN


LESS_W = 0.1  # of what was drawn: by how much less has to be drawn before there is another plan
ROUNDING = 1e-9  # a plan that is above its bound by less is at it


def needs_replanning(before: Situation | None, plan: Plan, now: Situation) -> bool:
    """Tell whether `now` differs from what the situation `before` and the plan made of it lead to.

    Reasons to plan again are: jobs that came, left or changed otherwise than by starting as planned; a start that did
    not come about, or that was put off and has slipped; GPUs that are back early or late, or taken by others; another
    outlook, unless the plan is optimal and the outlook is the same for all hours that its jobs may use; other settings.
    """
    if before is None or now.now < before.now:
        return True
    same = (
        (before.forecast is now.forecast or _still_best(before, plan, now))
        and before.options == now.options
        and before.devices == now.devices
        and before.kinds == now.kinds
        and before.elsewhere == now.elsewhere
        and before.away == now.away
        and before.machine_away == now.machine_away
        and is_same_ahead(before.reserved, now.reserved, now.now)
        and (before.states is now.states or before.states == now.states)
        and before.arrivals == now.arrivals
        and before.cpu_slots == now.cpu_slots
        and _same_power(before, now)
        and before.thrifty == now.thrifty
        and (before.withheld is now.withheld or _codes(before) == _codes(now))
    )
    changes = (_queue_changed, _running_changed, _use_changed)
    changed = not same or any(changed(before, plan, now) for changed in changes) or _has_array_room(plan, now)
    return changed or _has_put_off(plan, now)


def _has_put_off(plan: Plan, now: Situation) -> bool:
    """Whether a start has slipped since the plan was made, which put it off: nothing is held for it yet."""
    return any((place := plan.placement(job_id)) and place.start > now.now for job_id in slipped_in(plan, now))


def _same_power(before: Situation, now: Situation) -> bool:
    """Whether the cap is the same, and no more is drawn than the plan was made with, nor much less."""
    old, new = before.power, now.power
    if old is None or new is None or (old.cap, old.host_w, old.limit_w) != (new.cap, new.host_w, new.limit_w):
        return old is new
    shared = [device for device in new.drawn_w if device in old.drawn_w]
    pairs = [(old.base_w(now.devices), new.base_w(now.devices))]
    pairs += [(old.drawn_w[device], new.drawn_w[device]) for device in shared]
    pairs += [(old.seen_w[job_id], own_w) for job_id, own_w in new.seen_w.items() if job_id in old.seen_w]
    pairs += [(0.0, own_w) for job_id, own_w in new.seen_w.items() if job_id not in old.seen_w]
    return all(-LESS_W * before_w <= after_w - before_w <= 0 for before_w, after_w in pairs)


def _codes(situation: Situation) -> dict[int, ReasonCode]:
    """Return why jobs are withheld, without the figures that change all the time."""
    queued = {job.id for job in situation.jobs}
    return {job_id: reason.code for job_id, reason in situation.withheld.items() if job_id in queued}


def _still_best(before: Situation, plan: Plan, now: Situation) -> bool:
    """Whether an optimal plan is still optimal, because everything that matters of the outlook is as it was.

    A job that weighs waiting against starting now does so again as time passes; a longer run needs a new end.
    """
    is_best = plan.gap_ratio is not None and plan.gap_ratio <= ROUNDING and not now.arrivals
    if not is_best or any(_weighs(job, now) for job in _jobs(now)):
        return False
    if any((place := plan.placement(row.job.id)) is None or place.end <= now.now for row in now.running):
        return False
    until = max((job.latest_end(now.options.default_max_delay) for job in _jobs(now)), default=now.now)
    return _same_until(max(until, now.now), now.now, before.forecast, now.forecast)


def _weighs(job: Job, now: Situation) -> bool:
    """Whether the job is asked to start at once where that is clean enough, or waiting gains too little."""
    spec, options = job.spec, now.options
    saving = options.min_saving if spec.min_saving is None else spec.min_saving
    below = options.run_below_g_per_kwh if spec.run_below_g_per_kwh is None else spec.run_below_g_per_kwh
    return bool(saving or below)


def _jobs(now: Situation) -> list[Job]:
    return [*now.jobs, *(row.job for row in now.running)]


def _same_until(until: datetime, start: datetime, before: Series | None, now: Series | None) -> bool:
    """Whether both outlooks reach as far as `until`, and say the same up to there."""
    if before is None or now is None or before.end is None or before.end < until:
        return False
    old, new = before.between(start, until), now.between(start, until)
    return old.kinds == new.kinds and all(
        np.array_equal(left, right)
        for left, right in ((old.starts_s, new.starts_s), (old.ends_s, new.ends_s), (old.values, new.values))
    )


def _queue_changed(before: Situation, plan: Plan, now: Situation) -> bool:
    """A job may be gone because its planned start has come; one whose start has come must be gone."""
    if before.jobs is not now.jobs:  # the same tuple as long as no job has changed
        known = {row.id: terms(row) for row in before.jobs}
        queued = {row.id: terms(row) for row in now.jobs}
        if any(known.get(job_id) != asked for job_id, asked in queued.items()):
            return True
        if any((place := plan.placement(job_id)) is None or place.start > now.now for job_id in known.keys() - queued):
            return True
    overdue = [row.job_id for row in plan.started_by(now.now - now.options.due_grace)]
    return bool(overdue) and not {job.id for job in now.jobs}.isdisjoint(overdue)


def _running_changed(before: Situation, plan: Plan, now: Situation) -> bool:
    """Jobs that may be suspended must be known to the plan, and those that are gone must have been about to end."""
    runs = {row.job.id for row in now.running}
    if any(plan.placement(job_id) is None for job_id in runs):
        return True
    gone = [plan.placement(row.job.id) for row in before.running if row.job.id not in runs]
    return any(place is None or place.end > now.now + now.options.due_grace for place in gone)


def _has_array_room(plan: Plan, now: Situation) -> bool:
    """A job that waits for its turn in its array may have it now."""
    full = {row.job_id for row in plan.waiting if row.reason.code is ReasonCode.ARRAY_FULL}
    if not full:
        return False
    asking = [job for job in now.jobs if job.id in full or plan.placement(job.id)]
    free = [job for job in asking if blocked(job, now.states) is None]
    return not full & {job.id for job in free} <= crowded_out(free, now.arrays).keys()


def terms(job: Job) -> tuple[object, ...]:
    """Return what of a queued job plans go by."""
    return job.spec, job.held, job.cancel_requested, job.progress, job.retry_at, job.requeued_at


def _use_changed(before: Situation, plan: Plan, now: Situation) -> bool:
    """Compare when GPUs and CPU slots are expected back, whichever they are, with what was foreseen."""
    grace = now.options.due_grace
    begun = plan.started_by(now.now)
    others = {job.id for job in now.jobs} | {row.job.id for row in now.running} if begun else ()
    started = [row for row in begun if row.job_id not in others]  # the GPUs of others are not in `busy`
    gpus = [row.end for row in started for _ in range(row.gpus)]
    cpus = [row.end for row in started if not row.gpus]
    return _differ([*_known_ends(before), *gpus], _known_ends(now), now.now, grace) or _differ(
        [*before.cpu_busy, *cpus], now.cpu_busy, now.now, grace
    )


def _known_ends(situation: Situation) -> Sequence[datetime]:
    """When GPUs are expected back; of those that others hold that is not known, it is only when to look again."""
    return [at for device, at in situation.busy.items() if device not in situation.elsewhere]


def _differ(expected: Iterable[datetime], actual: Iterable[datetime], now: datetime, grace: timedelta) -> bool:
    left, right = _later(expected, now + grace), _later(actual, now + grace)
    return len(left) != len(right) or any(abs(a - b) > grace for a, b in zip(left, right, strict=True))


def _later(ends: Iterable[datetime], than: datetime) -> Sequence[datetime]:
    return sorted(end for end in ends if end > than)
