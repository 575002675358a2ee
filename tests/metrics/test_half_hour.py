"""Every panel and every recording rule says of a scripted half hour what its books and its script say.

A real Prometheus has scraped it; `tests/metrics/scraped.py` has the script. A query without a judgement here fails.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from math import inf
from platform import python_version

import pytest

from greenrun import __version__
from greenrun.core.histogram import (
    BOUNDS,
    JOB_DEFERRAL,
    PLAN_DURATION,
    REQUEST_DURATION,
    RUN_DURATION,
    RUN_EMISSIONS,
    RUN_ENERGY,
)
from greenrun.core.jobs.job import Anomaly
from tests.metrics import half_hour_truth as true
from tests.metrics.dashboards import Query, queries
from tests.metrics.half_hour_truth import GPUS, KWH_J, OF_JOBS, OF_NOBODY, Told, whole
from tests.metrics.lab import GRID, HUNG, MINUTE, PLAN_S, PUE, SECOND
from tests.metrics.scraped import DEAD, END, FAR, FIRST, NEAR, Scraped, recorded, scraped
from tests.metrics.scripted_gpus import DRAM_W, LIMIT_W, MEMORY, PACKAGE_W
from tests.world import T0, WATTS

pytestmark = [pytest.mark.system, pytest.mark.slow]

ALMOST = 0.02  # increase() reaches a scrape further than what was scraped
EXACT = 1e-6
BUSY = T0 + 20 * MINUTE  # two jobs run then, one of which hangs, and two wait

Judge = Callable[[Scraped, datetime, Told], None]


@pytest.fixture(scope="module")
def half_hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    with scraped(tmp_path_factory.mktemp("half-hour")) as found:
        yield found


def says(expected: Callable[[Scraped, datetime], Told], rel: float = EXACT) -> Judge:
    """Judge that each series has the value that the books or the script have, and that there is no other but zeros."""

    def judge(half_hour: Scraped, at: datetime, told: Told) -> None:
        wanted = expected(half_hour, at)
        assert told.keys() >= wanted.keys()
        assert dict(told) == pytest.approx({**dict.fromkeys(told, 0.0), **wanted}, rel=rel, abs=1e-9)

    return judge


def one(expected: Callable[[Scraped, datetime], float], rel: float = EXACT) -> Judge:
    """Judge a query that has one number and no label."""
    return says(lambda half_hour, at: {"": expected(half_hour, at)}, rel)


def quantile(q: float, name: str, values: Callable[[Scraped, datetime], Sequence[float]]) -> Judge:
    """Judge that a quantile is in the bucket of the value which has that part of the others below it."""

    def judge(half_hour: Scraped, at: datetime, told: Told) -> None:
        known, bounds = sorted(values(half_hour, at)), (0.0, *BOUNDS[name], inf)
        assert len(known) > 2
        there = known[max(0, -int(-q * len(known) // 1) - 1)]
        low, high = next(pair for pair in pairwise(bounds) if pair[0] < max(there, 1e-9) <= pair[1])
        for value in told.values():
            assert low <= value <= high

    return judge


def per_lead(near: float, far: float) -> Judge:
    return says(lambda *_: {"GB 0-24h uk average_direct": near, "GB 24-48h uk average_direct": far})


def each_gpu(value: Callable[[Scraped, datetime, str], float]) -> Judge:
    return says(lambda half_hour, at: {gpu: value(half_hour, at, gpu) for gpu in GPUS})


PANELS: Mapping[str, Sequence[Judge]] = {
    "Alerts": [one(lambda *_: 0.0)],  # tests/metrics/test_alerts.py tells of those that fire
    "Jobs running": [one(lambda half_hour, at: len(half_hour.running(at)))],
    "Jobs waiting": [one(true.waiting)],
    "GPUs held": [one(lambda half_hour, at: true.held(half_hour, at) / len(GPUS))],
    "Limits at risk": [one(lambda half_hour, at: float(at >= T0 + 13 * MINUTE))],
    "Power": [one(lambda half_hour, at: whole(true.watts(half_hour, at)) + PACKAGE_W + DRAM_W)],
    "Jobs that are not finished": [says(true.states)],
    "Why jobs wait": [says(lambda *_: {"cleanest_window": 1, "too_few_gpus": 1})],
    "Jobs that ended, per hour": [says(lambda half_hour, at: true.events(half_hour, at, "finished", "state"), ALMOST)],
    "Waits before the first start": [quantile(0.5, JOB_DEFERRAL, true.waits), quantile(0.9, JOB_DEFERRAL, true.waits)],
    "Run times": [quantile(0.5, RUN_DURATION, true.lengths), quantile(0.9, RUN_DURATION, true.lengths)],
    "Limits missed and forced starts, per hour": [
        one(lambda half_hour, at: sum(at > T0 + minutes * MINUTE for minutes in (17, 20)), ALMOST),
        says(true.forced, ALMOST),
    ],
    "Anomalies of jobs": [
        says(lambda half_hour, at: {**dict.fromkeys(Anomaly, 0.0), Anomaly.GPU_IDLE: float(true.is_noticed(at))})
    ],
    "Distance from the best plan possible": [one(true.gap_ratio)],
    "Changes of the plan, per hour": [one(true.moved, ALMOST), one(true.moved, ALMOST)],  # each was later than promised
    "Time that plans take": [quantile(0.9, PLAN_DURATION, lambda half_hour, at: [PLAN_S] * len(half_hour.lab.plans))],
    "Jobs that ended badly": [
        one(
            lambda half_hour, at: (found := true.events(half_hour, at, "finished", "state"))["failed"] / whole(found),
            ALMOST,
        )
    ],
    "GPUs": [one(lambda *_: len(GPUS)), one(lambda *_: len(GPUS)), one(true.held)],
    "Failed readings, per hour": [says(true.read_errors, ALMOST)],
    "Meter samplers that were replaced, per hour": [one(lambda half_hour, at: 2.0 * (at >= T0 + DEAD[1]), ALMOST)],
    "Power of GPUs that no job holds": [one(true.free_watts)],
    "Utilisation of GPUs": [each_gpu(lambda half_hour, at, gpu: 0.95 * true.busy(half_hour, at, gpu))],
    "Power of GPUs": [each_gpu(lambda half_hour, at, gpu: WATTS.busy if true.busy(half_hour, at, gpu) else WATTS.idle)],
    "Power of GPUs beside their limits": [
        each_gpu(lambda half_hour, at, gpu: (WATTS.busy if true.busy(half_hour, at, gpu) else WATTS.idle) / LIMIT_W)
    ],
    "Memory of GPUs in use": [each_gpu(lambda *_: MEMORY)],
    "Temperature of GPUs": [each_gpu(lambda _, __, gpu: 40.0 + GPUS.index(gpu))],
    "Active forecast": [says(lambda *_: {"GB fresh": 1.0})],
    "Age of forecasts": [says(lambda _, at: {"GB uk": (at - true.heard(at)) / SECOND})],
    "How far forecasts reach": [says(lambda _, at: {"GB uk": 48 * 3600 - (at - true.half_hours(at)) / SECOND})],
    "Requests to sources, per hour": [says(true.asked, ALMOST)],
    "Requests without a usable answer": [says(true.failures, ALMOST)],
    "Requests left in the quota": [says(lambda half_hour, at: {GRID: half_hour.lab.grid.left(at)})],
    "Time that sources take to answer": [quantile(0.9, REQUEST_DURATION, true.answer_times)],
    "Time since signs of life": [one(lambda *_: 0.0), one(lambda *_: 0.0)],
    "Free space on the disk of the database": [one(lambda *_: 0.5)],
    "Writes that failed, per hour": [one(true.stored, ALMOST)],
    "Versions": [says(lambda *_: {f"{python_version()} unknown {__version__}": 1.0})],
    "Energy of jobs": [one(lambda half_hour, at: whole(true.joules(half_hour, at, "1", OF_JOBS)) / KWH_J, ALMOST)],
    "Emissions of jobs": [one(lambda half_hour, at: whole(true.grams(half_hour, at)), ALMOST)],
    "Settled emissions of jobs": [one(lambda half_hour, at: whole(true.grams(half_hour, at, stage="settled")), ALMOST)],
    "Mean intensity of that energy": [one(true.mean_intensity, ALMOST)],
    "Energy that no job used": [one(true.nobodys_part, ALMOST)],
    "PUE": [one(lambda *_: PUE)],
    "Emissions of jobs, per hour": [says(true.grams, ALMOST)],
    "Settled emissions of jobs, per day": [
        says(lambda half_hour, at: true.grams(half_hour, at, stage="settled"), ALMOST)
    ],
    "Emissions while no job held a device, per hour": [
        says(lambda half_hour, at: true.grams(half_hour, at, "slices.component", OF_NOBODY), ALMOST)
    ],
    "Power by component": [
        says(lambda half_hour, at: {"gpu": whole(true.watts(half_hour, at)), "cpu": PACKAGE_W, "dram": DRAM_W})
    ],
    "Energy of jobs, per hour": [
        says(
            lambda half_hour, at: {
                name: used / KWH_J for name, used in true.joules(half_hour, at, "jobs.project", OF_JOBS).items()
            },
            ALMOST,
        )
    ],
    "Power that no job used": [one(lambda half_hour, at: true.free_watts(half_hour, at) + PACKAGE_W + DRAM_W)],
    "Power by GPU": [says(true.watts)],
    "Power by processor package": [says(lambda *_: {"package-0": PACKAGE_W}), says(lambda *_: {"package-0": DRAM_W})],
    "Power by how it is known": [
        says(
            lambda half_hour, at: {
                name: used / 3600 for name, used in true.joules(half_hour, at, "slices.quality").items()
            },
            ALMOST,
        )
    ],
    "Share that is not measured": [one(true.unmeasured, ALMOST)],
    "Time without samples, per hour": [says(true.gaps, ALMOST)],
    "Energy of runs": [quantile(0.5, RUN_ENERGY, true.uses), quantile(0.9, RUN_ENERGY, true.uses)],
    "Emissions of runs": [quantile(0.5, RUN_EMISSIONS, true.emissions), quantile(0.9, RUN_EMISSIONS, true.emissions)],
    "Jobs that run, and that ended lately: energy": [says(lambda half_hour, at: true.by_run(half_hour, at, "joules"))],
    "Jobs that run, and that ended lately: emissions": [
        says(lambda half_hour, at: true.by_run(half_hour, at, "grams"))
    ],
    "Avoided against starting at once, per day": [says(true.avoided, ALMOST)],
    "Carbon intensity now": [says(lambda half_hour, at: {"GB average_direct": true.intensity(half_hour, at)})],
    "Forecast intensity": [says(true.ahead)],
    "Error of forecasts": [per_lead(NEAR, FAR)],
    "Bias of forecasts": [per_lead(NEAR, FAR)],
    "What following forecasts was worth": [per_lead(1.0, 1.0)],  # what is off by the same amount is in the same order
    "Marginal emissions of jobs, per day": [
        says(lambda half_hour, at: true.grams(half_hour, at, stage="marginal"), ALMOST)
    ],
    "Error of forecasts, hour by hour": [
        says(lambda *_: {"GB 1h average_direct": NEAR, "GB 24h average_direct": FAR}, ALMOST)
    ],
}

RULES: Mapping[str, str] = {  # which panel shows it, and with it is judged
    "instance:greenrun_power_watts:sum_rate5m": "Power",
    "instance:greenrun_unattributed_power_watts:sum_rate5m": "Power that no job used",
    "project:greenrun_emissions_grams_per_second:rate1h": "Emissions of jobs, per hour",
    "instance:greenrun_estimated_energy:ratio_rate1h": "Share that is not measured",
    "provider:greenrun_grid_request_failures:ratio_rate1h": "Requests without a usable answer",
    "instance:greenrun_job_failures:ratio_increase6h": "Jobs that ended badly",
    "project:greenrun_avoided_emissions_grams:increase1d": "Avoided against starting at once, per day",
}


def numbered() -> list[tuple[int, Query]]:
    """Each query with its place among those of its panel."""
    seen: defaultdict[str, int] = defaultdict(int)
    found = []
    for query in queries():
        found.append((seen[query.panel], query))
        seen[query.panel] += 1
    return found


def test_every_query_of_the_dashboards_and_every_rule_is_judged() -> None:
    assert {name: len(judges) for name, judges in PANELS.items()} == Counter(query.panel for query in queries())
    shown = {query.panel: query.text for query in queries()}
    assert RULES.keys() == recorded().keys()
    assert [name for name, panel in RULES.items() if name not in shown[panel]] == []


@pytest.mark.parametrize("at", [BUSY, END], ids=["while jobs run", "at the end"])
@pytest.mark.parametrize(("number", "query"), numbered(), ids=lambda value: getattr(value, "panel", value))
def test_a_panel_says_what_the_books_and_the_script_say(
    half_hour: Scraped, number: int, query: Query, at: datetime
) -> None:
    PANELS[query.panel][number](half_hour, at, half_hour.asked(query.text, at))


ZEROS = {  # what is nothing all the time, and why
    "Alerts": "rules are judged without them",
    "Distance from the best plan possible": "a single job that waits has the best place there is",
    "Time since signs of life": "scrapes and ticks fall together",
}


def test_the_script_gives_each_panel_something_to_say(half_hour: Scraped) -> None:
    silent = {
        query.panel for query in queries()
        if not any(any(half_hour.asked(query.text, at).values()) for at in (BUSY, END))
    }  # fmt: skip
    assert silent == ZEROS.keys()


def test_all_energy_that_is_booked_is_what_the_devices_drew(half_hour: Scraped) -> None:
    """So the books, by which panels are judged, are judged by physics."""
    (booked_j,) = true.joules(half_hour, END, "1").values()
    until, since = true.booked_until(END), true.booked_until(FIRST)
    whole_s = (until - since) / SECOND
    extra_j = sum(
        (WATTS.busy - WATTS.idle) * true.overlap_s(run, since, until)
        for run in half_hour.lab.world.processes.values()
        if half_hour.lab.projects[run.job_id] != HUNG
    )
    assert booked_j == pytest.approx(whole_s * (3 * WATTS.idle + PACKAGE_W + DRAM_W) + extra_j, rel=1e-9)
