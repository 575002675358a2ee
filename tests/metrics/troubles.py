"""What goes wrong in a scripted world, and which alerts that is to raise by when."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from greenrun.core.accounting.weekly import Weekly
from greenrun.core.budgets.budget import Budget, Budgets, Measure
from greenrun.core.energy.model import Quality
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.meters.emulation.power_model import Charge, Counters, Watts, WattsBackend
from tests.metrics.lab import DISK, EVERY, HOUR, HUNG, MINUTE, Grid, Lab, lab
from tests.metrics.scripted_gpus import ScriptedMeter
from tests.world import T0, open_store

ROOM = 0.02  # of the disk, when it is nearly full
FOREIGN_W = 300.0  # what a program of somebody else lets a GPU draw


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alert that a trouble raises, in minutes: it fires in `[by, until)` and not before `since` nor from `over` on.

    In between it may or may not: how fast it comes and goes is not promised to the minute.
    """

    alert: str
    since: float
    by: float
    until: float
    over: float

    def says(self, minute: int) -> bool | None:
        """Whether it fires at a minute; None where either will do."""
        if self.by <= minute < self.until:
            return True
        return None if self.since <= minute < self.over else False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A lab in trouble: what is done at which minute, for how long it is watched, and what that raises."""

    minutes: int
    script: Callable[[Lab], Mapping[float, Callable[[], object]]]
    alarms: Sequence[Alarm]
    settings: Mapping[str, Any] = field(default_factory=dict)
    error: float = 0.0


def setting(one: Lab, **values: Any) -> Callable[[], None]:
    """Return what sets these of the lab."""

    def apply() -> None:
        for name, value in values.items():
            setattr(one, name, value)

    return apply


def both(*calls: Callable[[], object]) -> Callable[[], None]:
    def apply() -> None:
        for call in calls:
            call()

    return apply


def daemon_in_trouble(one: Lab) -> Mapping[float, Callable[[], object]]:
    full, runs, away = ExitStack(), one.folder / "runs", one.folder / "moved"
    return {
        5: setting(one, is_up=False, is_ticking=False, is_sampling=False),
        10: setting(one, is_up=True, is_ticking=True, is_sampling=True),
        15: setting(one, is_ticking=False),
        20: setting(one, is_ticking=True),
        25: lambda: full.enter_context(one.full_disk()),
        29: full.close,
        42: lambda: runs.rename(away),
        46: lambda: away.rename(runs),
        50: setting(one, free=int(DISK * ROOM)),
        65: setting(one, free=DISK // 2),
    }


def meters_in_trouble(one: Lab) -> Mapping[float, Callable[[], object]]:
    silent = one.boards[2]
    return {
        5: lambda: setattr(silent, "is_silent", True),
        8: lambda: setattr(silent, "is_silent", False),
        12: setting(one, is_sampling=False),
        14: setting(one, is_sampling=True),
        20: both(lambda: one.driver.gone.add(2), one.gpu_meter.forget_all),
        30: both(one.driver.gone.clear, one.gpu_meter.forget_all),
    }


def guessed(one: Lab) -> Mapping[float, Callable[[], object]]:
    """Nothing is measured: a model says what GPUs draw that others use all the time."""
    watts = Watts(idle=FOREIGN_W, busy=FOREIGN_W)
    charges = {device.id: Charge(at=one.now, energy_j=0.0) for device in one.world.devices}
    counters = Counters(name="boot-1", charges=charges)
    made = ScriptedMeter(
        lambda: WattsBackend(one.world.devices, Quality.ESTIMATED, watts, one.world.load, lambda: one.now, counters),
        lambda: one.now,
    )
    one.meters[:] = [made]
    one.meter._meters = (made,)
    return {}


def used_by_others(one: Lab) -> Mapping[float, Callable[[], object]]:
    one.foreign += [(board.device.id, FOREIGN_W, T0, T0 + 60 * MINUTE) for board in one.boards[:2]]
    return {}


def grid_in_trouble(one: Lab) -> Mapping[float, Callable[[], object]]:
    def is_down(down: bool) -> Callable[[], None]:
        return lambda: setattr(one.grid, "is_down", down)

    one.source.refresh_every = one.asking
    return {10: is_down(True), 85: is_down(False)}


def short_forecasts(one: Lab) -> Mapping[float, Callable[[], object]]:
    one.source.refresh_every = one.asking
    one.grid.reaches = 4 * HOUR
    return {45: lambda: setattr(one.grid, "reaches", 48 * HOUR)}


def jobs_in_trouble(one: Lab) -> Mapping[float, Callable[[], object]]:
    def fail() -> None:
        one.submit(20, code=1, start_now=True)

    return {
        5: lambda: one.submit(60, gpus=8, max_delay=20 * MINUTE, expire=True),
        6: lambda: one.submit(60, start_now=True),
        32: fail, 33: fail, 34: fail,
        36: lambda: one.submit(15 * 60, project=HUNG, start_now=True),
    }  # fmt: skip


def budget_used(one: Lab) -> Mapping[float, Callable[[], object]]:
    """A project uses 27 of the 30 minutes of one GPU that it has."""
    return {5: lambda: one.submit(27 * 60, project="vision", start_now=True)}


SCENES: Mapping[str, Scene] = {
    "the daemon is away, stands, cannot write, loses its folder, and has little room": Scene(
        minutes=72,
        script=daemon_in_trouble,
        alarms=[
            Alarm(alert="GreenrunDown", since=5, by=8, until=10, over=11),
            Alarm(alert="GreenrunEnergyGap", since=10, by=13, until=64, over=72),  # nobody sampled for five minutes
            Alarm(alert="GreenrunSchedulerStalled", since=15, by=18, until=20, over=21),
            Alarm(alert="GreenrunSchedulerStalled", since=25, by=30, until=30, over=31),  # no tick could be stored
            Alarm(alert="GreenrunWritesFailing", since=25, by=29, until=35, over=41),
            Alarm(alert="GreenrunFailing", since=25, by=30, until=30, over=31),  # as long as nothing can be stored
            Alarm(alert="GreenrunFailing", since=42, by=44, until=46, over=47),
            Alarm(alert="GreenrunDiskNearlyFull", since=50, by=61, until=65, over=66),
        ],
    ),
    "a GPU is silent, then all are, and then one has gone": Scene(
        minutes=45,
        script=meters_in_trouble,
        alarms=[
            Alarm(alert="GreenrunGpuUnreadable", since=5, by=6, until=8, over=9),
            Alarm(alert="GreenrunGpuLost", since=5, by=7, until=8, over=9),
            Alarm(alert="GreenrunSamplerStalled", since=12, by=13.5, until=14, over=15),
            Alarm(alert="GreenrunGpuUnreadable", since=12, by=13, until=14, over=15),
            Alarm(alert="GreenrunGpuMissing", since=20, by=26, until=30, over=31),
            Alarm(alert="GreenrunEnergyGap", since=8, by=17, until=45, over=99),  # three and three times two minutes
        ],
    ),
    "what GPUs draw that others use is guessed": Scene(
        minutes=70,
        script=guessed,
        alarms=[
            Alarm(alert="GreenrunMostlyEstimated", since=0, by=66, until=999, over=999),
            Alarm(alert="GreenrunIdlePowerHigh", since=30, by=43, until=999, over=999),
        ],
        settings={"has_processor": False},
    ),
    "others use free GPUs for a while": Scene(
        minutes=90,
        script=used_by_others,
        alarms=[
            Alarm(alert="GreenrunIdlePowerHigh", since=30, by=46, until=60, over=87),
            Alarm(alert="GreenrunPowerAboveCap", since=2, by=4, until=60, over=62),
        ],
        settings={"has_processor": False, "site_power": SitePower(cap=Weekly.of([], 500.0))},
    ),
    "the source of forecasts is away for an hour": Scene(
        minutes=135,
        script=grid_in_trouble,
        alarms=[
            Alarm(alert="GreenrunForecastStale", since=25, by=47, until=85, over=87),
            Alarm(alert="GreenrunProviderFailing", since=60, by=75, until=85, over=130),
        ],
        settings={"stale_after": 20 * MINUTE, "has_processor": False},
    ),
    "forecasts reach four hours ahead": Scene(
        minutes=55,
        script=short_forecasts,
        alarms=[Alarm(alert="GreenrunForecastHorizonShort", since=30, by=32, until=45, over=51)],
        settings={"has_processor": False},
    ),
    "a job asks for too much, three fail, and one does nothing": Scene(
        minutes=58,
        script=jobs_in_trouble,
        alarms=[
            Alarm(alert="GreenrunDeadlineAtRisk", since=5, by=11, until=25, over=27),
            Alarm(alert="GreenrunQueueStuck", since=20, by=21, until=25, over=27),
            Alarm(alert="GreenrunDeadlineMissed", since=25, by=27, until=999, over=999),
            Alarm(alert="GreenrunJobFailureRate", since=32, by=41, until=999, over=999),
            Alarm(alert="GreenrunJobAnomalous", since=41, by=48, until=51, over=53),
        ],
        settings={"has_processor": False},
    ),
    "a project uses its budget nearly up": Scene(
        minutes=45,
        script=budget_used,
        alarms=[Alarm(alert="GreenrunBudgetNear", since=28, by=37, until=999, over=999)],
        settings={
            "has_processor": False,
            "budgets": Budgets(projects={"vision": Budget(most={Measure.GPU_HOURS: 0.5})}),
        },
    ),
}


def lived(scene: Scene, folder: Path) -> Iterator[str]:
    """Live a scene, and yield what is scraped of it."""
    with (
        open_store(folder) as store,
        lab(folder, store, Grid(lambda at: 200.0, lambda start, at: scene.error), tick=EVERY, **scene.settings) as one,
    ):
        due = dict(scene.script(one))

        def each() -> None:
            for minute in [minute for minute in due if T0 + minute * MINUTE <= one.now]:
                due.pop(minute)()

        yield from one.live(T0 + scene.minutes * MINUTE, each=each)


def as_series(scrapes: Iterator[str], minutes: int) -> list[dict[str, str]]:
    """Return what was scraped as promtool's tests take it: a series ends with the first scrape that lacks it.

    Their clock begins at 0, and so do the instants that are scraped.
    """
    told: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for line in scrapes:
        series, value, at_s = line.rstrip("\n").rsplit(" ", 2)
        if series.partition("{")[0].endswith("_timestamp_seconds"):
            value = repr(float(value) - T0.timestamp())
        told[series][round((float(at_s) - T0.timestamp()) / (EVERY / timedelta(seconds=1)))] = value
    last = minutes * MINUTE // EVERY
    return [{"series": series, "values": " ".join(_values(values, last))} for series, values in told.items()]


def _values(values: Mapping[int, str], last: int) -> Iterator[str]:
    is_there = False
    for place in range(last + 1):
        if place in values:
            yield values[place]
        else:
            yield "stale" if is_there else "_"
        is_there = place in values
