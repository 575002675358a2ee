"""Clocks that are set back, devices that vanish, late values: the books say less then, never something untrue."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun import accounting
from greenrun.accounting import KNOWN_FOR, Books, Observed
from greenrun.core.energy import Device, Quality, Reading, Slice
from greenrun.core.errors import ProviderUnavailable
from greenrun.core.intensity import Forecast, Kind, Series, SeriesId, slots_of
from greenrun.core.job import Outcome, Run, State
from greenrun.core.ledger import Total
from greenrun.core.plan import Options
from greenrun.core.reasons import ReasonCode, because
from greenrun.core.status import Phase, RunStatus
from greenrun.core.units import emissions_g
from greenrun.engine import Engine
from greenrun.meters.history import History
from greenrun.store import Store
from tests.world import EMULATED, SLOT, T0, WATTS, World, WorldMeter, new_engine, open_store, run_until, spec

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(minutes=1)
POWER_W = 350.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


class Deaf:
    """A meter of the world that lets through only some readings."""

    def __init__(self, meter: WorldMeter, hears: Callable[[Reading], bool]) -> None:
        self._meter = meter
        self._hears = hears

    def devices(self) -> Sequence[Device]:
        return self._meter.devices()

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return [reading for reading in self._meter.read(since) if self._hears(reading)]


def live(store: Store, world: World, end: timedelta, hears: Callable[[Reading], bool] = lambda _: True) -> Engine:
    """Run the world to T0 + `end` with an engine of its own, whose meter may be deaf."""
    engine = new_engine(world, store, Deaf(world.meter(), hears), tick=TICK)  # type: ignore[arg-type]
    run_until(world, engine, T0 + end)
    return engine


def submit(store: Store, seconds: float, **more: Any) -> int:
    return store.add_job(spec(seconds, start_now=True, **more), user="ada", uid=1, now=T0)[0].id


def total_of(store: Store, job: int) -> Total:
    """The total of a job's only run."""
    (run,) = store.runs([job])[job]
    return store.run_totals([run.id])[run.id]


def only_energy(energy_j: float) -> Any:
    """A total that shows what is booked and claims no more."""
    return Total(energy_j=pytest.approx(energy_j, rel=1e-9))  # type: ignore[arg-type]


# --- a part of a run that no slice covers


def test_a_run_whose_device_fell_silent_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 3600)
    live(store, world, 6 * HOUR, lambda reading: reading.at < T0 + 10 * MINUTE)
    booked_j = sum(row.slice.energy_j or 0.0 for row in store.entries(job_id=job))
    assert total_of(store, job) == only_energy(booked_j)
    assert 0 < booked_j < world.true_energy_j(job) / 5


def test_a_run_whose_device_was_first_read_late_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 3600)
    live(store, world, 3 * HOUR, lambda reading: reading.at >= T0 + 30 * MINUTE)
    assert total_of(store, job) == only_energy(POWER_W * 1800)


def test_a_run_of_which_one_gpu_vanished_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=2), submit(store, 3600, gpus=2)
    gone = world.devices[1].id
    live(store, world, 30 * MINUTE, lambda reading: reading.device != gone or reading.at <= T0 + 10 * MINUTE)
    assert (total_of(store, job).quality, total_of(store, job).emissions_g) == (Quality.UNKNOWN, None)
    live(store, world, 3 * HOUR, lambda reading: reading.device != gone)
    assert total_of(store, job) == only_energy(POWER_W * (3600 + 600))


def test_a_gpu_that_comes_back_with_its_counter_completes_its_runs(store: Store) -> None:
    world, job = World([300] * 200, gpus=2), submit(store, 3600, gpus=2)
    gone = world.devices[1].id
    away = (T0 + 10 * MINUTE, T0 + 30 * HOUR)
    live(store, world, 31 * HOUR, lambda reading: reading.device != gone or not away[0] <= reading.at < away[1])
    total = total_of(store, job)
    assert total.quality is Quality.BRIDGED
    assert total.energy_j == pytest.approx(world.true_energy_j(job), rel=1e-6)
    assert total.settled_g == pytest.approx(emissions_g(world.true_energy_j(job), 300), rel=1e-6)


