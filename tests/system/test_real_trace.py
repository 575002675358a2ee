"""A recorded grid, half an hour a second: what a real daemon does with ten processes, against plans made slowly."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from greenrun.clock import utc_now
from tests.conftest import SHARED, require
from tests.patience import HANGS_S, Watch, until, watching
from tests.system.decisions import Decisions, keep_plans, read_decisions
from tests.system.harness import Daemon, instant, replayed, short_folder
from tests.system.prometheus import Prometheus, scraping
from tests.system.reference import Reserved, Steps, Wanted, best_plan, grams_of, read_rows

CSV = SHARED / "data" / "intensity" / "GB_2020_30min.csv"
AT = datetime(2020, 4, 12, 18, tzinfo=UTC)  # an evening whose windows differ clearly: which is best is beyond doubt
SLOT_S, SLOTS = 1.0, 150
GPUS, BUSY_W = 2, 350.0
T0_S = 4.0  # the first submissions, in seconds after the replay's beginning; later if the machine takes longer
UNLIMITED_DELAY_S = 34.0
EXTRA_S = 0.4  # declared beyond what the process sleeps
PROMPT_S = 0.5  # in seconds that the machine gives, from the instant that a start is due to its claim
FINISHED = {"succeeded", "failed", "cancelled", "expired"}


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A job of the script: when it is submitted, how long it sleeps, and its limits; seconds, most of them from T0."""

    at_s: float = 0.0
    sleep_s: float
    gpus: int = 1
    priority: int = 0
    finish_by_s: float | None = None
    max_delay_s: float | None = None
    start_after_s: float | None = None
    now: bool = False

    @property
    def duration_s(self) -> float:
        return self.sleep_s + EXTRA_S

    def options(self, t0: datetime) -> dict[str, object]:
        """Return the options of `greenrun submit` by long name."""
        said: dict[str, object] = {"gpus": self.gpus, "duration": f"{self.duration_s:g}s", "priority": self.priority}
        if self.finish_by_s is not None:
            said["finish-by"] = (t0 + timedelta(seconds=self.finish_by_s)).isoformat()
        if self.max_delay_s is not None:
            said["max-delay"] = f"{self.max_delay_s:g}s"
        if self.start_after_s is not None:
            said["start-after"] = (t0 + timedelta(seconds=self.start_after_s)).isoformat()
        return said | ({"now": True} if self.now else {})

    def wanted(self, job: int, submitted_s: float, t0_s: float, true_s: float) -> Wanted:
        """Return the same with its limits as instants."""
        earliest_s = max(submitted_s, t0_s + (self.start_after_s or 0.0))
        limits = [earliest_s + UNLIMITED_DELAY_S]
        if self.finish_by_s is not None:
            limits = [t0_s + self.finish_by_s - self.duration_s]
        if self.max_delay_s is not None:
            limits = [submitted_s + self.max_delay_s]
        return Wanted(
            id=job, gpus=self.gpus, duration_s=self.duration_s, true_s=true_s, priority=self.priority,
            submitted_s=submitted_s, earliest_s=earliest_s, latest_s=submitted_s if self.now else min(limits),
        )  # fmt: skip


SCRIPT = (
    Stated(sleep_s=4),
    Stated(sleep_s=2.5, finish_by_s=26),
    Stated(sleep_s=3, gpus=2, max_delay_s=18),
    Stated(sleep_s=3.5, start_after_s=10, max_delay_s=32),
    Stated(sleep_s=2, gpus=2),
    Stated(sleep_s=10, max_delay_s=27),
    Stated(at_s=5, sleep_s=2, now=True),
    Stated(at_s=5.5, sleep_s=4, finish_by_s=36),
    Stated(at_s=9, sleep_s=2, max_delay_s=15, priority=5),
    Stated(at_s=9.5, sleep_s=3, gpus=2, start_after_s=16, finish_by_s=42),
)


class Seen(NamedTuple):
    """What was seen of the day: the trace on the wall clock, when the script began, the plan after it, and the rest."""

    steps: Steps
    t0_s: float
    plan: dict[str, Any]
    decisions: Decisions
    watch: Watch


