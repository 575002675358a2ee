"""What any plan must satisfy in any situation, checked from the plan and the situation alone."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isnan

from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.runs.durations import expected_length
from greenrun.core.planning.model import Interval, Placement, Plan, Running, Situation
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.units import J_PER_KWH

CLOCK = timedelta(microseconds=3)  # instants are told to the microsecond
WAITS = {ReasonCode.TOO_FEW_GPUS, ReasonCode.NO_CPU_SLOTS, ReasonCode.TOO_MUCH_POWER}


def check(asked: Situation, made: Plan) -> None:
    """Fail unless the plan can be carried out, its figures add up, and every row says why."""
    runs = {run.job.id: run for run in asked.running}
    jobs = {job.id: job for job in asked.jobs} | {key: run.job for key, run in runs.items()}
    told = [row.job_id for row in (*made.placements, *made.waiting)]
    assert sorted(told) == sorted(jobs)
    assert {row.reason.code for row in made.waiting} <= WAITS
    assert all(row.reason.text for row in (*made.placements, *made.waiting))
    assert not [name for name, value in _numbers(made) if isnan(value)]
    assert list(made.placements) == sorted(made.placements, key=lambda row: (row.start, row.job_id))
    for row in made.placements:
        check_times(asked, jobs[row.job_id], row, runs.get(row.job_id))
        check_grams(asked, jobs[row.job_id], row)
    check_capacity(asked, made)
    check_power(asked, made)
    check_sums(asked, made)


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Every float within a value."""
    if isinstance(value, float):
        yield name, value
    elif is_dataclass(value):
        for part in fields(value):
            yield from _numbers(getattr(value, part.name), f"{name}.{part.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}[{key}]")
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item, name)


def check_times(asked: Situation, job: Job, row: Placement, run: Running | None) -> None:
    """A job runs once, for as long as it takes, not before it may; interruptions are paid for and not too frequent."""
    spec, spans = job.spec, row.intervals
    assert (row.start, row.end) == (spans[0][0], spans[-1][1])
    assert row.start >= max(asked.now, job.earliest_start if run is None else asked.now)
    assert all(begin < end for begin, end in spans)
    assert all(after[0] - before[1] > CLOCK for before, after in pairwise(spans))
    assert row.late == job.misses_limit(row.start, row.end)
    goes_on = run is not None and row.start == asked.now
    restarts = len(spans) - (run is None or goes_on)
    wanted = _left(run, asked.now) if run else job.remaining
    ran = sum((end - begin for begin, end in spans), timedelta(0))
    assert abs(ran - wanted - restarts * spec.restart_cost) <= CLOCK * len(spans)
    if not spec.interruptible or spec.start_now:
        assert len(spans) == 1
    check_suspensions(asked, job, spans, run if goes_on else None)
    if run and run.since + spec.min_run > asked.now + CLOCK:
        assert goes_on, "it may not be suspended yet"


def _left(run: Running, now: datetime) -> timedelta:
    return expected_length(run.job.remaining, now - run.since) - (now - run.since)


def check_suspensions(asked: Situation, job: Job, spans: tuple[Interval, ...], run: Running | None) -> None:
    """Every run but the last, which ends the job, lasts its minimum (and the restart, if it is one)."""
    for index, (begin, end) in enumerate(spans[:-1]):
        begun = run.since if run and index == 0 else begin
        restart = job.spec.restart_cost if index else timedelta(0)
        assert end - begun >= min(job.spec.min_run, job.spec.duration) + restart - CLOCK


def check_grams(asked: Situation, job: Job, row: Placement) -> None:
    """A placement's intensity is the mean over its intervals, its grams are that times its energy."""
    forecast = asked.forecast
    means = [forecast.mean(*span) if forecast else None for span in row.intervals]
    lengths = [(end - begin).total_seconds() for begin, end in row.intervals]
    if any(mean is None for mean in means):
        assert row.intensity_g_per_kwh is None
        assert row.expected_g is None
        return
    total = sum(mean * length for mean, length in zip(means, lengths, strict=True) if mean is not None)
    assert row.intensity_g_per_kwh is not None
    assert abs(row.intensity_g_per_kwh - total / sum(lengths)) <= 1e-3
    power_w = job.spec.power_w or (asked.options.gpu_power_w or 0.0) * job.spec.gpus or None
    if power_w is None:
        assert row.expected_g is None
        return
    assert row.expected_g is not None
    assert abs(row.expected_g - power_w * total / J_PER_KWH * asked.options.pue) <= 1e-3


