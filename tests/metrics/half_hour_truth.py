"""What the books of the scripted half hour say in SQL, and what really happened in it by its script and its physics."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise

from greenrun.core.jobs.reasons import FORCED
from greenrun.metrics import LINGER
from tests.metrics.lab import ANSWER_S, FAILURE_S, GRID, HUNG, MINUTE, PUE, SECOND
from tests.metrics.scraped import AGAIN, ASKED, DEAD, DOWN, END, FIRST, HANGS, NEAR, SILENT, Scraped, error, truth
from tests.world import SLOT, T0, WATTS, Process

GPUS = ("GPU-0", "GPU-1", "GPU-2")
KWH_J = 3.6e6

Told = Mapping[str, float]


# what the books say, in SQL

J = "SELECT {by}, sum(energy_j) FROM slices LEFT JOIN runs ON runs.id = run_id LEFT JOIN jobs ON jobs.id = job_id"
G = (
    "SELECT {by}, sum(emissions_g) FROM ledger JOIN slices ON slices.id = slice_id LEFT JOIN runs ON runs.id = run_id"
    " LEFT JOIN jobs ON jobs.id = job_id WHERE stage = '{stage}' AND {who} AND ledger.at {within} GROUP BY 1"
)
OF_JOBS, OF_NOBODY = "run_id IS NOT NULL", "run_id IS NULL"


def within(at: datetime, since: datetime = FIRST) -> str:
    """What was written after the first scrape and by this one."""
    return f"BETWEEN '{since + SECOND:%FT%H:%M:%S}' AND '{at + SECOND:%FT%H:%M:%S}'"


def joules(half_hour: Scraped, at: datetime, by: str, who: str = "true") -> Told:
    """What was booked of energy between the first scrape and this one."""
    booked = f"slices.id IN (SELECT slice_id FROM ledger WHERE stage = 'booked' AND ledger.at {within(at)})"
    return half_hour.booked(f"{J.format(by=by)} WHERE {who} AND {booked} GROUP BY 1")


def grams(
    half_hour: Scraped, at: datetime, by: str = "jobs.project", who: str = OF_JOBS, stage: str = "booked"
) -> Told:
    """What was priced between the first scrape and this one."""
    return half_hour.booked(G.format(by=by, who=who, stage=stage, within=within(at)))


def events(half_hour: Scraped, at: datetime, kind: str, what: str) -> Told:
    """How many events of a kind there were between the first scrape and this one."""
    return half_hour.booked(
        f"SELECT json_extract(detail, '$.{what}'), count(*) FROM events WHERE kind = '{kind}' AND at {within(at)}"
        " GROUP BY 1"
    )


def whole(told: Told) -> float:
    return sum(told.values())


def mean_intensity(half_hour: Scraped, at: datetime) -> float:
    return whole(grams(half_hour, at)) / (whole(joules(half_hour, at, "1", OF_JOBS)) * PUE / KWH_J)


def nobodys_part(half_hour: Scraped, at: datetime) -> float:
    return whole(joules(half_hour, at, "1", OF_NOBODY)) / whole(joules(half_hour, at, "1"))


def unmeasured(half_hour: Scraped, at: datetime) -> float:
    of = joules(half_hour, at, "slices.quality")
    return sum(used for quality, used in of.items() if quality not in ("measured", "integrated")) / whole(of)


def avoided(half_hour: Scraped, at: datetime) -> Told:
    """By the script: one job was put off to a cleaner hour, and all are compared once the half hour is measured."""
    used_kwh = WATTS.busy * 200 / KWH_J * PUE
    return {"vision": used_kwh * (truth(T0 - SLOT) - truth(T0))} if at >= T0 + AGAIN else {}


def by_run(half_hour: Scraped, at: datetime, of: str) -> Told:
    """What each shown run had used by then, by all that its job is told by."""
    ends = f"BETWEEN '2000' AND '{at + SECOND:%FT%H:%M:%S}'"
    by = "jobs.id || ' job ' || jobs.id || ' ' || jobs.project || ' ada'"
    if of == "grams":
        found = half_hour.booked(G.format(by=by, who=OF_JOBS, stage="booked", within=ends))
    else:
        booked = f"slices.id IN (SELECT slice_id FROM ledger WHERE stage = 'booked' AND ledger.at {ends})"
        found = half_hour.booked(f"{J.format(by=by)} WHERE {OF_JOBS} AND {booked} GROUP BY 1")
    shown = {str(run.job_id) for run in half_hour.lab.world.processes.values() if at - run.ends_at < LINGER}
    return {name: used for name, used in found.items() if name.split()[0] in shown}


# what really happened


def overlap_s(run: Process, since: datetime, until: datetime) -> float:
    return max(0.0, (min(run.ends_at, until) - max(run.started_at, since)) / SECOND)


def watts(half_hour: Scraped, at: datetime) -> dict[str, float]:
    """What each GPU really drew over the last five minutes that are booked."""
    until = booked_until(at)
    drawn = dict.fromkeys(GPUS, WATTS.idle)
    for run in half_hour.lab.world.processes.values():
        extra = 0.0 if half_hour.lab.projects[run.job_id] == HUNG else WATTS.busy - WATTS.idle
        drawn[run.devices[0]] += extra * overlap_s(run, until - 5 * MINUTE, until) / 300
    return drawn


def free_watts(half_hour: Scraped, at: datetime) -> float:
    """What GPUs drew over those minutes while no job held them."""
    until = booked_until(at)
    runs = half_hour.lab.world.processes.values()
    held_s = sum(overlap_s(run, until - 5 * MINUTE, until) for run in runs)
    return WATTS.idle * (len(GPUS) * 300 - held_s) / 300


def booked_until(at: datetime) -> datetime:
    """The end of the last minute that is booked: it is once a reading after it has come, with the next tick."""
    until = (at - timedelta(seconds=5)).replace(second=0, microsecond=0)
    return until if until + timedelta(seconds=10) <= at else until - MINUTE


def states(half_hour: Scraped, at: datetime) -> Told:
    running = len(half_hour.running(at))
    return {"queued": waiting(half_hour, at), "starting": 0, "running": running}


def waiting(half_hour: Scraped, at: datetime) -> int:
    """The job that waits for a cleaner hour and the one that asks for more GPUs than there are never start."""
    return sum(at >= T0 + minutes * MINUTE for minutes in (3, 13))


def waits(half_hour: Scraped, at: datetime) -> list[float]:
    rows = half_hour.booked(
        "SELECT jobs.id, (julianday(min(runs.started_at)) - julianday(submitted_at)) * 86400 FROM runs"
        f" JOIN jobs ON jobs.id = job_id WHERE runs.started_at {within(at)} GROUP BY 1"
    )
    return [max(0.0, wait_s) for wait_s in rows.values()]


def ended(half_hour: Scraped, at: datetime) -> list[Process]:
    return [run for run in half_hour.lab.world.processes.values() if FIRST < run.ends_at <= at]


def lengths(half_hour: Scraped, at: datetime) -> list[float]:
    return [overlap_s(run, FIRST, END) for run in ended(half_hour, at)]


def uses(half_hour: Scraped, at: datetime) -> list[float]:
    return [
        (WATTS.idle if half_hour.lab.projects[run.job_id] == HUNG else WATTS.busy) * overlap_s(run, FIRST, END)
        for run in ended(half_hour, at)
    ]


def emissions(half_hour: Scraped, at: datetime) -> list[float]:
    told_g_per_kwh = truth(T0) + NEAR
    return [used_j / KWH_J * PUE * told_g_per_kwh for used_j in uses(half_hour, at)]


def asked(half_hour: Scraped, at: datetime, *, failed: bool = False) -> Counter[str]:
    """How often each source was asked between the first scrape and this one, by the script."""
    instants = [T0 + number * ASKED for number in range((at - T0) // ASKED + 1)] + [T0 + AGAIN] * (at >= T0 + AGAIN)
    lost = sum(DOWN[0] <= instant - T0 < DOWN[1] for instant in instants)
    return Counter({GRID: 2 * lost}) if failed else Counter({GRID: 2 * len(instants), "marginal": len(instants)})


def failures(half_hour: Scraped, at: datetime) -> Told:
    of, lost = asked(half_hour, at), asked(half_hour, at, failed=True)
    return {name: lost[name] / count for name, count in of.items()}


def answer_times(half_hour: Scraped, at: datetime) -> list[float]:
    of, lost = asked(half_hour, at).total(), 3 * (at > T0 + DOWN[1])  # by this stopwatch, all that was asked for then
    return [ANSWER_S] * (of - lost) + [FAILURE_S] * lost


def read_errors(half_hour: Scraped, at: datetime) -> Told:
    silent = (SILENT[1] - SILENT[0]) / half_hour.lab.sampling
    return {"gap": 1, "unreadable": silent} if at >= T0 + SILENT[1] else {}


def gaps(half_hour: Scraped, at: datetime) -> Told:
    """From the last reading before each gap to the first after it."""
    every_s = half_hour.lab.sampling / SECOND
    dead_s = (DEAD[1] - DEAD[0]) / SECOND + every_s
    silent_s = (SILENT[1] - SILENT[0]) / SECOND + every_s
    return {"gpu": silent_s + len(GPUS) * dead_s, "cpu": dead_s, "dram": dead_s}


def intensity(half_hour: Scraped, at: datetime) -> float:
    return truth(half_hours(at)) + error(half_hours(at), half_hours(heard(at)))


def heard(at: datetime) -> datetime:
    """When the forecast was told that is in use."""
    return T0 + AGAIN if at >= T0 + AGAIN else T0


def half_hours(at: datetime) -> datetime:
    return T0 + (at - T0) // SLOT * SLOT


def ahead(half_hour: Scraped, at: datetime) -> Told:
    begin, found = half_hours(heard(at)), {}
    for hours in (1, 6, 12, 24):
        start = half_hours(at + timedelta(hours=hours))
        found[f"GB {hours}h average_direct"] = truth(start) + error(start, begin)
    return found


def moved(half_hour: Scraped, at: datetime) -> float:
    """How many waiting jobs new plans moved, counted in the plans themselves."""
    plans = [made for since, made in half_hour.lab.plans if FIRST < since <= at]
    pairs = [
        (row, other) for before, after in pairwise(plans)
        for row in before.placements if (other := after.placement(row.job_id)) is not None
    ]  # fmt: skip
    return sum(abs(row.start - other.start) > MINUTE for row, other in pairs)


def gap_ratio(half_hour: Scraped, at: datetime) -> float:
    made = half_hour.plan(at)
    assert made.expected_g is not None
    assert made.bound_g is not None
    return (made.expected_g - made.bound_g) / made.bound_g


def stored(half_hour: Scraped, at: datetime) -> float:
    return sum(FIRST < instant <= at for instant in half_hour.lab.unstored)


def forced(half_hour: Scraped, at: datetime) -> Told:
    """Starts that were confirmed by then, by the reason that their claims had."""
    claims = half_hour.booked(f"SELECT job_id, json_extract(detail, '$.reason') FROM events WHERE kind = 'claimed'"
                              f" AND at {within(at - 10 * SECOND)}")  # fmt: skip
    return Counter(str(reason) for reason in claims.values() if reason in FORCED)


def busy(half_hour: Scraped, at: datetime, gpu: str) -> bool:
    return any(gpu in run.devices and half_hour.lab.projects[run.job_id] != HUNG for run in half_hour.running(at))


def held(half_hour: Scraped, at: datetime) -> int:
    return len({gpu for run in half_hour.running(at) for gpu in run.devices})


def is_noticed(at: datetime) -> bool:
    """Whether the job that does nothing has been noticed, five minutes on."""
    return T0 + HANGS[0] + 6 * MINUTE <= at < T0 + sum(HANGS, timedelta(0))