@dataclass
class Day:
    """The same with what came of it: every job with its run's own records."""

    steps: Steps
    t0_s: float
    plan: dict[str, Any]
    decisions: Decisions
    watch: Watch
    jobs: list[dict[str, Any]]
    spans_s: list[tuple[float, float]]
    settled_g: float
    scraped_g: float
    exposition: bytes


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    require(CSV, "the shared data lie beside this checkout")
    settings = {
        **replayed(CSV, at=AT),
        "planner": {"default_max_delay": f"{UNLIMITED_DELAY_S:g}s"},
        "devices": {"emulated": {"gpus": GPUS, "watts_busy": BUSY_W}},
    }
    with (
        short_folder() as folder,
        Daemon(folder, settings) as daemon,
        scraping(daemon.metrics_address, folder) as prometheus,
        watching() as watch,
    ):
        keep_plans(daemon.state / "greenrun.db")
        steps, ticks = _steps(daemon), set[str]()
        t0 = datetime.fromtimestamp(max(steps.begin_s + T0_S, ceil(utc_now().timestamp() + 1)), UTC)
        plan = _submit_all(daemon, t0)
        until(lambda: _all_ended(daemon, ticks), "all jobs end", 90)
        for job in daemon.client.jobs():
            daemon.booked(job["id"])
        until(lambda: all(_runs_are_settled(job) for job in daemon.client.jobs()), "all is settled")
        ticks_s = [instant(text).timestamp() for text in ticks]
        decisions = read_decisions(daemon.state / "greenrun.db", GPUS, ticks_s)
        yield _seen(daemon, prometheus, Seen(steps, t0.timestamp(), plan, decisions, watch))


def _steps(daemon: Daemon) -> Steps:
    """Find from the slots that the API shows where the trace lies on the wall clock, and take it from the CSV."""
    rows = [row for row in read_rows(CSV) if row[0] >= AT][:SLOTS]
    values = np.array([value for _, value in rows])
    slots = until(lambda: _fresh(daemon), "48 hours ahead, one slot less between a slot's end and the next refresh")
    shown = np.array([slot["g_per_kwh"] for slot in slots])
    starts = range(len(values) - len(shown) + 1)
    fits = [k for k in starts if np.array_equal(values[k : k + len(shown)], shown)]
    assert (rows[0][0], len(fits)) == (AT, 1), "the API shows the CSV's next 48 hours"
    assert {(instant(slot["end"]) - instant(slot["start"])).total_seconds() for slot in slots} == {SLOT_S}
    return Steps(begin_s=instant(slots[0]["start"]).timestamp() - fits[0] * SLOT_S, step_s=SLOT_S, values=values)


def _fresh(daemon: Daemon) -> list[dict[str, Any]] | None:
    """Return the slots that the API shows if the last refresh has come."""
    slots: list[dict[str, Any]] = daemon.client.forecast()["slots"]
    return slots if len(slots) in (95, 96) else None


def _all_ended(daemon: Daemon, ticks: set[str]) -> bool:
    """Whether all jobs have ended; until then write down when it ticked."""
    ticks.add(daemon.client.health()["last_tick_at"])
    return {job["state"] for job in daemon.client.jobs()} <= FINISHED


def _submit_all(daemon: Daemon, t0: datetime) -> dict[str, Any]:
    """Submit the script, its first part as one file; return the plan after the last submission."""
    at_once = [stated for stated in SCRIPT if not stated.at_s]
    path = daemon.folder / "jobs.toml"
    path.write_text("\n".join(line for stated in at_once for line in _job_lines(stated, t0)), encoding="utf-8")
    until(lambda: utc_now() >= t0, "the first submissions' instant")
    assert daemon.cli("submit", "--file", path).code == 0
    for stated in SCRIPT[len(at_once) :]:
        until(lambda at_s=stated.at_s: utc_now() >= t0 + timedelta(seconds=at_s), "the next submission's instant")
        options = [word for name, value in stated.options(t0).items() for word in (f"--{name}", value)]
        daemon.submit(*(word for word in options if word is not True), "--", "sleep", f"{stated.sleep_s:g}")
    until(lambda: len(daemon.client.jobs()) == len(SCRIPT), "all are submitted")
    last = max(instant(job["submitted_at"]) for job in daemon.client.jobs())
    return until(lambda: _whole_plan(daemon, last), "a plan with its bound is made of them all")