def test_a_gpu_that_comes_back_with_another_counter_leaves_what_it_missed_unknown(store: Store) -> None:
    world = World([300] * 200, gpus=1)
    missed, later = submit(store, 3600), submit(store, 3600, start_after=T0 + 3 * DAY)
    live(store, world, 10 * MINUTE)
    live(store, world, 2 * DAY, lambda _: False)
    world.counters.name = "boot-2"
    live(store, world, 3 * DAY + 2 * HOUR)
    assert (total_of(store, missed).quality, total_of(store, missed).settled_g) == (Quality.UNKNOWN, None)
    assert total_of(store, later).energy_j == pytest.approx(POWER_W * 3600, rel=1e-9)
    assert total_of(store, later).settled_g == pytest.approx(emissions_g(POWER_W * 3600, 300), rel=1e-9)


def test_a_last_reading_that_is_late_leaves_a_run_unknown_only_until_it_comes(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 1800)
    silent = (T0 + 25 * MINUTE, T0 + 45 * MINUTE)
    deaf = new_engine(world, store, Deaf(world.meter(), lambda one: world.now < silent[0]), tick=TICK)  # type: ignore[arg-type]
    run_until(world, deaf, silent[1])
    assert (total_of(store, job).quality, total_of(store, job).emissions_g) == (Quality.UNKNOWN, None)
    live(store, world, 50 * MINUTE)
    assert total_of(store, job).energy_j == pytest.approx(POWER_W * 1800, rel=1e-9)
    assert total_of(store, job).settled_g == pytest.approx(emissions_g(POWER_W * 1800, 300), rel=1e-9)


def test_a_device_that_vanished_keeps_nothing_in_memory_and_nobody_waiting(store: Store) -> None:
    world = World([300] * 500, gpus=2)
    gone, since = world.devices[1].id, list[datetime]()
    asked = store.holds
    store.holds = lambda instant: (since.append(instant), asked(instant))[1]  # type: ignore[method-assign]
    engine = live(store, world, 5 * DAY, lambda reading: reading.device != gone or reading.at <= T0 + MINUTE)
    (known,) = engine._books._known.values()
    assert since[-1] > T0 + 5 * DAY - 2 * TICK
    assert known.start is not None
    assert known.start >= world.now - KNOWN_FOR - SLOT


# --- the clock


def test_a_clock_set_back_between_two_runs_stops_nothing(store: Store) -> None:
    """The second run of a GPU seems to start before the first had ended."""
    world = World([300] * 20, gpus=1)
    first, second = submit(store, 60), submit(store, 600)
    other = store.add_job(spec(60, gpus=0, start_now=True), user="ada", uid=1, now=T0)[0].id
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    engine.tick(world.now)
    world.now = T0 + timedelta(seconds=61)
    begin = world.start

    def start_later(run: Run, job: Any) -> None:
        world.now -= timedelta(seconds=5)
        begin(run, job)

    world.start = start_later  # type: ignore[method-assign]
    engine.tick(world.now)
    run_until(world, engine, T0 + HOUR)
    assert {store.job(job).state for job in (first, second, other)} == {State.SUCCEEDED}
    assert total_of(store, first).energy_j == pytest.approx(POWER_W * 60, rel=1e-9)
    assert total_of(store, second).emissions_g is None
    assert engine._books.failures == {"overlap": 1} or engine._books.failures["overlap"] >= 1


