"""A collector of metrics over fakes, empty or with something in every family."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.metrics_core import Metric

from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.ledger import Entry, Priced, Total
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.histogram import FORECAST_ERROR, REQUEST_DURATION, Histogram, JobExemplar, added, bound_of
from greenrun.core.jobs.availability import GpuState, Occupant, used_by
from greenrun.core.jobs.job import Outcome, Run, State
from greenrun.core.planning.model import Plan
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.metrics import Health, MetricsCollector, registry_of
from tests.api.fakes import CPU, GPU, NOW, FakeScheduler, FakeStore, forecast, judged, live_state, placed, stored

SETTLED = "greenrun_settled_emissions_grams_total"


class Scrape:
    """A collector over fakes whose clock can be moved."""

    def __init__(self) -> None:
        self.store, self.scheduler, self.now = FakeStore(), FakeScheduler(), NOW
        self.scheduler.store = self.store
        self.examples: dict[tuple[str, float], JobExemplar] = {}
        self.asking: dict[str, Histogram] = {}
        self.signals: set[Signal] = {Signal.AVERAGE}
        state = replace(
            live_state(self.store, self.scheduler), now=self.clock, examples=lambda: self.examples,
            asking=lambda: self.asking, signals=lambda: self.signals,
        )  # fmt: skip
        self.registry = registry_of(MetricsCollector(self.store, state))

    def clock(self) -> datetime:
        """The fake's present."""
        return self.now

    def value(self, name: str, **labels: str) -> float | None:
        """One sample's value, None when it is absent."""
        return self.registry.get_sample_value(name, labels)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The label sets of a sample name."""
        return [row.labels for family in self.registry.collect() for row in family.samples if row.name == name]

    def count(self, name: str, value: float, **labels: str) -> None:
        """Persist a total as the store does."""
        self.store.counted[name, tuple(sorted(labels.items()))] = value

    def ended(self, job_id: int, **values: float) -> None:
        """Count one value in each of these histograms, as the store does."""
        self.store.books.add_counts(added(values))
        example = {name: JobExemplar(job_id=job_id, value=value, at=NOW) for name, value in values.items()}
        self.examples |= {(name, bound_of(name, row.value)): row for name, row in example.items()}

    def run_job(self, job_id: int, state: State = State.RUNNING, **total: Any) -> None:
        """Keep a job with one run on the GPU, and what the books have of it."""
        outcome = None if state is State.RUNNING else Outcome.SUCCEEDED
        run = Run(
            id=100 + job_id, job_id=job_id, number=1, token="t", devices=(GPU.id,), claimed_at=NOW, outcome=outcome
        )
        self.store.keep(stored(job_id, state, name=f"job {job_id}"))
        self.store.job_runs[job_id] = [run]
        self.store.totals[run.id] = Total(**total)


def busy(scrape: Scrape) -> Scrape:
    """Fill every family."""
    scrape.count("greenrun_energy_joules_total", 5.0, component="gpu", quality="measured")
    scrape.count(SETTLED, 1 / 3, project='a "quoted"\nname')
    scrape.count("greenrun_marginal_emissions_grams_total", 2.0, project="default")
    scrape.count("greenrun_external_energy_joules_total", 3.0, meter="EXTERNAL-1a2b-pdu")
    scrape.count("greenrun_notifications_total", 2.0, hook="ops", result="delivered")
    scrape.ended(job_id=7, greenrun_run_duration_seconds=90.0, greenrun_run_emissions_grams=1e9)
    scrape.store.booked = [
        _slice(device, kind)
        for device, kind in (
            ("GPU-1", Component.GPU),
            ("RAPL-package-0", Component.CPU),
            ("RAPL-package-0-dram", Component.DRAM),
        )
    ]
    scrape.run_job(1, energy_j=3.6e6, quality=Quality.MEASURED, emissions_g=200.0, marginal_g=300.0)
    scrape.store.books.add_counts(
        added({FORECAST_ERROR: 12.5}, (("grid_zone", "GB"), ("horizon", "1h"), ("signal", "average_direct")))
    )
    scrape.asking = {"uk": Histogram(REQUEST_DURATION)}
    scrape.store.keep(stored(2))
    scrape.store.saved = forecast([float(hour) for hour in range(100, 160)])
    scrape.scheduler.quality.latest = [judged()]
    scrape.scheduler.lives = Health(started_at=NOW, last_tick_at=NOW, last_sample_at=NOW)
    occupant = Occupant(pid=42, user="bob", memory_bytes=8 << 30)
    scrape.scheduler.of_gpu = GpuState(absences=(used_by("GPU 0", [occupant]),), occupants=(occupant,))
    scrape.scheduler.latest = Plan(
        made_at=NOW, horizon_end=NOW + timedelta(days=2), placements=(placed(2),), expected_g=110.0, bound_g=100.0
    )
    return scrape


def _slice(device: str, component: Component) -> Entry:
    """What a device has used in the last quarter of an hour, as an entry in the books."""
    used = Slice(
        device=device, component=component, run_id=None, start=NOW - timedelta(minutes=15), end=NOW, energy_j=900.0,
        quality=Quality.MEASURED,
    )  # fmt: skip
    return Entry(slice=used, pue=1.0, booked=Priced())


def families() -> list[Metric]:
    """Every metric family there is, filled."""
    scrape = busy(Scrape())
    state = live_state(scrape.store, scrape.scheduler)
    asked = replace(state, now=scrape.clock, requests=lambda: {"uk": 2}, failures=lambda: {("uk", "Unavailable"): 1},
        dropped=lambda: {("uk", "absurd"): 1}, quota_left=lambda: {"uk": 40},
        asking=lambda: scrape.asking, signals=lambda: [*Signal],
        site_power=lambda: SitePowerState(has_cap=True, cap_w=3000.0, expected_w=2000.0, measured_w=1900.0),
        devices=lambda: [GPU, CPU, replace(CPU, kind=Component.DRAM)])  # fmt: skip
    return list(MetricsCollector(scrape.store, asked).collect())
