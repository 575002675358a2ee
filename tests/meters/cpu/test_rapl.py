"""The CPU's counters add up over wraps, gaps and restarts, never below zero, and what they cannot tell is not told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Mark, Quality, Reading, Slice
from greenrun.core.energy.slicing import cut
from greenrun.core.errors import MeterError
from greenrun.meters.counter_state import CounterState
from greenrun.meters.cpu import powercap
from greenrun.meters.cpu.cpu_time import CpuClock, CpuTimes
from greenrun.meters.cpu.rapl import HIGHEST_W, LAG_S, LEAST_RANGE_J, RaplBackend, following
from greenrun.meters.sampler.process import PERIOD_S
from tests.meters.cpu.powercap import RANGE_J, FakeZone, two_sockets, zone
from tests.sampling import examples

T0 = datetime(2026, 3, 2, tzinfo=UTC)


class Bench:
    """A backend in virtual time over a tree whose zones draw a steady power each."""

    def __init__(self, folder: Path, zones: dict[str, tuple[FakeZone, float, float]]) -> None:
        """`zones` gives each one's place, what it had used at the beginning, and its power."""
        self.zones = zones
        self.folder, self.second, self.readings = folder, 0.0, list[Reading]()
        self.set_by_s = 0.0  # how far the wall clock was set
        self.open()

    def open(self) -> None:
        """Begin a process, so to say."""
        self.move(0.0)
        self.backend = RaplBackend(
            self.folder,
            self.folder,
            CpuClock(self.folder / "runs", self.folder / "proc", self.folder),
            now=lambda: T0 + timedelta(seconds=self.second + self.set_by_s),
            clock=lambda: self.second,
        )

    def move(self, seconds: float) -> None:
        """Let time pass, without a look."""
        self.second += seconds
        for place, start_j, power_w in self.zones.values():
            if (place.folder / "energy_uj").exists():
                place.show(start_j + power_w * self.second)

    def look(self, times: int = 1, every_s: float = PERIOD_S) -> None:
        """Let time pass and look, so often."""
        for _ in range(times):
            self.move(every_s)
            self.readings += self.backend.sample()

    def of(self, name: str) -> list[Reading]:
        """Return a zone's readings."""
        return [reading for reading in self.readings if reading.device.endswith(f"-{name}")]

    def used_j(self, name: str) -> float:
        """Return what a zone was told to use from the first look to the last."""
        readings = self.of(name)
        assert len({reading.counter for reading in readings}) == 1
        return readings[-1].energy_j - readings[0].energy_j

    def slices(self, name: str) -> list[Slice]:
        """Return what is booked of a zone."""
        readings = self.of(name)
        first = readings[0]
        mark = Mark(
            device=first.device, at=first.at, energy_j=first.energy_j, counter=first.counter, session=first.session
        )
        return cut(mark, readings[1:], [], [readings[-1].at], readings[-1].at, component=Component.CPU)[0]

    def graded_s(self, name: str) -> list[tuple[Quality, int]]:
        """Return the grades of what is booked of a zone, one after the other, and for how many seconds each holds."""
        return [(piece.quality, round((piece.end - piece.start).total_seconds())) for piece in self.slices(name)]

    def troubles(self, name: str) -> dict[str, int]:
        """Return what was wrong with a zone."""
        (counts,) = [each for device, each in self.backend.troubles().items() if device.endswith(f"-{name}")]
        return {cause: count for cause, count in counts.items() if count}


def one_package(folder: Path, start_j: float = 0.0, power_w: float = 200.0) -> Bench:
    package = zone(folder, "intel-rapl:0", "package-0", start_j)
    return Bench(folder, {"package-0": (package, start_j, power_w)})


# --- what there is


def test_it_tells_of_packages_and_memory_by_names_that_stay(tmp_path: Path) -> None:
    two_sockets(tmp_path)
    first, second = (RaplBackend(tmp_path, tmp_path, CpuClock(tmp_path)).devices for _ in range(2))
    assert first == second
    assert [(one.index, one.kind, one.model, one.source, one.emulated) for one in first] == [
        (0, Component.CPU, "CPU package-0", "rapl", False),
        (1, Component.DRAM, "DRAM of package-0", "rapl", False),
        (2, Component.CPU, "CPU package-1", "rapl", False),
        (3, Component.DRAM, "DRAM of package-1", "rapl", False),
    ]


def test_counters_for_root_alone_are_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel says it to everybody else; a test may run as root, whom no file's mode keeps out."""
    read = powercap._joules

    def as_somebody_else(path: Path) -> float:
        if not path.stat().st_mode & 0o044:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(powercap, "_joules", as_somebody_else)
    two_sockets(tmp_path)["package-1"].folder.joinpath("energy_uj").chmod(0o400)
    with pytest.raises(MeterError, match=r"root alone.*CVE-2020-8694.*greenrun-rapl.*cpu_meter"):
        RaplBackend(tmp_path, tmp_path, CpuClock(tmp_path))