def test_a_device_that_cannot_be_booked_keeps_no_other_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    world, cut = World([300] * 20, gpus=2), accounting.cut
    bad = world.devices[0].id

    def fails(mark: Any, rows: Sequence[Reading], *others: Any) -> Any:
        if rows[0].device == bad:
            raise ValueError("two runs hold it at the same time")
        return cut(mark, rows, *others)

    monkeypatch.setattr(accounting, "cut", fails)
    job = submit(store, 1800, gpus=2)
    engine = live(store, world, HOUR)
    assert store.job(job).state is State.SUCCEEDED
    assert {row.slice.device for row in store.entries()} == {world.devices[1].id}
    assert engine._books.failures["cut"] > 1
    monkeypatch.undo()
    live(store, world, 2 * HOUR)
    assert {row.slice.device for row in store.entries()} == {device.id for device in world.devices}


class Hardware:
    """One GPU that draws POWER_W in real time, read by a clock that may be set; and books that a test drives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        (self.device,) = EMULATED.devices("hand", 1, WATTS)
        self.clock, self.used_j = T0, 0.0
        self.ring = History()
        self.live: list[Run] = []
        self.books = Books(store, self)  # type: ignore[arg-type]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return self.ring.since(since)

    def pass_time(self, duration: timedelta) -> None:
        """Let real time pass, with a reading every second and a tick every ten."""
        for second in range(int(duration.total_seconds())):
            self.clock += timedelta(seconds=1)
            self.used_j += POWER_W
            self.ring.add([self.reading()])
            if second % 10 == 9:
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
        job, _ = self.store.add_job(spec(60), user="ada", uid=1, now=self.clock)
        run = self.store.claim(job.id, [self.device.id], reason=because(ReasonCode.ASKED_NOW), now=self.clock)
        assert run is not None
        self.store.confirm(run.id, started_at=self.clock, log=None, now=self.clock)
        self.live = list(self.store.live_runs())
        return run.id

    def end(self) -> None:
        (run,) = self.live
        status = RunStatus(phase=Phase.EXITED, started_at=run.started_at, ended_at=self.clock, exit_code=0)
        self.live = []
        self.tick(Observed(run=run, status=status))
        self.store.close_run(
            run.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=run.started_at, ended_at=self.clock, log=None,
            job_state=State.SUCCEEDED, reason=because(ReasonCode.SUCCEEDED), now=self.clock,
        )  # fmt: skip

    def total(self, run_id: int) -> Total:
        return self.store.run_totals([run_id])[run_id]

    def slices(self) -> list[Slice]:
        return [row.slice for row in self.store.entries(limit=100_000)]


def test_when_the_clock_is_set_back_an_hour_booking_goes_on_and_nobody_gets_that_hours_energy(store: Store) -> None:
    gpu = Hardware(store)
    gpu.pass_time(30 * MINUTE)
    before = gpu.begin()
    gpu.pass_time(10 * MINUTE)
    gpu.end()
    across = gpu.begin()
    gpu.pass_time(20 * MINUTE)
    gpu.clock -= HOUR
    gpu.pass_time(5 * MINUTE)
    gpu.end()
    after = gpu.begin()
    gpu.pass_time(90 * MINUTE)
    gpu.end()
    gpu.pass_time(MINUTE)
    assert gpu.total(before).energy_j == POWER_W * 600
    assert gpu.total(before).quality is Quality.MEASURED
    assert (gpu.total(across).quality, gpu.total(across).emissions_g) == (Quality.UNKNOWN, None)
    assert gpu.total(after).energy_j == pytest.approx(POWER_W * 5400, rel=1e-9)
    assert gpu.total(after).quality is Quality.MEASURED
    assert gpu.books.failures == Counter(clock=1)


def test_a_run_that_began_just_before_the_clock_was_set_back_never_looks_complete(store: Store) -> None:
    """Its start lies ahead of the clock: once that has come round, every second of it seems to be booked."""
    gpu = Hardware(store)
    gpu.pass_time(HOUR)
    run = gpu.begin()
    gpu.pass_time(timedelta(seconds=20))
    gpu.clock -= HOUR
    gpu.pass_time(90 * MINUTE)
    gpu.end()
    assert (gpu.total(run).quality, gpu.total(run).emissions_g, gpu.total(run).settled_g) == (
        Quality.UNKNOWN, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "steps", [[-3600], [-3600, -1800], [-70], [-30], [-5, -5], [3600, -3600], [-3600, 7200, -90_000]]
)
def test_however_the_clock_is_set_no_energy_is_booked_twice_or_in_no_time(store: Store, steps: list[int]) -> None:
    gpu = Hardware(store)
    gpu.pass_time(20 * MINUTE)
    for step in steps:
        gpu.begin()
        gpu.pass_time(4 * MINUTE)
        gpu.clock += timedelta(seconds=step)
        gpu.pass_time(4 * MINUTE)
        gpu.end()
    gpu.pass_time(HOUR + 10 * MINUTE)
    energies = [(piece.energy_j or 0.0, (piece.end - piece.start).total_seconds()) for piece in gpu.slices()]
    booked_j = sum(energy_j for energy_j, _ in energies)
    assert 0.5 * gpu.used_j < booked_j <= gpu.used_j * (1 + 1e-9)
    assert max(energy_j - POWER_W * seconds for energy_j, seconds in energies) <= POWER_W * 71


def test_marks_in_the_future_do_not_stop_the_books_and_are_told_once(store: Store) -> None:
    """As when a clock was a day ahead, and was put right while the daemon was down."""
    world = World([300] * 20, gpus=1)
    live(store, world, 5 * MINUTE)
    marks = [replace(mark, at=mark.at + DAY) for mark in store.marks().values()]
    store.append_slices([], marks, now=world.now)
    job = store.add_job(spec(3600, start_after=T0 + 10 * MINUTE), user="ada", uid=1, now=T0)[0].id
    engine = live(store, world, 3 * HOUR)
    assert engine._books.failures == Counter(clock=1)
    assert total_of(store, job).settled_g == pytest.approx(emissions_g(POWER_W * 3600, 300), rel=1e-9)


# --- prices


class Live(World):
    """A live grid: measured values are preliminary at first, final a day later, and every question is written down."""

    settle_after = DAY
    hole: tuple[datetime, datetime] | None = None
    down = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[timedelta] = []

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        self.asked.append(now - start)
        if self.down:
            raise ProviderUnavailable("the world's history does not answer")
        final = super().history(zone, start, end, now)
        slots = [
            slot if now >= slot.end + self.settle_after else replace(slot, intensity_g_per_kwh=7.0)
            for slot in final
            if self.hole is None or not self.hole[0] <= slot.start < self.hole[1]
        ]
        return Series.of(final.id, slots)


def settled(store: Store, job: int) -> set[float | None]:
    """The settled intensities of a job's slices; None where one is not settled."""
    return {row.settled and row.settled.intensity_g_per_kwh for row in store.entries(job_id=job)}


