"""A month under virtual time: the real engine, books and store, on GPUs whose driver is reloaded and that get lost.

`make test-long` lives through all of it; other runs live through some days of it, which the seed chooses.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path

from greenrun.core.carbon.intensity import Forecast, Kind, Series, Slot
from greenrun.core.energy.model import Reading
from greenrun.core.jobs.job import JobSpec
from greenrun.core.planning.model import Options
from greenrun.engine.engine import Engine
from greenrun.meters.emulation.power_model import Charge, Counters
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.run_folders import RunSpan
from greenrun.store import Store
from tests.sampling import EFFORT, dice
from tests.world import SLOT, T0, WATTS, World, WorldMeter, new_engine, spec

MONTH_DAYS, MONTH_JOBS = 30, 2000
ROUND_DAYS = 3  # in each so many days, every kind of mishap comes
DAYS = (ROUND_DAYS, ROUND_DAYS, MONTH_DAYS)[EFFORT]
FIRST_DAY = timedelta(days=ROUND_DAYS * dice("month").randrange((MONTH_DAYS - DAYS) // ROUND_DAYS + 1))
END = T0 + timedelta(days=DAYS)  # the days that are lived through begin at T0
WARM = T0 + timedelta(hours=1)  # by then each GPU was seen at work and at rest, so that a gap can be split as it was
GPUS, PUE = 2, 1.3
SAMPLING = timedelta(seconds=10)  # the longest pause that is no gap
OPTIONS = Options(gpu_power_w=WATTS.busy, due_grace=timedelta(minutes=1), pue=PUE)


@dataclass(frozen=True, kw_only=True)
class Mishap:
    """From an instant on: a driver reload (at once over), a GPU that is lost for a while, a daemon that is away."""

    kind: str
    at: datetime
    lasts: timedelta = timedelta(0)
    device: int = 0


@dataclass(kw_only=True)
class Month(World):
    """The world over a month. Forecasts are off by up to a third; what is told in `lost` reads nothing."""

    lost: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    before_reloads_j: float = 0.0

    @property
    def used_j(self) -> float:
        """What all GPUs really used, by the physics alone, up to when they were last read."""
        return self.before_reloads_j + fsum(charge.energy_j for charge in self.counters.charges.values())

    def load(self, now: datetime) -> Mapping[str, Sequence[RunSpan]]:
        """Return the spans that matter now: those that ended within the hour, and those to come."""
        recent = now - timedelta(hours=1)
        spans: dict[str, list[RunSpan]] = {}
        for process in list(self.processes.values())[-50:]:
            if process.ends_at >= recent:
                for device in process.devices:
                    spans.setdefault(device, []).append(RunSpan(process.started_at, process.ends_at))
        return spans

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the next day, each slot off by a factor that is its own for each issue."""
        perfect = super().forecast(zone, now)
        first = (now - T0) // SLOT
        slots = [
            Slot(
                slot.start,
                slot.end,
                slot.intensity_g_per_kwh * random.Random(first * 10_007 + at).uniform(0.7, 1.3),
                slot.kind,
            )
            for at, slot in enumerate(list(perfect.series)[:48])
        ]
        return Forecast(series=Series.of(perfect.series.id, slots), fetched_at=now, issued_at=slots[0].start)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return measured values as the world does, without looking at the whole month each time."""
        first, last = max(0, (start - T0) // SLOT), min(len(self.values), -((T0 - min(end, now)) // SLOT))
        at = [T0 + number * SLOT for number in range(first, last)]
        slots = [Slot(each, each + SLOT, self.values[(each - T0) // SLOT], Kind.MEASURED) for each in at]
        return Series.of(self._id(zone), [slot for slot in slots if slot.end <= now])

    def reload(self) -> None:
        """The driver is reloaded: every counter begins anew, at 0."""
        self.before_reloads_j = self.used_j
        number = int(self.counters.name.split("-")[1]) + 1
        charges = {device.id: Charge(at=self.now, energy_j=0.0) for device in self.devices}
        self.counters = Counters(name=f"boot-{number}", charges=charges)

    def meter(self) -> "MonthMeter":
        """A new sampler process."""
        return MonthMeter(self)


class MonthMeter(WorldMeter):
    """Leaves out the readings of a GPU while it is lost; its counter goes on."""

    _month: Month

    def __init__(self, month: Month) -> None:
        super().__init__(month)
        self._month = month

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return the readings after `since`."""
        self.sample()
        return self._month.sampled.since(since)

    def sample(self) -> None:
        """Read as the sampler does on its own clock."""
        month = self._month
        rows = self._backend.sample() or ()
        month.sampled.add(row for row in rows if not any(row.device == d and a <= row.at < b for d, a, b in month.lost))


def intensities(seed: int = 7) -> list[float]:
    """Half-hourly values with a daily wave and weather, in g/kWh, for some days more than are lived through."""
    rng, weather, values = random.Random(seed), 0.0, []
    for slot in range((MONTH_DAYS + 3) * 48):
        weather = 0.98 * weather + rng.gauss(0, 12)
        wave = 90 if 34 <= slot % 48 <= 42 else -60 if 20 <= slot % 48 <= 30 else 0
        values.append(max(5.0, 230 + wave + weather))
    first = FIRST_DAY // SLOT
    return values[first : first + (DAYS + 3) * 48]