def check_capacity(asked: Situation, made: Plan) -> None:
    """At no instant does a pool hold more than it has."""
    ends = {device: until for device, until in asked.busy.items() if until > asked.now}
    names = {device: _pool(asked, device) for device in asked.devices}
    for pool in {row.pool for row in made.placements}:
        rows = [(row, begin, end) for row in made.placements if row.pool == pool for begin, end in row.intervals]
        for at in [begin for _, begin, _ in rows]:
            live = [row for row, begin, end in rows if begin <= at and end > at + CLOCK]
            if pool == "cpu":
                have = asked.cpu_slots - sum(until > at + CLOCK for until in asked.cpu_busy)
                assert len(live) <= have
                continue
            own = [device for device, name in names.items() if name == pool]
            have = sum(ends.get(device, asked.now) <= at + CLOCK for device in own)
            assert sum(row.gpus for row in live) <= have
    for row in made.placements:
        job = next(one for one in (*asked.jobs, *(run.job for run in asked.running)) if one.id == row.job_id)
        assert (row.pool == "cpu") == (job.spec.gpus == 0)
        assert row.gpus == job.spec.gpus


def check_power(asked: Situation, made: Plan) -> None:
    """At no instant is more planned than the site's power cap leaves, but what runs and cannot be suspended.

    What runs and would never fit again has its place weeks ahead: it is suspended, and is then no more than told of.
    """
    site = asked.power
    if site is None:
        return
    jobs, runs = {job.id: job for job in asked.jobs}, {run.job.id: run for run in asked.running}
    idle = {device: min(site.idle_w.get(device, 0.0), site.limit_w.get(device, 1000.0)) for device in asked.devices}
    rows = [(row, begin, end) for row in made.placements for begin, end in row.intervals if row.gpus]
    edges = [instant(at) for at, *_ in site.caps(asked.now, asked.now + timedelta(days=14))]
    for at in sorted({begin for _, begin, _ in rows if begin < asked.now + timedelta(days=14)} | set(edges)):
        live = [row for row, begin, end in rows if begin <= at and end > at + CLOCK]
        moved = [row for row in live if not _must_go_on(runs.get(row.job_id), at)]
        busy = [device for device, until in asked.busy.items() if until > at + CLOCK]
        drawn = site.host_w + sum(idle.values())
        drawn += sum(site.drawn_w.get(device, site.limit_w.get(device, 1000.0)) - idle[device] for device in busy)
        for row in live:
            own = [device for device in asked.devices if _pool(asked, device) == row.pool]
            job = jobs.get(row.job_id) or runs[row.job_id].job
            stated = site.seen_w.get(job.id, job.spec.power_w)
            limit = max(site.limit_w.get(device, 1000.0) for device in own)
            drawn += max(0.0, (limit * row.gpus if stated is None else stated) - row.gpus * min(map(idle.get, own)))
        cap = site.cap.at(at + CLOCK)
        if cap is not None and moved and any(_draws(site, asked, row, jobs, runs) for row in moved):
            assert drawn <= cap + 1e-2, (at, drawn, cap)


def instant(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _must_go_on(run: Running | None, at: datetime) -> bool:
    return run is not None and run.since + run.job.spec.min_run > at


def _draws(site: SitePower, asked: Situation, row: Placement, jobs: dict[int, Job], runs: dict[int, Running]) -> bool:
    """Whether a job draws more than its GPUs do idle: one that does not is in nobody's way."""
    own = [device for device in asked.devices if _pool(asked, device) == row.pool]
    return site.need_mw(jobs.get(row.job_id) or runs[row.job_id].job, own) > 0


def _pool(asked: Situation, device: str) -> str:
    kind = asked.kinds.get(device)
    if kind is None:
        return "gpu"
    return kind.model if kind.memory_gib is None else f"{kind.model} {kind.memory_gib:g} GiB"


def check_sums(asked: Situation, made: Plan) -> None:
    """The plan's sums are those of its rows, and in order."""
    each = [row.expected_g for row in made.placements]
    known = [value for value in each if value is not None]
    assert (made.expected_g is not None) == (len(known) == len(each))
    if made.expected_g is None:
        assert made.bound_g is None
        return
    assert abs(made.expected_g - sum(known)) <= 1e-6
    slack_g = 1e-6 * made.expected_g + 1e-6
    assert made.bound_g is None or not any(row.late for row in made.placements)
    if made.bound_g is not None:
        assert 0 <= made.bound_g <= made.expected_g + slack_g
