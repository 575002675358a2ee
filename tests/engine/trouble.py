"""What tests of books in trouble share: a deaf meter, and a GPU whose clock a test may set."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Device, GpuUse, Quality, Reading, Slice
from greenrun.core.jobs.job import Outcome, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.engine.bookkeeping import Bookkeeping
from greenrun.engine.engine import Engine
from greenrun.engine.intensities import CarbonIntensities
from greenrun.meters.recent_readings import RecentReadings
from greenrun.store import Store
from tests.world import EMULATED, SLOT, T0, WATTS, World, WorldMeter, new_engine, run_until, spec

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(minutes=5)
POWER_W = 350.0


class Deaf:
    """A meter of the world that lets through only some readings."""

    def __init__(self, meter: WorldMeter, hears: Callable[[Reading], bool]) -> None:
        self._meter = meter
        self._hears = hears

    def devices(self) -> Sequence[Device]:
        return self._meter.devices()

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return [reading for reading in self._meter.read(since) if self._hears(reading)]

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        return {}


def live(store: Store, world: World, end: timedelta, hears: Callable[[Reading], bool] = lambda _: True) -> Engine:
    """Run the world to T0 + `end` with an engine of its own, whose meter may be deaf."""
    tick = TICK if end < 12 * HOUR else SLOT
    engine = new_engine(world, store, Deaf(world.meter(), hears), tick=tick)  # type: ignore[arg-type]
    run_until(world, engine, T0 + end)
    return engine


def submit(store: Store, seconds: float, **more: Any) -> int:
    return store.jobs.add_job(spec(seconds, start_now=True, **more), user="ada", uid=1, now=T0)[0].id


def total_of(store: Store, job: int) -> Total:
    """The total of a job's only run."""
    (run,) = store.runs.of_jobs([job])[job]
    return store.books.run_totals([run.id])[run.id]


def only_energy(energy_j: float) -> Any:
    """A total that shows what is booked and claims no more."""
    return Total(energy_j=pytest.approx(energy_j, rel=1e-9))  # type: ignore[arg-type]


class Hardware:
    """One GPU that draws POWER_W in real time, read by a clock that may be set; and books that a test drives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        (self.device,) = EMULATED.devices("hand", 1, WATTS)
        self.clock, self.used_j = T0, 0.0
        self.ring = RecentReadings()
        self.live: list[Run] = []
        self.intensities = CarbonIntensities(store.grid)
        self.books = Bookkeeping(store, self, self.intensities)

    def devices(self) -> Sequence[Device]:
        return [self.device]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return self.ring.since(since)

    def pass_time(self, duration: timedelta) -> None:
        """Let real time pass, with a reading every second and a tick every thirty."""
        for second in range(int(duration.total_seconds())):
            self.clock += timedelta(seconds=1)
            self.used_j += POWER_W
            self.ring.add([self.reading()])
            if second % 30 == 29:
                self.tick()

    def reading(self) -> Reading:
        return Reading(
            device=self.device.id, at=self.clock, energy_j=self.used_j, quality=Quality.MEASURED,
            counter="boot", session="s",
        )  # fmt: skip

    def tick(self, *ended: Observed) -> None:
        running = [
            Observed(run=run, status=RunStatus(phase=Phase.RUNNING, started_at=run.started_at)) for run in self.live
        ]
        self.books.account([*running, *ended], self.clock)

    def begin(self) -> int:
        job, _ = self.store.jobs.add_job(spec(60), user="ada", uid=1, now=self.clock)
        run = self.store.runs.claim(job.id, [self.device.id], reason=because(ReasonCode.ASKED_NOW), now=self.clock)
        assert run is not None
        self.store.runs.confirm(run.id, started_at=self.clock, log=None, now=self.clock)
        self.live = list(self.store.runs.live_runs())
        return run.id

    def end(self, told: datetime | None = None) -> None:
        """End the run: now, whatever time it is `told` to have been."""
        (run,), ended_at = self.live, told or self.clock
        status = RunStatus(phase=Phase.EXITED, started_at=run.started_at, ended_at=ended_at, exit_code=0)
        self.live = []
        self.tick(Observed(run=run, status=status))
        self.store.runs.close_run(
            run.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=run.started_at, ended_at=ended_at, log=None,
            job_state=State.SUCCEEDED, reason=because(ReasonCode.SUCCEEDED), now=self.clock,
        )  # fmt: skip

    def total(self, run_id: int) -> Total:
        return self.store.books.run_totals([run_id])[run_id]

    def slices(self) -> list[Slice]:
        return [row.slice for row in self.store.books.entries(limit=100_000)]
