"""`with greenrun.measure()`: quiet, lets pass what its block raises, and leaves nothing behind."""

import json
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

import greenrun
from greenrun.clock import utc_now
from greenrun.core.errors import ConfigError
from greenrun.measuring import Measurement, measurement
from greenrun.measuring.choosing import choose
from greenrun.measuring.measurement import READING_LIMIT_S
from greenrun.meters.sampler.child import Child
from greenrun.meters.sampler.wire import Message
from tests.meters.cpu.powercap import FakeZone, zone
from tests.patience import until


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's own settings, no GPU, and all the time that a busy machine takes for a reading."""
    monkeypatch.setattr(measurement, "READING_LIMIT_S", 30.0)
    for name in [name for name in os.environ if name.startswith(("GREENRUN_", "CUDA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeZone:
    """A package of a CPU."""
    monkeypatch.setenv("GREENRUN_DEVICES__POWERCAP", str(tmp_path / "powercap"))
    return zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 1000.0)


def use(cpu: FakeZone, measurement: Measurement, energy_j: float) -> None:
    """Let the CPU have used this much in all, and the measurement see it."""
    cpu.show(1000.0 + energy_j)
    until(lambda: measurement.so_far().energy_j == pytest.approx(energy_j, rel=0.1))


def samplers() -> set[int]:
    """The processes that this one has started and not ended."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_a_block_s_energy_is_there_once_it_is_left(cpu: FakeZone, capfd: pytest.CaptureFixture[str]) -> None:
    with greenrun.measure(meter="none") as m:
        use(cpu, m, 60.0)
        use(cpu, m, 100.0)
    assert m.energy_j == pytest.approx(100.0, rel=0.1)
    assert m.duration_s > 0
    assert (m.emissions_g, m.intensity) == (None, None)
    assert [(device.kind, device.quality) for device in m.devices] == [("cpu", "measured")]
    assert json.loads(json.dumps(m.to_dict()))["energy_j"] == m.energy_j
    assert "Wh ± 5 % (measured)" in str(m)
    assert "emissions unknown: no zone is set" in str(m)
    assert capfd.readouterr() == ("", "")


def test_what_the_block_raises_passes_and_what_it_used_is_known(cpu: FakeZone) -> None:
    failing = greenrun.measure(meter="none")

    def fail() -> None:
        with failing as m:
            use(cpu, m, 10.0)
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        fail()
    assert failing.energy_j == pytest.approx(10.0, rel=0.1)


def test_measurements_may_be_nested_and_leave_nothing_behind(cpu: FakeZone, tmp_path: Path) -> None:
    before = samplers(), threading.active_count()
    with greenrun.measure(meter="none") as outer:
        with greenrun.measure(meter="none") as inner:
            cpu.show(1020.0)
        cpu.show(1050.0)
    assert (samplers(), threading.active_count()) == before
    assert list(tmp_path.glob("greenrun-measure-*")) == []
    assert outer.duration_s > inner.duration_s
    assert (outer.energy_j or 0) > (inner.energy_j or 0)


def test_a_long_measurement_folds_what_it_heard_and_asks_again(cpu: FakeZone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(measurement, "BEAT_S", 0.05)
    monkeypatch.setattr(measurement, "ASK_EVERY_S", 0.1)
    monkeypatch.setattr(measurement.WindowIntensity, "ask", lambda self: asked.append(1))
    with greenrun.measure(meter="none") as m:
        for used_j in (20.0, 50.0, 90.0):
            use(cpu, m, used_j)
        until(lambda: len(asked) >= 3)
    assert m.energy_j == pytest.approx(90.0, rel=0.1)


@pytest.mark.parametrize("opened", [0, 1])
def test_an_interrupt_while_meters_are_opened_leaves_nothing_behind(
    cpu: FakeZone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: int
) -> None:
    """As when somebody stops a notebook's cell."""
    hear, heard = Child.hear, []

    def interrupted(self: Child, limit_s: float) -> Message:
        heard.append(self)
        if len(heard) > opened and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return hear(self, limit_s)

    before = samplers(), threading.active_count()
    monkeypatch.setattr(Child, "hear", interrupted)
    with pytest.raises(KeyboardInterrupt), greenrun.measure(meter="emulated" if opened else "none"):
        pass
    assert (samplers(), threading.active_count()) == before
    assert list(tmp_path.glob("greenrun-measure-*")) == []


def test_a_clock_that_was_set_back_makes_it_unknown_and_does_not_leave_out_a_part(
    cpu: FakeZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readings since then are before those that were heard, and their joules are nobody's."""
    with greenrun.measure(meter="none") as m:
        use(cpu, m, 60.0)
        monkeypatch.setattr(measurement, "utc_now", lambda: utc_now() - timedelta(seconds=5))
    assert (m.energy_j, m.emissions_g) == (None, None)
    assert "the clock was set back" in str(m)


def test_what_an_end_may_still_need_is_not_folded(cpu: FakeZone, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instant that is being waited for may be in the minute before a look at the meters."""
    folded: list[datetime] = []
    monkeypatch.setattr(measurement, "BEAT_S", 0.02)
    monkeypatch.setattr(measurement.DeviceWindow, "fold", lambda self, through: folded.append(through))
    with greenrun.measure(meter="none"):
        until(lambda: folded)
    assert max(folded) < utc_now() - timedelta(seconds=READING_LIMIT_S)


def test_sources_are_closed_whoever_asked_them(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(measurement.WindowIntensity, "covers", lambda self, end: True)
    monkeypatch.setattr(measurement.WindowIntensity, "close", lambda self: closed.append(1))
    with greenrun.measure(meter="none", cpu_meter="none"):
        pass
    assert closed == [1]


def test_figures_before_the_end_are_refused_and_so_is_a_second_use() -> None:
    once = greenrun.measure(meter="none", cpu_meter="none")
    with pytest.raises(RuntimeError, match="has not begun"):
        once.so_far()
    with once as m, pytest.raises(RuntimeError, match="not over yet"):
        _ = m.energy_j
    with pytest.raises(RuntimeError, match="measures once"), once:
        pass


def test_where_nothing_can_be_read_the_block_runs_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    with greenrun.measure() as m:
        pass
    assert (m.energy_j, m.devices) == (None, ())
    assert any(refusal.startswith("nvml: ") for refusal in m.refusals)
    assert capfd.readouterr() == ("", "")


def test_settings_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        greenrun.measure(config=tmp_path / "missing.toml")


@pytest.mark.system
def test_a_killed_process_leaves_no_sampler(cpu: FakeZone) -> None:
    script = (
        "import greenrun, threading\n"
        "with greenrun.measure(meter='none') as m:\n    print('begun', flush=True); threading.Event().wait(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert children != []
    process.kill()
    process.communicate()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_importing_greenrun_loads_next_to_nothing() -> None:
    code = "import sys, greenrun; print([name for name in sys.modules if name.startswith(('greenrun.', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'measured'"):
        greenrun.measured  # noqa: B018


@pytest.mark.parametrize(
    ("named", "cpu_kinds", "externals"),
    [((), ("none",), ["sled", "plug"]), (("rapl",), ("rapl", "none"), ["plug"]), (("none",), ("none",), ["plug"])],
)
def test_a_cpu_is_counted_once_where_the_settings_count_it_elsewhere(
    tmp_path: Path, named: tuple[str, ...], cpu_kinds: tuple[str, ...], externals: list[str]
) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(
        '[devices.external.sled]\nkind = "command"\ncommand = ["true"]\nunit = "J"\ncomponent = "cpu"\nevery = "2s"\n'
        '[devices.external.plug]\nkind = "command"\ncommand = ["true"]\nunit = "J"\n',
        encoding="utf-8",
    )
    chosen = choose(file, (), named, environ={}).meters
    assert chosen.cpu_kinds == cpu_kinds
    assert [each.name for each in chosen.external] == externals


def test_meters_that_are_named_come_before_the_settings_and_those_before_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text('[devices]\nmeter = "emulated"\n', encoding="utf-8")
    nothing = choose(environ={"XDG_CONFIG_HOME": str(tmp_path)}).meters
    assert (nothing.kinds, nothing.cpu_kinds) == (("nvml", "amd", "none"), ("rapl", "none"))
    stated = choose(file, environ={}).meters
    assert (stated.kinds, stated.cpu_kinds) == (("emulated", "none"), ("rapl", "none"))
    assert choose(file, ("nvml",), ("none",), environ={}).meters.kinds == ("nvml", "none")