def test_live_values_settle_with_what_is_said_a_day_past_their_slots_end(store: Store) -> None:
    world, job = Live([300] * 200, gpus=1), submit(store, 3600)
    live(store, world, DAY + 20 * MINUTE)
    assert settled(store, job) == {None}
    live(store, world, DAY + 3 * HOUR)
    assert settled(store, job) == {300}


def test_a_value_that_nobody_confirmed_settles_nothing(store: Store) -> None:
    world, job = Live([300] * 200, gpus=1), submit(store, 1800)
    engine = live(store, world, 40 * MINUTE)
    world.down = True
    run_until(world, engine, T0 + DAY + 3 * HOUR)
    assert settled(store, job) == {None}
    world.down = False
    run_until(world, engine, T0 + DAY + 5 * HOUR)
    assert settled(store, job) == {300}


def test_values_are_confirmed_hourly_and_a_hole_is_not_asked_for_for_ever(store: Store) -> None:
    world, job = Live([300] * 1000, gpus=1), submit(store, 3600)
    world.hole = (T0, T0 + HOUR)
    live(store, world, 2 * DAY)
    far = [back for back in world.asked if back > SLOT + MINUTE]
    assert (max(world.asked), len(far)) == (2 * DAY, pytest.approx(48, abs=2))
    assert settled(store, job) == {None}
    assert {
        row.settled is not None for row in store.entries(limit=10_000) if T0 + HOUR <= row.slice.start < T0 + 20 * HOUR
    } == {True}
    world.asked.clear()
    run_until(world, new_engine(world, store, world.meter(), tick=6 * HOUR), T0 + 17 * DAY)
    assert max(world.asked[-48:]) <= DAY + 2 * HOUR
    world.hole = None