def jobs(seed: int = 11) -> list[tuple[datetime, JobSpec, str]]:
    """Return when each job is submitted, the job and its user: one at once, others from WARM till the last half day."""
    rng, found = random.Random(seed), list[tuple[datetime, JobSpec, str]]()
    for number in range(MONTH_JOBS):
        at = T0 + timedelta(seconds=rng.uniform(0, (MONTH_DAYS - 0.5) * 86_400)) - FIRST_DAY
        kind = rng.random()
        one = spec(
            rng.choice([90, 600, 1200, 2400]) + rng.randint(0, 59),
            gpus=2 if kind > 0.93 else 1,
            exit_code=1 if rng.random() < 0.05 else 0,
            retries=int(rng.random() < 0.3),
            name=f"train {number % 17}",
            project=f"project {number % 7}",
            start_now=kind < 0.6,
            max_delay=None if kind < 0.6 else timedelta(hours=rng.choice([2, 8])),
        )
        found.append((at, one, f"user {number % 5}"))
    first = (T0, spec(600, gpus=GPUS, name="train 0", project="project 0", start_now=True), "user 0")
    return [
        first,
        *sorted((row for row in found if WARM <= row[0] < END - timedelta(hours=12)), key=lambda row: row[0]),
    ]


def mishaps(seed: int = 5) -> list[Mishap]:
    """Return two driver reloads, two losses and a restart or two of the daemon for every three days."""
    rng, found = random.Random(seed), []
    for day in range(0, MONTH_DAYS, ROUND_DAYS):
        instants = [T0 - FIRST_DAY + timedelta(days=day, minutes=rng.uniform(5, 3 * 1440 - 60)) for _ in range(6)]
        found += [Mishap(kind="reload", at=at) for at in instants[:2]]
        minutes = [timedelta(minutes=rng.uniform(0.5, 30)) for _ in range(4)]
        found += [Mishap(kind="lost", at=instants[n], lasts=minutes[n - 2], device=rng.randrange(GPUS)) for n in (2, 3)]
        found += [Mishap(kind="restart", at=instants[4], lasts=minutes[2]), Mishap(kind="restart", at=instants[5])]
    return sorted((mishap for mishap in found if WARM <= mishap.at < END), key=lambda mishap: mishap.at)


class Life:
    """The daemon's month: ticks when the engine asks for it, samples in between, mishaps when they come."""

    def __init__(self, store: Store) -> None:
        self.month = Month(intensities(), gpus=GPUS)
        self._store = store
        self._jobs, self._mishaps = jobs(), mishaps()
        self._meter, self._engine = self._begin()

    def live(self) -> None:
        """Live through the month, and on until everything has ended and is settled."""
        month = self.month
        while month.now < END:
            self._meet_mishaps()
            self._submit()
            edge = T0 + ((month.now - T0) // SLOT + 1) * SLOT
            if month.now == edge - SLOT:
                self._engine.refresh(month.now)
            later = self._engine.tick(month.now)
            next_job = self._jobs[0][0] if self._jobs else END
            next_mishap = self._mishaps[0].at if self._mishaps else END
            self._sample_until(max(month.now, min(later, edge, next_job, next_mishap, END)))
        for _ in range(48):
            self._sample_until(month.now + SLOT)
            self._engine.refresh(month.now)
            self._engine.tick(month.now)

    def _begin(self) -> tuple[MonthMeter, Engine]:
        self.month.sampled = RecentReadings()
        meter = self.month.meter()
        return meter, new_engine(self.month, self._store, meter, options=OPTIONS, tick=SLOT)

    def _meet_mishaps(self) -> None:
        month = self.month
        while self._mishaps and self._mishaps[0].at <= month.now:
            mishap = self._mishaps.pop(0)
            if mishap.kind == "reload":
                self._meter.sample()
                month.reload()
                self._meter = month.meter()
                self._engine = new_engine(month, self._store, self._meter, options=OPTIONS, tick=SLOT)
            elif mishap.kind == "lost":
                month.lost = [*month.lost[-8:], (month.devices[mishap.device].id, month.now, month.now + mishap.lasts)]
            else:
                month.now += mishap.lasts  # nobody samples meanwhile
                self._meter, self._engine = self._begin()
                self._engine.refresh(month.now)

    def _submit(self) -> None:
        while self._jobs and self._jobs[0][0] <= self.month.now:
            _, one, user = self._jobs.pop(0)
            self._store.jobs.add_job(one, user=user, uid=1, now=self.month.now)

    def _sample_until(self, instant: datetime) -> None:
        month = self.month
        while month.now + SAMPLING < instant:
            month.now += SAMPLING
            self._meter.sample()
        month.now = max(instant, month.now)


def lived(path: Path) -> tuple[Store, Month]:
    """Return the store of a month that was lived through, and the world it was lived in."""
    store = Store(path)
    life = Life(store)
    life.live()
    return store, life.month
