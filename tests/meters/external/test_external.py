"""An external meter's counter becomes energy by the rules of every counter: wraps, restarts, and nothing guessed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Quality, Reading
from greenrun.core.errors import MeterError
from greenrun.meters import MeterSettings, OpenMeter, open_meter
from greenrun.meters.external.external import ExternalBackend
from greenrun.meters.external.external import asked as ask_really
from greenrun.meters.settings import ExternalSettings
from tests.patience import until

T0 = datetime(2026, 3, 2, tzinfo=UTC)
PDU = ExternalSettings(name="pdu", unit="J", command=("pdu",))
TOGGLES = {"rebased": 0, "unreadable": 0}


class Bench:
    """A backend in virtual time, whose counter says what it is told to."""

    def __init__(self, folder: Path, settings: ExternalSettings = PDU) -> None:
        self.second = 0.0
        self.says: float | str = 0.0
        self._folder = folder
        self.readings: list[Reading] = []
        self.open(settings)

    def open(self, settings: ExternalSettings = PDU) -> None:
        """Begin a process, so to say."""
        self.backend = ExternalBackend(
            settings, self._folder, asked=self._asked,
            now=lambda: T0 + timedelta(seconds=self.second), clock=lambda: self.second,
        )  # fmt: skip

    def ask(self, second: float, says: float | str) -> None:
        """Ask at that second; a text is what is wrong."""
        self.second, self.says = second, says
        self.backend.ask()
        self.readings += self.backend.sample()

    @property
    def told_j(self) -> list[float]:
        """What was told so far."""
        return [reading.energy_j for reading in self.readings]

    @property
    def bases(self) -> int:
        """How many bases were told of."""
        return len({reading.counter for reading in self.readings})

    def _asked(self, _: ExternalSettings) -> float:
        if isinstance(self.says, str):
            raise MeterError(self.says)
        return self.says


def test_it_is_a_device_of_its_component_that_nobody_can_hold(tmp_path: Path) -> None:
    (device,) = Bench(tmp_path).backend.devices
    assert (device.kind, device.source, device.model, device.power_w) == (
        Component.EXTERNAL, "external", "pdu (command)", None,
    )  # fmt: skip
    assert device.id.startswith("EXTERNAL-")
    assert device.id.endswith("-pdu")


def test_its_counter_is_told_from_where_it_was_first_seen_as_measured(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for second, says in ((0, 5000.0), (10, 8000.0), (20, 8000.0), (30, 9500.0)):
        bench.ask(second, says)
    assert bench.told_j == [0, 3000, 3000, 4500]
    assert {reading.quality for reading in bench.readings} == {Quality.MEASURED}
    assert bench.backend.troubles() == {bench.backend.devices[0].id: TOGGLES}


def test_it_wraps_where_it_is_said_to(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(PDU, unit="Wh", wraps_at=100.0))
    for second, says in ((0, 350_000.0), (10, 359_000.0), (20, 2_000.0)):
        bench.ask(second, says)
    assert bench.told_j == [0, 9000, 12_000]
    assert bench.bases == 1


@pytest.mark.parametrize("says", [4000.0, 5000.0 + 20_000 * 11], ids=["goes back", "jumps"])
def test_a_step_that_cannot_be_begins_a_new_base_and_is_flagged(tmp_path: Path, says: float) -> None:
    """What was used meanwhile is then not known."""
    bench = Bench(tmp_path)
    bench.ask(0, 5000.0)
    bench.ask(10, says)
    assert (bench.bases, bench.told_j) == (2, [0, 0])
    assert bench.backend.troubles()[bench.backend.devices[0].id]["rebased"] == 1


def test_a_coarse_counter_that_moves_rarely_and_then_far_is_believed(tmp_path: Path) -> None:
    """A tenth of a kWh every six minutes is 1 kW, though the last ten seconds of them look like 36."""
    bench = Bench(tmp_path, replace(PDU, unit="kWh"))
    for second in range(0, 730, 10):
        bench.ask(second, 360_000.0 * (7 + second // 360))
    assert bench.told_j[-1] == 720_000
    assert bench.bases == 1


def test_a_coarse_counter_is_believed_after_a_restart_too(tmp_path: Path) -> None:
    """What is kept is when it moved last, not when it was read."""
    bench = Bench(tmp_path, replace(PDU, unit="kWh"))
    for second in range(0, 350, 10):
        bench.ask(second, 360_000.0)
    bench.open(replace(PDU, unit="kWh"))
    bench.ask(350, 720_000.0)
    assert (bench.told_j[-1], bench.bases) == (360_000, 1)


def test_while_it_is_away_nothing_is_told_and_when_it_is_back_nothing_is_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.ask(0, 1000.0)
    with pytest.raises(MeterError, match=r"pdu was not read, so .*; its address answers 500\. Try it by hand"):
        bench.ask(10, "its address answers 500")
    bench.ask(20, 21_000.0)
    assert bench.told_j == [0, 20_000]
    assert bench.backend.troubles()[bench.backend.devices[0].id]["unreadable"] == 1


def test_one_that_never_comes_back_is_told_of(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.backend._asking_since_s = 0.0
    bench.second = 6.9
    assert list(bench.backend.sample()) == []
    bench.second = 7.1
    with pytest.raises(MeterError, match="it was asked and does not answer"):
        bench.backend.sample()


def test_a_restart_goes_on_where_the_counter_stood(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.ask(0, 1000.0)
    bench.ask(10, 4000.0)
    bench.second = 3000
    bench.open()
    bench.ask(3600, 900_000.0)
    assert bench.told_j == [0, 3000, 899_000]
    assert bench.bases == 1
    assert bench.readings[-1].session != bench.readings[0].session


@pytest.mark.parametrize("changed", [{"command": ("other",)}, {"unit": "kWh"}, {"value": "a"}, {"name": "pdu2"}])
def test_a_restart_with_another_counter_begins_anew(tmp_path: Path, changed: dict[str, object]) -> None:
    bench = Bench(tmp_path)
    bench.ask(0, 1000.0)
    bench.open(replace(PDU, **changed))  # type: ignore[arg-type]
    bench.ask(10, 4000.0)
    assert (bench.bases, bench.told_j) == (2, [0, 0])


def test_secrets_are_in_no_file(tmp_path: Path) -> None:
    settings = replace(PDU, command=(), url="https://pdu.example/?token=hush-hush-hush")
    bench = Bench(tmp_path, settings)
    bench.ask(0, 1000.0)
    assert all("hush" not in file.read_text() for file in tmp_path.iterdir())


@given(steps=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=30))
def test_any_counter_that_wraps_is_told_to_the_joule(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, float]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("external"), replace(PDU, wraps_at=5_000_000.0))
    bench.ask(0, 0.0)
    second, used_j = 0, 0.0
    for seconds, part in steps:
        second, used_j = second + seconds, used_j + 20_000.0 * seconds * part
        bench.ask(second, used_j % 5_000_000.0)
    assert bench.told_j[-1] == pytest.approx(used_j, abs=1e-3)
    assert bench.bases == 1


@pytest.mark.system
def test_a_real_command_is_asked_and_what_is_wrong_with_its_answer_is_said() -> None:
    assert ask_really(replace(PDU, unit="kWh", command=("/bin/echo", "1.5"))) == 5_400_000
    with pytest.raises(MeterError, match="its answer cannot be used: there is no plain number"):
        ask_really(replace(PDU, command=("/bin/echo", "1.5 kWh")))


@pytest.mark.system
def test_one_that_hangs_holds_up_no_other_and_is_told_of(tmp_path: Path) -> None:
    hangs = replace(PDU, name="hangs", command=("/bin/sleep", "60"), timeout_s=0.2, every_s=1.0, index=1)
    works = replace(PDU, command=("/bin/echo", "7"), every_s=1.0)
    settings = MeterSettings(kinds=("none",), external=(works, hangs))
    meter = open_meter(settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)
    good, bad = meter.devices()
    until(lambda: troubles(meter, bad.id) and meter.read({}), "one is read and the other told of")
    meter.close()
    assert {reading.device for reading in meter.read({})} == {good.id}
    assert troubles(meter, good.id) == 0


def troubles(meter: OpenMeter, device: str) -> int:
    """Return how often asking was in vain."""
    return next(one.troubles.get("unreadable", 0) for one in meter.health().devices if one.device == device)
