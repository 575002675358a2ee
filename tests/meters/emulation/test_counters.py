"""Counters in the state folder go on over restarts, and never join what does not belong together."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenrun.meters.emulation.counters import Clocks, counters_in
from greenrun.meters.emulation.power_model import Charge

T0 = datetime(2024, 1, 1, tzinfo=UTC)
CHARGES = {"GPU": Charge(at=T0, energy_j=0.1 + 0.2, base="b1")}


def clocks(passed_s: float = 0.0, *, slept_s: float = 0.0, set_by_s: float = 0.0) -> Callable[[], Clocks]:
    """What the clocks show after some time, in a part of which the machine slept and the wall clock was set."""
    shown = Clocks(now_s=T0.timestamp() + passed_s + set_by_s, boot_s=100 + passed_s, suspended_s=slept_s)
    return lambda: shown


def test_a_counter_goes_on_where_it_stood(tmp_path: Path) -> None:
    first = counters_in(tmp_path, "emulated", clocks())
    first.keep(CHARGES)
    second = counters_in(tmp_path, "emulated", clocks(86_400, set_by_s=0.5))
    assert (second.name, second.charges) == (first.name, CHARGES)


def test_it_goes_on_by_the_clocks_of_this_machine(tmp_path: Path) -> None:
    counters_in(tmp_path, "emulated").keep(CHARGES)
    assert counters_in(tmp_path, "emulated").charges == CHARGES


def test_another_kind_of_meter_has_counters_of_its_own(tmp_path: Path) -> None:
    counters_in(tmp_path, "emulated").keep(CHARGES)
    assert counters_in(tmp_path, "constant").charges == {}


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"boot": "x", "base": "y", "charges": {"GPU": 7}}'])
def test_a_file_that_cannot_be_read_begins_a_new_base(tmp_path: Path, text: str) -> None:
    first = counters_in(tmp_path, "emulated")
    (tmp_path / "meter-emulated.json").write_text(text)
    second = counters_in(tmp_path, "emulated")
    assert second.charges == {}
    assert second.name != first.name


def test_another_boot_begins_a_new_base(tmp_path: Path) -> None:
    counters_in(tmp_path, "emulated").keep(CHARGES)
    path = tmp_path / "meter-emulated.json"
    path.write_text(path.read_text().replace('"boot": "', '"boot": "another-'))
    assert counters_in(tmp_path, "emulated").charges == {}


@pytest.mark.parametrize(
    "since",
    [clocks(60, set_by_s=18_000), clocks(60, set_by_s=-30), clocks(18_060, slept_s=18_000), clocks(-1)],
    ids=["set forward", "set back", "suspended", "of the future"],
)
def test_a_time_that_does_not_tell_what_was_used_begins_a_new_base(tmp_path: Path, since: Callable[[], Clocks]) -> None:
    """Going on would count hours that never were, or in which nothing ran."""
    first = counters_in(tmp_path, "emulated", clocks())
    first.keep(CHARGES)
    second = counters_in(tmp_path, "emulated", since)
    assert (second.charges, second.name != first.name) == ({}, True)


def test_a_folder_that_cannot_be_written_stops_no_meter(tmp_path: Path) -> None:
    counters_in(tmp_path / "missing", "emulated").keep(CHARGES)
    assert list(tmp_path.iterdir()) == []