def test_a_replay_settles_at_once(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 1800)
    live(store, world, 31 * MINUTE)
    assert settled(store, job) == {300}


def test_a_settled_price_has_the_pue_that_its_slice_was_booked_with(store: Store) -> None:
    world, job = Live([300] * 100, gpus=1), submit(store, 1800)
    for pue, end in ((1.0, HOUR), (1.5, DAY + 3 * HOUR)):
        engine = new_engine(world, store, world.meter(), options=Options(gpu_power_w=WATTS.busy, pue=pue))
        run_until(world, engine, T0 + end)
    total = total_of(store, job)
    assert (total.emissions_g, total.settled_g) == (total.settled_g, pytest.approx(emissions_g(POWER_W * 1800, 300)))


def forecast_of(provider: str, values: Sequence[float], start: datetime, fetched_at: datetime) -> Forecast:
    slots = slots_of([start + i * SLOT for i in range(len(values))], values, SLOT, Kind.FORECAST)
    return Forecast(series=Series.of(SeriesId(provider=provider, zone="GB"), slots), fetched_at=fetched_at)


def test_each_slice_is_priced_by_the_forecast_learned_last_that_covers_it(store: Store) -> None:
    gpu = Hardware(store)
    gpu.pass_time(MINUTE)
    gpu.books.learn(forecast_of("first", [100, 100, 100], T0, T0))
    gpu.books.learn(forecast_of("second", [200, 200], T0 + SLOT, T0 + SLOT))
    gpu.pass_time(100 * MINUTE)
    prices = {row.slice.start: row.booked.intensity_g_per_kwh for row in store.entries(limit=1000)}
    assert [prices[T0 + minutes * MINUTE] for minutes in (5, 29, 30, 89)] == [100, 100, 200, 200]
    assert prices[T0 + 95 * MINUTE] is None
    assert {row.booked.series and row.booked.series.provider for row in store.entries(limit=1000)} == {
        "first", "second", None,
    }  # fmt: skip


class TwoProviders(World):
    """A grid whose first forecast provider is replaced by a second one for a while."""

    second = False

    def forecast(self, zone: str, now: datetime) -> Forecast:
        made = super().forecast(zone, now)
        other = replace(made.series.id, provider="second") if self.second else made.series.id
        return replace(made, series=Series.of(other, made.series.slots))

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        raise ProviderUnavailable("no history")


@pytest.mark.parametrize("restart", [False, True], ids=["it goes on", "it restarts"])
def test_a_provider_that_steps_in_leaves_no_slice_unpriced(store: Store, restart: bool) -> None:
    """The sampler is silent from minute 20 to 60; meanwhile, at minute 40, the second provider steps in."""
    world, job = TwoProviders([300] * 20, gpus=1), submit(store, 7200)
    deaf = Deaf(world.meter(), lambda _: not T0 + 20 * MINUTE < world.now < T0 + 61 * MINUTE)
    engine = new_engine(world, store, deaf, tick=TICK)  # type: ignore[arg-type]
    run_until(world, engine, T0 + 40 * MINUTE)
    world.second = True
    run_until(world, engine, T0 + 50 * MINUTE)
    engine = new_engine(world, store, deaf, tick=TICK) if restart else engine  # type: ignore[arg-type]
    run_until(world, engine, T0 + 4 * HOUR)
    assert total_of(store, job).emissions_g == pytest.approx(emissions_g(POWER_W * 7200, 300), rel=1e-9)