def _whole_plan(daemon: Daemon, last: datetime) -> dict[str, Any] | None:
    """Return the plan if it was made after an instant; a place found for a submission alone comes without a bound."""
    plan = daemon.client.plan()
    return plan if instant(plan["made_at"]) > last and plan["bound_g"] is not None else None


def _job_lines(stated: Stated, t0: datetime) -> list[str]:
    values = {name: str(value) for name, value in stated.options(t0).items()}
    return [
        "[[job]]",
        f'command = "sleep {stated.sleep_s:g}"',
        *(f'{name} = "{text}"' for name, text in values.items()),
    ]


def _runs_are_settled(job: dict[str, Any]) -> bool:
    return all(run["emissions_settled_g"] is not None for run in job["runs"])


def _seen(daemon: Daemon, prometheus: Prometheus, seen: Seen) -> Day:
    jobs = daemon.client.jobs()
    ends = [daemon.run_record(f"{job['id']}.1", "exit") for job in jobs]
    settled_g = _settled_g(daemon.state / "greenrun.db")
    query = "sum(greenrun_settled_emissions_grams_total)"
    until(lambda: prometheus.value(query) == pytest.approx(settled_g, rel=1e-9), f"Prometheus answers {settled_g} g")
    return Day(
        **seen._asdict(),
        jobs=jobs,
        spans_s=[(end["started_at"], end["ended_at"]) for end in ends],
        settled_g=settled_g,
        scraped_g=prometheus.value(query) or 0.0,
        exposition=_scrape(daemon.metrics_address),
    )


