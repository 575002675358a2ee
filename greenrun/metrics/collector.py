"""The collector behind /metrics: computed at each scrape from the store and the daemon's memory.

Totals come from the store, which persists them, so a restart continues them. What is not known is absent, never 0.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from pathlib import PurePath
from threading import Lock
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.mean_power import LATEST, OVER
from greenrun.core.energy.model import BOOKED, Slice
from greenrun.core.histogram import CounterKey, JobExemplar
from greenrun.core.jobs.access import Sharing
from greenrun.core.jobs.job import Anomaly, Job, Outcome, Run, State
from greenrun.core.jobs.reasons import FORCED, ReasonCode
from greenrun.core.planning.model import Placement, Plan, Waiting
from greenrun.metrics.budgets import budget_metrics
from greenrun.metrics.devices import OTHER, device_metrics, meter_metrics
from greenrun.metrics.forecast_quality import quality_metrics
from greenrun.metrics.from_zero import FromZero
from greenrun.metrics.grid import grid_metrics, request_metrics
from greenrun.metrics.histograms import duration_metrics, error_metrics, histogram_metrics
from greenrun.metrics.live import (
    anomaly_metrics,
    condition_metrics,
    gauge,
    liveness_metrics,
    plan_metrics,
    power_limit_metrics,
)
from greenrun.metrics.power import power_metrics, site_power_metrics
from greenrun.metrics.state import LiveState

log = structlog.get_logger("greenrun.metrics")

MAX_PROJECTS = 16  # several totals of each: with 8 running jobs all series together stay below 500
MAX_RUNNING_JOBS = 50
# Jobs without a place in the plan whose turn comes with another job, or when their user lets them go.
TAKE_THEIR_TURN = (
    ReasonCode.WAITS_FOR,
    ReasonCode.ARRAY_FULL,
    ReasonCode.GPU_QUOTA,
    ReasonCode.CANCEL_REQUESTED,
    ReasonCode.HELD,
)
BOOKED_EACH = timedelta(minutes=1)  # energy is booked up to a whole minute, which may just not be over
LINGER = timedelta(minutes=10)  # two scrape intervals at the least, so that a job's last change is scraped

FINISHED_AS = (*(row.value for row in Outcome if row is not Outcome.CHECKPOINTED), State.EXPIRED.value)

TOTALS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "greenrun_energy_joules_total": ("Energy used by the metered devices (IT energy).", ("component", "quality")),
    "greenrun_energy_gap_seconds_total": (
        "Time over which a device was not sampled, whether a counter bridges it or not; of two devices both count.",
        ("component",),
    ),
    "greenrun_job_energy_joules_total": ("Energy used by jobs (IT energy).", ("project",)),
    "greenrun_unattributed_energy_joules_total": ("Energy used by devices that was no job's.", ("component",)),
    "greenrun_emissions_grams_total": (
        "CO2e of jobs, location-based average, PUE included, booked with the best intensity known at the time.",
        ("project",),
    ),
    "greenrun_settled_emissions_grams_total": (
        "CO2e of jobs, location-based average, PUE included, booked once with the measured intensity; lags.",
        ("project",),
    ),
    "greenrun_unattributed_emissions_grams_total": (
        "CO2e of devices that was no job's, booked as greenrun_emissions_grams_total is.",
        ("component",),
    ),
    "greenrun_unattributed_settled_emissions_grams_total": (
        "CO2e of devices that was no job's, booked as greenrun_settled_emissions_grams_total is.",
        ("component",),
    ),
    "greenrun_settled_baseline_emissions_grams_total": (
        "CO2e that compared jobs would have emitted, each run started as soon as it could on the same GPUs; settled. "
        "Of all runs, also of failed and cancelled ones, which the avoided emissions of reports leave out.",
        ("project",),
    ),
    "greenrun_compared_emissions_grams_total": (
        "CO2e of the same slices as greenrun_settled_baseline_emissions_grams_total, as they were; settled.",
        ("project",),
    ),
    "greenrun_marginal_emissions_grams_total": (
        "CO2e of jobs by a marginal signal, PUE included: by grid.marginal as measured, which lags; where the only "
        "source is marginal, booked with the best known at the time. Never part of another total.",
        ("project",),
    ),
    "greenrun_settled_marginal_emissions_grams_total": (
        "CO2e of jobs by the only source, a marginal one, PUE included, booked once with the measured intensity; lags.",
        ("project",),
    ),
    "greenrun_priced_facility_energy_joules_total": (
        "Energy of jobs with the facility's overhead (PUE) whose CO2e is in greenrun_emissions_grams_total: "
        "both together make the mean intensity.",
        ("project",),
    ),
    "greenrun_unpriced_energy_joules_total": (
        "Energy booked (IT energy) for which no average intensity was known: its CO2e is in no "
        "greenrun_emissions_grams_total.",
        ("component",),
    ),
    "greenrun_external_energy_joules_total": (
        "Energy that meters outside this host's drivers counted; what else is metered is part of it, so never add it.",
        ("meter",),
    ),
    "greenrun_jobs_submitted_total": ("Jobs accepted.", ()),
    "greenrun_jobs_finished_total": ("Jobs that ended, by how they did.", ("outcome",)),
    "greenrun_deadlines_missed_total": ("Jobs that did not keep a limit their user had set.", ()),
    "greenrun_anomalies_total": ("Anomalies that began, by rule.", ("rule",)),
    "greenrun_notifications_total": (
        "Notifications by hook: delivered, given up after many tries, or dropped because too many waited.",
        ("hook", "result"),
    ),
    "greenrun_forced_starts_total": ("Starts for which no cleaner hour could be chosen, by why.", ("reason",)),
}
_BY_SIGNAL: Mapping[Signal, frozenset[str]] = {  # without a source of that signal 0 would be a lie
    Signal.AVERAGE: frozenset(
        {
            "greenrun_emissions_grams_total",
            "greenrun_priced_facility_energy_joules_total",
            "greenrun_settled_emissions_grams_total",
            "greenrun_unattributed_emissions_grams_total",
            "greenrun_unattributed_settled_emissions_grams_total",
            "greenrun_settled_baseline_emissions_grams_total",
            "greenrun_compared_emissions_grams_total",
        }
    ),
    Signal.MARGINAL: frozenset(
        {"greenrun_marginal_emissions_grams_total", "greenrun_settled_marginal_emissions_grams_total"}
    ),
}
_ABSENT_AT_FIRST = frozenset({"greenrun_external_energy_joules_total", *chain(*_BY_SIGNAL.values())})
_FROM_ZERO: Mapping[str, Sequence[str]] = {
    "component": BOOKED,
    "outcome": FINISHED_AS,
    "project": ("default",),
    "reason": FORCED,
    "rule": tuple(Anomaly),
}

Labels = tuple[tuple[str, str], ...]


def registry_of(collector: Collector) -> CollectorRegistry:
    """Return a new registry with this collector alone, without process or platform metrics."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


