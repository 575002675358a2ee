"""Power limits are lowered in dirty hours for jobs that allow it, and restored as soon as nobody wants that."""

import copy
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.power_limit import LimitEnd, LimitFaultKind
from greenrun.core.jobs.job import State
from greenrun.core.jobs.transitions import EventKind, Intent
from greenrun.engine.power_limits import PowerLimitSettings
from greenrun.reports.build import Reports, ReportSettings
from greenrun.simulation.memory import MemoryStore
from greenrun.store import Store
from tests.engine.crashes import IN_CHUNKS, Crash, Fuse, Fused, points
from tests.engine.limited_gpus import DEFAULT_W, LEAST_W, MOST_W, LimitedGpus
from tests.sampling import examples
from tests.world import SLOT, T0, World, new_engine, open_store, spec

DIRTY, CLEAN = 400.0, 100.0
GPU = "EMULATED-world-0"
EVERY = PowerLimitSettings(change_every=timedelta(0))


class Unread:
    """The meter of a world whose energy nobody books."""

    def __init__(self, meter: Any) -> None:
        self.devices, self.gpu_uses = meter.devices, meter.gpu_uses

    def read(self, since: Any) -> tuple[()]:
        return ()


class Bench:
    """An engine, its world and its GPUs; `values` are the intensities of half hours, known ahead for a day."""

    def __init__(self, store: Any, values: list[float], gpus: int = 1, **settings: Any) -> None:
        self.world = World([*values, *[CLEAN] * (48 - len(values))], gpus=gpus)
        self.gpus, self.store = LimitedGpus(), store
        self.settings = {"power_limits": EVERY, **settings}
        meter = self.world.meter()
        self.meter: Any = Unread(meter) if isinstance(store, MemoryStore) else meter
        self.restart()

    def restart(self, wrap: Any = lambda port, _: port) -> None:
        self.engine = new_engine(
            self.world, self.store, self.meter, wrap=wrap, limits=wrap(self.gpus, "limits"), **self.settings
        )

    def submit(self, seconds: float = 3600.0, **more: Any) -> int:
        more = {"power_cap": "70%:slowdown=10%", "start_now": True, **more}
        job, _ = self.store.jobs.add_job(spec(seconds, **more), user="ada", uid=1, now=self.world.now)
        return job.id

    def tick(self, minutes: float = 0.0) -> None:
        """Let time pass, and tick until what was decided is done."""
        self.world.now += timedelta(minutes=minutes)
        self.engine.refresh(self.world.now)
        for _ in range(3):
            self.engine.tick(self.world.now)

    def kinds(self, job_id: int) -> list[str]:
        kinds = (EventKind.POWER_LIMIT_SET, EventKind.POWER_LIMIT_ENDED)
        return [event.kind for event in self.store.jobs.events(job_id) if event.kind in kinds]

    def ends(self) -> list[LimitEnd | None]:
        found = self.store.power_limits.of_runs(range(1, 20))
        return [period.end for periods in found.values() for period in periods]


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The database, or what a simulation has in its place."""
    if request.param == "memory":
        yield MemoryStore()
        return
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Store]:
    """The database."""
    with open_store(tmp_path) as opened:
        yield opened


def test_it_is_lowered_in_a_dirty_hour_and_restored_in_a_clean_one(store: Any) -> None:
    bench = Bench(store, [DIRTY])
    bench.submit()
    bench.tick()
    assert bench.gpus.limit_w(GPU) == pytest.approx(0.7 * DEFAULT_W)
    bench.tick(30)
    assert (bench.gpus.limit_w(GPU), bench.ends()) == (DEFAULT_W, [LimitEnd.RESTORED])


def test_it_is_restored_at_the_end_of_the_run(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    job = bench.submit(1200)
    bench.tick()
    bench.tick(25)
    assert store.jobs.job(job).state is State.SUCCEEDED
    assert bench.gpus.limit_w(GPU) == DEFAULT_W


@pytest.mark.parametrize("how", [Intent.CANCEL, "suspended"])
def test_it_is_restored_when_the_run_is_ended(how: Any, store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    job = bench.submit(interruptible=how == "suspended")
    bench.tick()
    assert bench.gpus.limit_w(GPU) < DEFAULT_W
    if how == "suspended":
        (run,) = store.runs.live_runs()
        bench.world.checkpoint(run, "test")
    else:
        store.jobs.intend(how, [job], actor="ada", now=bench.world.now)
    bench.tick(5)
    assert bench.ends()[0] is LimitEnd.RESTORED
    assert (GPU, DEFAULT_W) in bench.gpus.ours


def test_the_trail_says_what_was_set_and_why_and_what_it_was_before(database: Store) -> None:
    bench = Bench(database, [DIRTY])
    job = bench.submit()
    bench.tick()
    bench.tick(30)
    was_set, ended = (row for row in database.jobs.events(job) if row.kind.startswith("power_limit"))
    assert (was_set.before, was_set.after) == ({"power_limit_w": 350.0}, {"power_limit_w": pytest.approx(245.0)})
    assert was_set.detail == {"device": GPU, "g_per_kwh": DIRTY, "above_g_per_kwh": pytest.approx(106.25)}
    assert (ended.detail["end"], ended.after) == ("restored", {"power_limit_w": 350.0})


@pytest.mark.parametrize(
    "more",
    [
        {"power_cap": None}, {"power_cap": "none"}, {"gpus": 0},
        {"finish_by": T0 + timedelta(hours=1, minutes=5)}, {"time_limit": timedelta(minutes=65)},
    ],
    ids=["not allowed", "none", "no GPU", "finish-by", "time limit"],
)  # fmt: skip
def test_it_is_left_alone_where_nobody_allows_it_or_a_limit_would_be_missed(more: dict[str, Any], store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit(**more)
    bench.tick()
    assert store.runs.live_runs()
    assert bench.gpus.ours == []


def test_it_is_lowered_once_a_limit_leaves_room_for_that(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit(finish_by=T0 + timedelta(hours=1, minutes=5))
    bench.tick()
    bench.tick(31)  # the 29 minutes that are left take 3 longer at most, and there are 5
    assert bench.gpus.limit_w(GPU) < DEFAULT_W


def test_it_is_not_lowered_where_another_job_would_miss_its_limit_for_it(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit()
    bench.submit(600, power_cap=None, finish_by=T0 + timedelta(minutes=72), start_now=False)
    bench.tick()
    assert bench.gpus.ours == []


def test_what_a_crash_left_is_restored_at_the_next_start(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit(1200)
    bench.tick()
    bench.world.now += timedelta(hours=1)  # nobody is there meanwhile
    bench.restart()
    bench.tick()
    assert (bench.gpus.limit_w(GPU), bench.ends()) == (DEFAULT_W, [LimitEnd.RESTORED])


def test_a_daemon_that_ends_in_good_order_restores_and_the_next_lowers_again(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit()
    bench.tick()
    bench.engine.power_limits.release(bench.world.now)
    assert bench.gpus.limit_w(GPU) == DEFAULT_W
    bench.restart()
    bench.tick(1)
    assert bench.gpus.limit_w(GPU) < DEFAULT_W


@pytest.mark.parametrize("when", ["at the end", "meanwhile"])
def test_what_somebody_else_has_set_meanwhile_is_theirs(when: str, database: Store) -> None:
    bench = Bench(database, [DIRTY] * 4, power_limits=PowerLimitSettings(change_every=timedelta(minutes=5)))
    job = bench.submit(1200)
    bench.tick()
    bench.gpus.limits_w[GPU] = 300.0
    bench.tick(25 if when == "at the end" else 6)
    assert (bench.gpus.limit_w(GPU), bench.ends()) == (300.0, [LimitEnd.LEFT])
    bench.tick(6)
    assert bench.gpus.limit_w(GPU) == 300.0
    (event,) = (row for row in database.jobs.events(job) if row.kind == EventKind.POWER_LIMIT_ENDED)
    assert event.detail["why"] == "somebody else has set it to 300 W, which is left as it is"


def test_a_limit_changes_no_more_often_than_the_settings_say(store: Any) -> None:
    bench = Bench(store, [DIRTY, CLEAN, DIRTY], power_limits=PowerLimitSettings(change_every=timedelta(minutes=45)))
    bench.submit(7200)
    bench.tick()
    bench.tick(31)
    assert bench.gpus.limit_w(GPU) < DEFAULT_W
    bench.tick(15)
    assert bench.gpus.limit_w(GPU) == DEFAULT_W
    bench.tick(15)
    assert bench.gpus.limit_w(GPU) == DEFAULT_W


def test_it_is_never_below_the_least_and_never_above_what_it_was(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4, gpus=2)
    bench.gpus.limits_w["EMULATED-world-1"] = 200.0  # less than 70 % of the default: there is nothing to lower
    bench.submit(power_cap="15%:slowdown=10%", gpus=1)
    bench.submit(gpus=1)
    bench.tick()
    assert bench.gpus.ours == [(GPU, LEAST_W)]


@pytest.mark.parametrize("kind", [LimitFaultKind.NO_RIGHTS, LimitFaultKind.UNSUPPORTED, LimitFaultKind.UNREACHABLE])
def test_a_device_that_refuses_is_left_and_asked_more_and_more_rarely(kind: LimitFaultKind, store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.gpus.faults[GPU] = kind
    bench.submit()
    bench.tick()
    calls = bench.gpus.calls
    bench.tick()
    assert bench.gpus.calls == calls
    is_silent = kind is LimitFaultKind.UNREACHABLE
    assert bench.engine.power_limits.trouble(GPU) == ("the driver does not answer" if is_silent else "only root may")
    bench.tick(1)
    assert bench.gpus.calls > calls
    assert bench.gpus.ours == []


def test_a_change_of_which_nobody_heard_is_undone(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.gpus.lost_answers.add(GPU)
    bench.submit(1200)
    bench.tick()
    assert bench.gpus.limit_w(GPU) < DEFAULT_W
    bench.gpus.lost_answers.clear()
    bench.tick(25)
    assert (bench.gpus.limit_w(GPU), store.power_limits.in_force()) == (DEFAULT_W, [])


def test_a_limit_that_the_driver_does_not_keep_is_undone_at_once(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.gpus.faults[GPU] = LimitFaultKind.NOT_KEPT
    bench.submit()
    bench.tick()
    assert (bench.gpus.limit_w(GPU), store.power_limits.in_force()) == (DEFAULT_W, [])


def test_a_daemon_without_jobs_that_allow_it_asks_no_driver(store: Any) -> None:
    bench = Bench(store, [DIRTY] * 4)
    bench.submit(power_cap=None)
    bench.tick()
    bench.tick(30)
    assert bench.gpus.calls == 0


# what it did, and what it is compared with


def test_the_baseline_is_the_run_at_full_power(database: Store) -> None:
    """Half of the run is lowered and takes 10 % longer there, at the same watts: at full power that took 1/1.1."""
    bench = Bench(database, [DIRTY, CLEAN])
    job = bench.submit()
    for minutes in (0, 30, 31, 60 * 12, 60 * 10):
        bench.tick(minutes)
    (run,) = database.runs.of_jobs([job])[job]
    total = database.books.run_totals([run.id])[run.id]
    effect = database.capping_effects.effects([run.id])[run.id]
    assert (effect.lowered, effect.slowdown) == (timedelta(minutes=30), 0.1)
    assert effect.saved_g == pytest.approx(0.175 * DIRTY * (1 / 1.1 - 1))
    assert effect.time_lost == timedelta(minutes=30) * (0.1 / 1.1)
    assert total.baseline_g == pytest.approx(0.175 * DIRTY / 1.1 + 0.175 * CLEAN)
    assert total.avoided_g == pytest.approx(effect.saved_g)
    made = Reports(database.archive, lambda: (), ReportSettings()).report(T0, bench.world.now, "job", bench.world.now)
    assert made.power_limits is not None
    assert (made.power_limits.runs, made.power_limits.saved_g) == (1, effect.saved_g)
    (note,) = (row.note for row in made.data_quality if row.field == "power_limits")
    assert note == (
        "The power limits of GPUs were lowered in 1 run, for 30m together: that cost 6.36 g CO2e in these hours, and "
        "runs took 2m44s longer (in no other figure)."
    )


def test_a_baseline_that_nobody_can_tell_is_unknown(database: Store) -> None:
    bench = Bench(database, [DIRTY, CLEAN])
    job = bench.submit(power_cap_note="by a model")
    for minutes in (0, 30, 31, 60 * 12, 60 * 10):
        bench.tick(minutes)
    (run,) = database.runs.of_jobs([job])[job]
    assert database.books.run_totals([run.id])[run.id].baseline_g is None
    assert database.capping_effects.effects([run.id])[run.id].saved_g is None
    made = Reports(database.archive, lambda: (), ReportSettings()).report(T0, bench.world.now, "user", bench.world.now)
    (note,) = (row.note for row in made.data_quality if row.field == "power_limits")
    assert note.startswith("The power limits of GPUs were lowered in 1 run, for 30m together; of 1 run the effect is")


# whatever happens


def _half_an_hour(bench: Bench) -> None:
    bench.world.now += SLOT


def _cancel(bench: Bench) -> None:
    for job_id in list(bench.store.jobs.unfinished())[:1]:
        bench.store.jobs.intend(Intent.CANCEL, [job_id], actor="ada", now=bench.world.now)


HAPPENS: dict[str, Callable[[Bench], object]] = {
    "tick": lambda bench: None,
    "half an hour": _half_an_hour,
    "crash": lambda bench: bench.restart(),
    "theirs": lambda bench: bench.gpus.limits_w.update({GPU: 310.0}),
    "lost": lambda bench: bench.gpus.faults.update({GPU: LimitFaultKind.UNREACHABLE}),
    "back": lambda bench: bench.gpus.faults.clear(),
    "cancel": _cancel,
    "submit": lambda bench: bench.submit(900),
    "rounds": lambda bench: setattr(bench.gpus, "grid_w", 0.8),
}


@examples(30)
@given(
    steps=st.lists(st.sampled_from(sorted(HAPPENS)), max_size=14),
    values=st.lists(st.sampled_from([DIRTY, CLEAN]), min_size=1, max_size=20),
)
def test_whatever_happens_a_limit_is_in_the_end_as_it_was_or_as_others_have_set_it(
    steps: list[str], values: list[float]
) -> None:
    bench = Bench(MemoryStore(), values)
    bench.submit(1800)
    for step in steps:
        HAPPENS[step](bench)
        bench.tick(1)
    theirs = 310.0 if "theirs" in steps else DEFAULT_W
    bench.gpus.faults.clear()
    for _ in range(50 * (len(steps) + 1)):  # when the engine asks for it, until all jobs have ended
        bench.engine.refresh(bench.world.now)
        later = bench.engine.tick(bench.world.now)
        if not bench.store.jobs.unfinished():
            break
        bench.world.now = min(later, bench.world.now + SLOT)
    bench.tick(16)  # what a driver was not reached for is tried again
    assert not bench.store.jobs.unfinished()
    assert bench.gpus.limit_w(GPU) == pytest.approx(theirs, abs=1.0)
    assert all(LEAST_W <= limit_w <= MOST_W + 1 for _, limit_w in bench.gpus.ours)
    assert bench.store.power_limits.in_force() == []


# a crash between any two steps

TIMES = [0, 5, 30, 35, 60, 65, 90, 120, 150]


def _day(bench: Bench, fuse: Fuse | None = None) -> None:
    """A run over two dirty half hours with a clean one between, whose engine is built anew whenever the fuse blows."""
    for minutes in TIMES:
        bench.world.now = T0 + timedelta(minutes=minutes)
        while True:
            try:
                if fuse:
                    bench.restart(lambda port, _: Fused(port, fuse))
                bench.tick()
                break
            except Crash:
                continue


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@IN_CHUNKS
def test_a_crash_at_any_call_leaves_no_limit_lowered(chunk: int, after: bool, tmp_path: Path) -> None:
    def bench_of(name: str, store: Store) -> Bench:
        bench = Bench(store, [DIRTY, CLEAN, DIRTY])
        bench.submit(5400)
        return bench

    with open_store(tmp_path, "calm.db") as store:
        calm, fuse = bench_of("calm", store), Fuse()
        _day(calm, fuse)
        assert [period.end for period in store.power_limits.of_runs([1])[1]] == [LimitEnd.RESTORED] * 2
    wrong = {}
    for at in points(fuse.calls, f"power limits, after {after}", chunk):
        with open_store(tmp_path, f"{at}.db") as store:
            bench = bench_of(str(at), store)
            _day(bench, Fuse(at=at, after=after))
            ended = [period for period in store.power_limits.of_runs([1])[1] if period.end is not LimitEnd.NOT_SET]
            is_well = all(period.end is LimitEnd.RESTORED for period in ended) and not store.power_limits.in_force()
            if bench.gpus.limit_w(GPU) != DEFAULT_W or not is_well or bench.world.launches != [1]:
                wrong[at] = copy.copy(bench.gpus.limits_w), ended
    assert wrong == {}