def test_a_machine_without_counters_is_told_so_and_gets_no_estimate(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"no CPU package under .* virtual machines.*Nothing is estimated"):
        RaplBackend(tmp_path, tmp_path, CpuClock(tmp_path))


def test_counters_that_say_nothing_are_refused(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0").say("nonsense")
    with pytest.raises(MeterError, match=r"No counter under .* can be read"):
        RaplBackend(tmp_path, tmp_path, CpuClock(tmp_path))


# --- wraps


def test_two_sockets_that_wrap_lose_nothing(tmp_path: Path) -> None:
    zones = two_sockets(tmp_path)
    places = {
        "package-0": (zones["package-0"], RANGE_J - 5_000.0, 350.0),
        "package-0-dram": (zones["package-0-dram"], 40.0, 25.0),
        "package-1": (zones["package-1"], RANGE_J - 100.0, 410.0),
        "package-1-dram": (zones["package-1-dram"], RANGE_J - 1.0, 31.5),
    }
    bench = Bench(tmp_path, places)
    bench.look(2_000)
    assert bench.second * 350.0 > 2 * RANGE_J
    for name, (_, _, power_w) in places.items():
        assert bench.used_j(name) == pytest.approx(power_w * 1_999, rel=1e-7)
        assert {reading.quality for reading in bench.of(name)} == {Quality.MEASURED}
        assert bench.troubles(name) == {}


def test_the_sampler_looks_far_more_often_than_twice_in_the_shortest_wrap() -> None:
    assert PERIOD_S < LEAST_RANGE_J / HIGHEST_W / 2


def test_a_step_back_without_a_range_is_unknown_and_told(tmp_path: Path) -> None:
    bench = one_package(tmp_path, RANGE_J - 1_100.0)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text("nonsense")
    bench.open()
    bench.look(10)
    assert bench.troubles("package-0") == {"rebased": 1}
    booked = bench.slices("package-0")
    assert [piece.energy_j for piece in booked if piece.quality is Quality.UNKNOWN] == [None]
    known_j = [piece.energy_j for piece in booked if piece.energy_j is not None]
    assert sum(known_j) == pytest.approx(200.0 * 8, rel=1e-7)


def test_a_counter_that_is_reset_is_unknown_for_that_step_and_no_wrap(tmp_path: Path) -> None:
    """As after a machine has slept: a wrap would be a quarter of a megajoule."""
    bench = one_package(tmp_path, 100_000.0)
    bench.look(5)
    bench.zones["package-0"] = (bench.zones["package-0"][0], 0.0, 200.0)
    bench.look(5)
    assert bench.troubles("package-0") == {"rebased": 1}
    assert [piece.quality for piece in bench.slices("package-0")] == [
        Quality.MEASURED,
        Quality.UNKNOWN,
        Quality.MEASURED,
    ]


# --- gaps and restarts


def test_a_package_that_goes_and_comes_back_is_bridged_by_its_counter(tmp_path: Path) -> None:
    zones = two_sockets(tmp_path)
    bench = Bench(tmp_path, {name: (zones[name], 1000.0, 200.0) for name in ("package-0", "package-1")})
    bench.look(5)
    zones["package-1"].vanish()
    bench.look(30)
    assert (len(bench.of("package-0")), len(bench.of("package-1"))) == (35, 5)
    zones["package-1"].show(0.0)
    bench.look(5)
    assert bench.used_j("package-1") == pytest.approx(200.0 * 39, rel=1e-7)
    assert bench.troubles("package-1") == {"unreadable": 30}
    assert bench.graded_s("package-1") == [(Quality.MEASURED, 4), (Quality.BRIDGED, 31), (Quality.MEASURED, 4)]


def test_when_no_counter_can_be_read_any_more_it_says_so(tmp_path: Path) -> None:
    bench = one_package(tmp_path)
    bench.zones["package-0"][0].vanish()
    with pytest.raises(MeterError, match="None of the 1 counters"):
        bench.backend.sample()


def test_a_counter_that_never_moves_is_no_reading_of_0_watts(tmp_path: Path) -> None:
    """As in a virtual machine that shows counters and does not run them."""
    bench = one_package(tmp_path, 5.0, power_w=0.0)
    bench.look(10)
    assert len(bench.readings) == 1, "the first one, from which something could be told"
    with pytest.raises(MeterError, match=r"has moved for 10 s: they are stuck"):
        bench.look(2)
    assert bench.troubles("package-0") == {"stuck": 1}


def test_a_counter_that_stops_is_unknown_until_it_moves_again(tmp_path: Path) -> None:
    zones = {
        name: (zone(tmp_path, f"intel-rapl:{n}", name), 0.0, power_w)
        for n, (name, power_w) in enumerate([("package-0", 100.0), ("package-1", 50.0)])
    }
    bench = Bench(tmp_path, zones)
    bench.look(3)
    place, start_j, _ = bench.zones["package-1"]
    stopped_j = start_j + 50.0 * bench.second
    bench.zones["package-1"] = (place, stopped_j, 0.0)
    bench.look(20)
    assert (len(bench.of("package-0")), len(bench.of("package-1"))) == (23, 3)
    assert bench.troubles("package-1")["stuck"] > 0
    bench.zones["package-1"] = (place, stopped_j - 50.0 * bench.second + 900.0, 50.0)
    bench.look(3)
    assert len({reading.counter for reading in bench.of("package-1")}) == 1
    assert bench.used_j("package-0") == pytest.approx(100.0 * 25)


def test_a_counter_that_moves_now_and_then_loses_nothing(tmp_path: Path) -> None:
    bench = one_package(tmp_path, power_w=0.0)
    place, used_j = bench.zones["package-0"][0], 0.0
    for _ in range(6):
        used_j += 4.0 * 300.0
        bench.look(3)
        bench.zones["package-0"] = (place, used_j, 0.0)
        bench.look(1)
    assert bench.used_j("package-0") == pytest.approx(used_j)
    assert bench.troubles("package-0") == {}


def test_a_restart_goes_on_where_the_counter_stood_also_over_a_wrap(tmp_path: Path) -> None:
    bench = one_package(tmp_path, RANGE_J - 3_000.0)
    bench.look(10)
    bench.move(20.0)
    bench.open()
    bench.look(10)
    assert bench.used_j("package-0") == pytest.approx(200.0 * 39, rel=1e-7)
    assert bench.graded_s("package-0") == [(Quality.MEASURED, 9), (Quality.BRIDGED, 21), (Quality.MEASURED, 9)]


def test_a_pause_in_which_the_counter_may_have_wrapped_twice_is_unknown(tmp_path: Path) -> None:
    bench = one_package(tmp_path)
    bench.look(5)
    bench.move(RANGE_J / HIGHEST_W)
    bench.open()
    bench.look(5)
    assert len({reading.counter for reading in bench.readings}) == 2
    assert Quality.UNKNOWN in {piece.quality for piece in bench.slices("package-0")}


def test_another_boot_begins_anew(tmp_path: Path) -> None:
    bench = one_package(tmp_path)
    bench.look(2)
    path = tmp_path / "meter-rapl.json"
    path.write_text(path.read_text().replace('"boot": "', '"boot": "another-'))
    bench.open()
    bench.look(2)
    assert len({reading.counter for reading in bench.readings}) == 2


# --- for all counters

SECONDS = st.floats(min_value=0.01, max_value=LEAST_RANGE_J / HIGHEST_W * 0.99)
POWERS = st.floats(min_value=0.0, max_value=HIGHEST_W)
DRAWN = st.floats(min_value=0.01, max_value=HIGHEST_W)  # a counter that stands still tells nothing


@given(start=st.floats(0, RANGE_J), steps=st.lists(st.tuples(SECONDS, POWERS), max_size=30))
def test_whatever_is_drawn_is_told_to_the_last_joule(start: float, steps: Sequence[tuple[float, float]]) -> None:
    state: CounterState | None = CounterState(base="b", told_j=0.0, raw_j=start % RANGE_J, at_s=0.0)
    true_j = 0.0
    for seconds, power_w in steps:
        true_j += seconds * power_w
        assert state is not None
        state = following(state, (start + true_j) % RANGE_J, 0.0, seconds, RANGE_J)
    assert state is not None
    assert state.told_j == pytest.approx(true_j, rel=1e-9, abs=1e-5)


@given(
    told=st.lists(st.tuples(st.floats(0, RANGE_J), st.floats(-10, 1e5)), min_size=1, max_size=30),
    range_j=st.one_of(st.none(), st.just(RANGE_J), st.just(LEAST_RANGE_J)),
)
def test_whatever_a_counter_says_no_step_is_negative_or_more_than_can_be_drawn(
    told: Sequence[tuple[float, float]], range_j: float | None
) -> None:
    states = [CounterState(base="b", told_j=0.0, raw_j=told[0][0], at_s=0.0)]
    for raw_j, seconds in told[1:]:
        new = following(states[-1], raw_j, 0.0, seconds, range_j)
        if new is not None:
            assert 0 <= new.told_j - states[-1].told_j <= HIGHEST_W * (seconds + LAG_S) * (1 + 1e-9)
            states.append(new)
    assert all(a.told_j <= b.told_j for a, b in pairwise(states))


def test_a_coarse_counter_may_step_by_what_it_stood_still_for_and_none_is_followed_back_in_time() -> None:
    before = CounterState(base="b", told_j=0.0, raw_j=0.0, at_s=0.0)
    assert following(before, 5 * HIGHEST_W, 0.0, 1.0, RANGE_J) is None
    coarse = following(before, 5 * HIGHEST_W, 0.0, 1.0, RANGE_J, still_s=9.0)
    assert coarse is not None
    assert coarse.told_j == 5 * HIGHEST_W
    assert following(before, 5 * HIGHEST_W, 0.0, -1.0, RANGE_J, still_s=9.0) is None


@examples(40)
@given(
    start_j=st.floats(0, RANGE_J),
    steps=st.lists(st.tuples(st.floats(0.1, 20.0), DRAWN, st.booleans()), min_size=1, max_size=12),
)
def test_slices_add_up_to_what_was_drawn_whenever_the_counter_can_be_read(
    start_j: float, steps: Sequence[tuple[float, float, bool]]
) -> None:
    """From the first reading to the last, with wraps and pauses in between."""
    with TemporaryDirectory() as folder:
        bench = one_package(Path(folder), start_j, 0.0)
        place, used_j = bench.zones["package-0"][0], start_j
        bench.look()
        for seconds, power_w, is_there in [*steps, (1.0, 50.0, True)]:
            used_j += seconds * power_w
            bench.zones["package-0"] = (place, used_j, 0.0)
            place.show(used_j)
            if is_there:
                bench.look(every_s=seconds)
            else:
                place.vanish()
                bench.move(seconds)
        booked_j = [piece.energy_j for piece in bench.slices("package-0")]
    assert all(energy_j is not None and energy_j >= 0 for energy_j in booked_j)
    assert sum(filter(None, booked_j)) == pytest.approx(used_j - start_j, rel=1e-9, abs=1e-4)


class Told(CpuClock):
    """Tells these times, one after the other."""

    def __init__(self, *times: CpuTimes | None) -> None:
        self._times = iter(times)

    def look(self, now: datetime) -> CpuTimes | None:
        return next(self._times)


def test_every_zone_is_divided_by_the_cpu_time_since_it_was_read_itself(tmp_path: Path) -> None:
    """A zone that could not be read for a while is divided by all of that while."""
    package, dram = zone(tmp_path, "intel-rapl:0", "package-0"), zone(tmp_path, "intel-rapl:0:0", "dram")
    times = [
        CpuTimes(host_s=100.0, runs_s={"1.1": 30.0}),
        CpuTimes(host_s=102.0, runs_s={"1.1": 31.0, "2.1": 0.5}),
        CpuTimes(host_s=104.0, runs_s={"2.1": 1.0}),
    ]
    backend = RaplBackend(tmp_path, tmp_path, Told(*times, None))
    told = []
    for is_there in (True, False, True, True):
        package.show(5.0)
        dram.show(5.0) if is_there else dram.vanish()
        told.append([dict(reading.shares) for reading in backend.sample()])
    assert told == [[{}, {}], [{"1.1": 0.5, "2.1": 0.25}], [{"2.1": 0.25}, {"2.1": 0.25}], [{}, {}]]


# --- a clock that is set


@pytest.mark.parametrize("set_by_s", [18_000.0, -18_000.0])
def test_a_counter_goes_on_however_the_wall_clock_is_set(tmp_path: Path, set_by_s: float) -> None:
    bench = one_package(tmp_path)
    bench.look(5)
    bench.set_by_s = set_by_s
    bench.look(5)
    assert bench.used_j("package-0") == pytest.approx(200.0 * 9 * PERIOD_S)


@pytest.mark.parametrize("set_by_s", [18_000.0, -18_000.0, -250.0])
def test_a_restart_goes_by_the_time_since_the_boot_not_by_the_wall_clock(tmp_path: Path, set_by_s: float) -> None:
    bench = one_package(tmp_path)
    bench.look(5)
    bench.move(20)
    bench.set_by_s = set_by_s
    bench.open()
    bench.look(1)
    assert bench.used_j("package-0") == pytest.approx(200.0 * (4 * PERIOD_S + 20 + PERIOD_S))


def test_a_pause_in_which_it_may_have_wrapped_twice_is_unknown_though_the_wall_clock_says_it_was_short(
    tmp_path: Path,
) -> None:
    bench = one_package(tmp_path)
    bench.look(5)
    bench.move(2 * RANGE_J / 200.0)
    bench.set_by_s = -2 * RANGE_J / 200.0
    bench.open()
    bench.look(2)
    assert len({reading.counter for reading in bench.of("package-0")}) == 2