def _settled_g(database: Path) -> float:
    """Return what the ledger settled for runs, by SQL of our own."""
    query = (
        "SELECT sum(emissions_g) FROM ledger JOIN slices ON slices.id = slice_id"
        " WHERE stage = 'settled' AND run_id IS NOT NULL"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return float(connection.execute(query).fetchone()[0])


def _scrape(address: str) -> bytes:
    connection = HTTPConnection(address, timeout=HANGS_S)
    connection.request("GET", "/metrics")
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_no_job_starts_before_its_plan_allows_it(day: Day) -> None:
    assert {claim.job for claim in day.decisions.claims} == {job["id"] for job in day.jobs}
    assert len(day.decisions.waited()) > len(SCRIPT) / 2  # others start as soon as they are submitted
    assert len(day.decisions.ticks_s) > 3 * len(SCRIPT)
    assert day.decisions.too_early() == []


def test_no_start_that_is_due_waits_for_a_tick(day: Day) -> None:
    decisions = day.decisions
    took_s = {claim.job: decisions.prompt_s(claim, day.watch) - decisions.due_s(claim) for claim in decisions.claims}
    assert {job: seconds for job, seconds in took_s.items() if seconds > PROMPT_S} == {}


def test_the_plan_is_as_clean_as_any_that_the_slow_way_finds_and_its_bound_is_one(day: Day) -> None:
    now_s = instant(day.plan["made_at"]).timestamp()
    queue, running = _at(day, now_s)
    planned_s = {row["job"]: instant(row["start"]).timestamp() for row in day.plan["placements"]}
    assert set(planned_s) == {job.id for job in queue}
    best_s = best_plan(queue, now_s, running, day.steps, GPUS, BUSY_W)
    planned_g, best_g = (grams_of(queue, starts_s, day.steps, BUSY_W) for starts_s in (planned_s, best_s))
    _print_table(day, queue, planned_s, best_s)
    print(f" planned {planned_g:.4f} g, bound {day.plan['bound_g']:.4f} g, the slow way {best_g:.4f} g")
    assert day.plan["expected_g"] == pytest.approx(planned_g, rel=1e-6)
    assert planned_g <= 1.02 * min(best_g, day.plan["start_at_once_g"])  # a priority comes before the last grams
    assert day.plan["bound_g"] <= min(best_g, planned_g) * (1 + 1e-9)
    assert not [row["job"] for row in day.plan["placements"] if row["late"]]


def _at(day: Day, now_s: float) -> tuple[list[Wanted], list[Reserved]]:
    """Return what was queued at an instant, and the GPUs that were taken then, as long as was declared."""
    queue, running = list[Wanted](), list[Reserved]()
    claims = {claim.job: claim for claim in day.decisions.claims}
    for stated, job, (start_s, end_s) in zip(SCRIPT, day.jobs, day.spans_s, strict=True):
        wanted = stated.wanted(job["id"], instant(job["submitted_at"]).timestamp(), day.t0_s, end_s - start_s)
        claim = claims[job["id"]]
        if claim.claimed_s >= now_s:
            queue.append(wanted)
        elif claim.closed_s > now_s:
            known_s = start_s if claim.confirmed_s <= now_s else claim.claimed_s
            running.append((known_s - 1, known_s + stated.duration_s, stated.gpus))
    return queue, running


def _print_table(day: Day, queue: list[Wanted], planned_s: dict[int, float], best_s: dict[int, float]) -> None:
    print("\n job gpus  duration submitted   latest  planned  slow way   (seconds of replay)")
    for job in queue:
        moments = (job.submitted_s, job.latest_s, planned_s[job.id], best_s[job.id])
        told = " ".join(f"{at - day.steps.begin_s:8.2f}" for at in moments)
        print(f"{job.id:4} {job.gpus:4} {job.duration_s:9.1f}  {told}")


def test_every_job_ran_once_and_nobody_was_late(day: Day) -> None:
    assert [job["state"] for job in day.jobs] == ["succeeded"] * len(SCRIPT)
    assert [len(job["runs"]) for job in day.jobs] == [1] * len(SCRIPT)
    claims = {claim.job: day.decisions.prompt_s(claim, day.watch) for claim in day.decisions.claims}
    late = {
        job["id"] for stated, job in zip(SCRIPT, day.jobs, strict=True)
        if job["finish_by"] and claims[job["id"]] + stated.sleep_s > instant(job["finish_by"]).timestamp()
    }  # fmt: skip
    assert late == set()


def test_a_runs_energy_is_the_emulated_watts_between_its_recorded_start_and_exit(day: Day) -> None:
    booked_j = [job["runs"][0]["energy_j"] for job in day.jobs]
    true_j = [BUSY_W * stated.gpus * (end - start) for stated, (start, end) in zip(SCRIPT, day.spans_s, strict=True)]
    assert booked_j == pytest.approx(true_j, rel=0.01)
    graded = {job["runs"][0]["energy_quality"] for job in day.jobs}
    assert graded <= {"emulated", "bridged"}
    assert graded == {"emulated"} or day.watch.whole_late_s > 1.0  # a sampler that sleeps on leaves gaps to bridge


def test_a_runs_grams_are_that_energy_priced_on_the_trace(day: Day) -> None:
    settled_g = [job["runs"][0]["emissions_settled_g"] for job in day.jobs]
    true_g = [
        day.steps.grams(BUSY_W * stated.gpus * (end - start), start, end)
        for stated, (start, end) in zip(SCRIPT, day.spans_s, strict=True)
    ]
    assert settled_g == pytest.approx(true_g, rel=0.01)
    assert [job["runs"][0]["emissions_g"] for job in day.jobs] == pytest.approx(true_g, rel=0.01)


def test_prometheus_answers_with_the_ledgers_settled_total(day: Day) -> None:
    assert day.scraped_g == pytest.approx(day.settled_g, rel=1e-9)
    assert sum(job["runs"][0]["emissions_settled_g"] for job in day.jobs) == pytest.approx(day.settled_g, rel=1e-9)


def test_promtool_finds_nothing_to_say_of_what_was_scraped(day: Day) -> None:
    promtool = require("promtool", "install Debian's package prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=day.exposition, capture_output=True, timeout=HANGS_S, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
