"""Counters in the state folder go on over restarts, and never join what does not belong together."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.meters.emulation.counters import counters_in
from greenrun.meters.emulation.power_model import Charge

T0 = datetime(2024, 1, 1, tzinfo=UTC)
CHARGES = {"GPU": Charge(at=T0, energy_j=0.1 + 0.2)}


def test_a_counter_goes_on_where_it_stood(tmp_path: Path) -> None:
    first = counters_in(tmp_path, "emulated", T0)
    first.keep(CHARGES)
    second = counters_in(tmp_path, "emulated", T0 + timedelta(days=1))
    assert (second.name, second.charges) == (first.name, CHARGES)


def test_another_kind_of_meter_has_counters_of_its_own(tmp_path: Path) -> None:
    counters_in(tmp_path, "emulated", T0).keep(CHARGES)
    assert counters_in(tmp_path, "constant", T0).charges == {}


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"boot": "x", "base": "y", "charges": {"GPU": 7}}'])
def test_a_file_that_cannot_be_read_begins_a_new_base(tmp_path: Path, text: str) -> None:
    first = counters_in(tmp_path, "emulated", T0)
    (tmp_path / "meter-emulated.json").write_text(text)
    second = counters_in(tmp_path, "emulated", T0)
    assert second.charges == {}
    assert second.name != first.name


def test_another_boot_begins_a_new_base(tmp_path: Path) -> None:
    counters_in(tmp_path, "emulated", T0).keep(CHARGES)
    path = tmp_path / "meter-emulated.json"
    path.write_text(path.read_text().replace('"boot": "', '"boot": "another-'))
    assert counters_in(tmp_path, "emulated", T0).charges == {}


def test_a_counter_of_the_future_begins_a_new_base(tmp_path: Path) -> None:
    """The clock was set back over a restart: going on would stand still until it had caught up."""
    counters_in(tmp_path, "emulated", T0).keep(CHARGES)
    assert counters_in(tmp_path, "emulated", T0 - timedelta(seconds=1)).charges == {}


def test_a_folder_that_cannot_be_written_stops_no_meter(tmp_path: Path) -> None:
    counters_in(tmp_path / "missing", "emulated", T0).keep(CHARGES)
    assert list(tmp_path.iterdir()) == []
