"""Each slice is priced with what was known, and settled once with what its source says when it is final."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderUnavailable
from greenrun.core.planning.model import Options
from greenrun.core.units import emissions_g
from greenrun.engine import settlement, zone
from greenrun.store import Store
from tests.engine.trouble import DAY, HOUR, MINUTE, POWER_W, TICK, Deaf, Hardware, live, submit, total_of
from tests.slots import slots_of
from tests.world import SLOT, T0, WATTS, World, new_engine, open_store, run_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


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
    return {row.settled and row.settled.intensity_g_per_kwh for row in store.books.entries(job_id=job)}


def test_live_values_settle_with_what_is_said_a_day_past_their_slots_end(store: Store) -> None:
    world, job = Live([300] * 200, gpus=1), submit(store, 3600)
    live(store, world, DAY + 20 * MINUTE)
    assert settled(store, job) == {None}
    live(store, world, DAY + 3 * HOUR)
    assert settled(store, job) == {300}


def test_a_value_that_nobody_confirmed_settles_nothing(store: Store) -> None:
    world, job = Live([300] * 200, gpus=1), submit(store, 1800)
    engine = new_engine(world, store, world.meter(), tick=SLOT)
    run_until(world, engine, T0 + 40 * MINUTE)
    world.down = True
    run_until(world, engine, T0 + DAY + 3 * HOUR)
    assert settled(store, job) == {None}
    world.down = False
    run_until(world, engine, T0 + DAY + 5 * HOUR)
    assert settled(store, job) == {300}


def test_values_are_confirmed_hourly_and_a_hole_is_not_asked_for_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (zone, settlement):
        monkeypatch.setattr(module, "LOOK_BACK", 30 * HOUR)
    world, job = Live([300] * 200, gpus=1), submit(store, 3600)
    world.hole = (T0, T0 + HOUR)
    engine = new_engine(world, store, world.meter(), tick=SLOT)
    run_until(world, engine, T0 + 30 * HOUR)
    far = [back for back in world.asked if back > HOUR]
    assert (max(far), len(far)) == (30 * HOUR, pytest.approx(30, abs=2))
    assert settled(store, job) == {None}
    day = [row for row in store.books.entries(limit=10_000) if T0 + HOUR <= row.slice.start < T0 + 4 * HOUR]
    assert {row.settled is not None for row in day} == {True}
    world.asked.clear()
    run_until(world, engine, T0 + 40 * HOUR)
    assert max(world.asked[-10:]) <= DAY + 2 * HOUR


def test_a_replay_settles_at_once(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 1800)
    live(store, world, 31 * MINUTE)
    assert settled(store, job) == {300}


def test_a_settled_price_has_the_pue_that_its_slice_was_booked_with(store: Store) -> None:
    world, job = Live([300] * 100, gpus=1), submit(store, 1800)
    for pue, end in ((1.0, HOUR), (1.5, DAY + 3 * HOUR)):
        engine = new_engine(world, store, world.meter(), options=Options(gpu_power_w=WATTS.busy, pue=pue))
        run_until(world, engine, T0 + end)
    assert {row.pue for row in store.books.entries(job_id=job)} == {1.0}
    assert total_of(store, job).settled_g == pytest.approx(emissions_g(POWER_W * 1800, 300), rel=1e-9)


def forecast_of(provider: str, values: Sequence[float], start: datetime, fetched_at: datetime) -> Forecast:
    slots = slots_of([start + i * SLOT for i in range(len(values))], values, SLOT, Kind.FORECAST)
    return Forecast(series=Series.of(SeriesId(provider=provider, zone="GB"), slots), fetched_at=fetched_at)


def test_each_slice_is_priced_by_the_forecast_learned_last_that_covers_it(store: Store) -> None:
    gpu = Hardware(store)
    gpu.pass_time(MINUTE)
    gpu.intensities.add_forecast(forecast_of("first", [100, 100, 100], T0, T0))
    gpu.intensities.add_forecast(forecast_of("second", [200, 200], T0 + SLOT, T0 + SLOT))
    gpu.pass_time(100 * MINUTE)
    prices = {row.slice.start: row.booked.intensity_g_per_kwh for row in store.books.entries(limit=1000)}
    assert [prices[T0 + minutes * MINUTE] for minutes in (5, 29, 30, 89)] == [100, 100, 200, 200]
    assert prices[T0 + 95 * MINUTE] is None
    assert {row.booked.series and row.booked.series.provider for row in store.books.entries(limit=1000)} == {
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