class CountedJobs(Protocol):
    """The jobs, as metrics show them."""

    def jobs(self, states: Sequence[State] = ()) -> Sequence[Job]:
        """Return jobs in these states, by id."""

    def job_counts(self) -> Mapping[State, int]:
        """Return how many jobs are in each state; a state without jobs is absent."""


class LiveRuns(Protocol):
    """The runs that go on."""

    def live_runs(self) -> Sequence[Run]:
        """Return the runs without an outcome, by id."""


class Totals(Protocol):
    """What the books add up to."""

    def counters(self) -> Mapping[CounterKey, float]:
        """Return the persisted monotonic totals by metric name and sorted labels."""

    def slices_since(self, since: datetime) -> Sequence[Slice]:
        """Return the slices that ended after this, also one over an outage that began before."""

    def running_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return what these runs have used and emitted so far, but for what is settled."""


class MetricsStore(Protocol):
    """What a scrape reads of the store; each call raises StoreError."""

    @property
    def jobs(self) -> CountedJobs: ...

    @property
    def runs(self) -> LiveRuns: ...

    @property
    def books(self) -> Totals: ...


class MetricsCollector(Collector):
    """Answers scrapes. Safe to call from several threads.

    A part that fails loses its own series, says so in `greenrun_scrape_collector_success`, and is logged once.
    """

    def __init__(self, store: MetricsStore, state: LiveState) -> None:
        self._store = store
        self._state = state
        self._projects: list[str] = ["default"]
        self._shown: dict[int, tuple[datetime, Job]] = {}
        self._runs: dict[int, int] = {}  # the last run of each job that is shown
        self._lock = Lock()
        self._from_zero: dict[str, FromZero] = {}  # of each part, from when it was first collected
        self._failing: set[str] = set()

    def warm(self) -> None:
        """Do in advance what the first scrape would wait for: sum what runs have used so far."""
        self.collect()

    def collect(self) -> Iterable[Metric]:
        """Return every family as it is now."""
        with self._lock:
            families: list[Metric] = []
            text = "Whether this part of the metrics could be collected; where it could not, its series are missing."
            success = GaugeMetricFamily("greenrun_scrape_collector_success", text, labels=("collector",))
            for name, part in self._parts().items():
                found = self._collected(name, part)
                families += found or ()
                success.add_metric((name,), float(found is not None))
            return [*families, success]

    def _parts(self) -> Mapping[str, Callable[[], Iterable[Metric]]]:
        """Return what is collected, each apart; what several need of the store is read once, by the first of them."""
        state, totals, live = self._state, cache(self._store.books.counters), cache(self._store.runs.live_runs)
        return {
            "about": self._about,
            "devices": lambda: device_metrics(state, live(), totals()),
            "power": self._power,
            "site_power": lambda: site_power_metrics(state.site_power()),
            "totals": lambda: self._totals(totals()),
            "histograms": lambda: chain(histogram_metrics(totals(), self._examples()), error_metrics(totals())),
            "durations": lambda: duration_metrics(state),
            "grid": lambda: grid_metrics(state),
            "requests": lambda: request_metrics(state),
            "forecast_quality": lambda: quality_metrics(state),
            "jobs": lambda: self._jobs(live()),
            "running_jobs": lambda: self._running(live()),
            "anomalies": lambda: anomaly_metrics(state),
            "power_limits": lambda: power_limit_metrics(state),
            "budgets": lambda: budget_metrics(state),
            "conditions": lambda: condition_metrics(state),
            "liveness": lambda: liveness_metrics(state),
            "meters": lambda: meter_metrics(state),
        }

    def _collected(self, name: str, part: Callable[[], Iterable[Metric]]) -> list[Metric] | None:
        """Return the families of a part; None if it fails, whatever it fails at: the others are scraped anyway."""
        try:
            found = list(part())
        except Exception as exc:
            if name not in self._failing:
                log.error("a part of the metrics cannot be collected", collector=name, exc_info=exc)
            self._failing.add(name)
            return None
        self._failing.discard(name)
        return self._from_zero.setdefault(name, FromZero())(found, self._state.now())

    def _about(self) -> Iterator[Metric]:
        state = self._state
        about = {"version": state.version, "revision": state.revision, "python_version": platform.python_version()}
        build = InfoMetricFamily("greenrun_build", "What this daemon was built from.")
        build.add_metric((), about)
        yield build
        yield gauge("greenrun_pue_ratio", "Facility energy per IT energy, as configured.", state.pue)

    def _power(self) -> Iterator[Metric]:
        now = self._state.now()
        return power_metrics(self._store.books.slices_since(now - OVER - LATEST - BOOKED_EACH), now)

    def _totals(self, totals: Mapping[tuple[str, Labels], float]) -> Iterator[Metric]:
        absent = _ABSENT_AT_FIRST.difference(*(_BY_SIGNAL[signal] for signal in self._state.signals()))
        known = {value for _, pairs in totals for label, value in pairs if label == "project"}
        projects = {self._label("project", value) for value in sorted(known)}
        from_zero = {
            name: _from_zero(labels, sorted(projects)) for name, (_, labels) in TOTALS.items() if name not in absent
        }
        sums = {name: dict.fromkeys(from_zero.get(name, ()), 0.0) for name in TOTALS}
        for (name, pairs), value in totals.items():
            if name in TOTALS:
                key = self._key(TOTALS[name][1], dict(pairs))
                sums[name][key] = sums[name].get(key, 0.0) + value
        for name, (text, labels) in TOTALS.items():
            family = CounterMetricFamily(name, text, labels=labels)
            for key, value in sums[name].items():
                family.add_metric(key, value)
            yield family

    def _key(self, labels: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(self._label(label, values.get(label, "")) for label in labels)

    def _label(self, label: str, value: str) -> str:
        """Return the label's value, or `other` for a project beyond the first MAX_PROJECTS seen."""
        if label != "project" or value in self._projects:
            return value
        if len(self._projects) >= MAX_PROJECTS:
            return OTHER
        self._projects.append(value)
        return value

    def _examples(self) -> Mapping[tuple[str, float], JobExemplar]:
        return {} if self._state.others is Sharing.PRIVATE else self._state.examples()

    def _jobs(self, live: Sequence[Run]) -> Iterator[Metric]:
        counts = self._store.jobs.job_counts()
        jobs = GaugeMetricFamily("greenrun_jobs", "Jobs in the store, by state.", labels=("state",))
        for state in State:
            jobs.add_metric((state.value,), counts.get(state, 0))
        plan, running = self._state.plan(), {run.job_id for run in live}
        rows: list[Placement | Waiting] = [*plan.placements, *plan.waiting]
        reasons = [row.reason for row in rows if row.job_id not in running]
        waiting = GaugeMetricFamily("greenrun_jobs_waiting", "Queued jobs, by why they wait.", labels=("reason",))
        for code, count in Counter(reason.code for reason in reasons).items():
            waiting.add_metric((code.value,), count)
        yield from (jobs, waiting)
        yield from plan_metrics(plan, self._state.plan_changes(), self._state.put_offs(), self._unplaced(plan))

    def _unplaced(self, plan: Plan) -> int:
        """Return how many jobs with a limit of their user's have no place in a plan, for another reason than a wish."""
        ids = {row.job_id for row in plan.waiting if row.reason.code not in TAKE_THEIR_TURN}
        queued = self._store.jobs.jobs((State.QUEUED,)) if ids else ()
        return sum(job.id in ids and job.has_limit and not job.held for job in queued)

    def _running(self, live: Sequence[Run]) -> Iterator[Metric]:
        jobs, dropped = ([], 0) if self._state.others is Sharing.PRIVATE else self._jobs_to_show()
        self._runs = {job.id: self._runs.get(job.id, 0) for job in jobs} | {run.job_id: run.id for run in live}
        totals = self._store.books.running_totals([self._runs[job.id] for job in jobs])
        info = InfoMetricFamily("greenrun_running_job", "A job that runs, or ended in the last minutes.")
        energy = _by_job("greenrun_running_job_energy_joules", "Energy of a running job's present run so far.")
        text = "CO2e of a running job's present run so far, booked as greenrun_emissions_grams_total is."
        grams = _by_job("greenrun_running_job_emissions_grams", text)
        text = "CO2e of a running job's present run so far by a marginal signal, where that is the only one."
        marginal = _by_job("greenrun_running_job_marginal_emissions_grams", text)
        for job in jobs:
            info.add_metric((), _job_labels(job, shows_commands=self._state.others is Sharing.OPEN))
            total = totals.get(self._runs[job.id])
            if total and total.energy_j is not None:
                energy.add_metric((str(job.id),), total.energy_j)
            if total and total.emissions_g is not None:
                grams.add_metric((str(job.id),), total.emissions_g)
            if total and total.marginal_g is not None:
                marginal.add_metric((str(job.id),), total.marginal_g)
        yield from (info, energy, grams, marginal)
        text = "Running jobs that are left out of greenrun_running_job_*, which shows a bounded number."
        yield gauge("greenrun_running_job_series_dropped", text, dropped)

    def _jobs_to_show(self) -> tuple[list[Job], int]:
        """Return at most MAX_RUNNING_JOBS that run or ran within LINGER, and how many running ones are left out."""
        now, running = self._state.now(), list(self._store.jobs.jobs((State.RUNNING,)))
        shown = running[:MAX_RUNNING_JOBS]
        self._shown |= {job.id: (now, job) for job in shown}
        self._shown = {job_id: row for job_id, row in self._shown.items() if now - row[0] <= LINGER}
        ids = {job.id for job in running}
        lately = [job for job_id, (_, job) in self._shown.items() if job_id not in ids]
        return [*shown, *lately[: MAX_RUNNING_JOBS - len(shown)]], len(running) - len(shown)


def _from_zero(labels: tuple[str, ...], projects: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the label sets that exist before anything happened, so that the first event is an increase from 0.

    Those of a project exist from its first submission on.
    """
    if not labels:
        return [()]
    if len(labels) > 1:
        return []
    own = dict.fromkeys([*_FROM_ZERO[labels[0]], *projects]) if labels == ("project",) else _FROM_ZERO[labels[0]]
    return [(value,) for value in own]


def _job_labels(job: Job, *, shows_commands: bool) -> dict[str, str]:
    # The whole command line stays out: it may hold secrets, and whoever scrapes keeps it for long.
    name = job.spec.name or (PurePath(job.spec.command[0]).name if shows_commands else f"job {job.id}")
    return {"job_id": str(job.id), "job_name": name, "project": job.spec.project, "user": job.user}


def _by_job(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("job_id",))
