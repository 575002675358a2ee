"""Of the kernel's powercap tree every package and its memory is read, once, and nothing that is in them besides."""

from pathlib import Path

import pytest

from greenrun.core.energy.model import Component
from greenrun.meters.cpu.powercap import without_mirrors, zones_in
from tests.meters.cpu.powercap import RANGE_J, two_sockets, zone


def test_packages_and_dram_are_found_once_each_and_nothing_else(tmp_path: Path) -> None:
    two_sockets(tmp_path)
    found = [(one.name, one.kind, one.folder.name, one.counter_j()) for one in zones_in(tmp_path)]
    assert found == [
        ("package-0", Component.CPU, "intel-rapl:0", 1000.0),
        ("package-0-dram", Component.DRAM, "intel-rapl:0:2", 300.0),
        ("package-1", Component.CPU, "intel-rapl:1", 1001.0),
        ("package-1-dram", Component.DRAM, "intel-rapl:1:2", 301.0),
    ]


def test_a_package_that_only_another_driver_shows_is_found(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl-tpmi:1", "package-1")
    assert [one.folder.name for one in zones_in(tmp_path)] == ["intel-rapl:0", "intel-rapl-tpmi:1"]


def test_the_order_of_the_folders_changes_no_package(tmp_path: Path) -> None:
    """The kernel numbers zones as they come up."""
    zone(tmp_path, "intel-rapl:0", "package-10", 10.0)
    zone(tmp_path, "intel-rapl:1", "psys", 99.0)
    zone(tmp_path, "intel-rapl:2", "package-2", 2.0)
    assert [(one.name, one.counter_j()) for one in zones_in(tmp_path)] == [("package-2", 2.0), ("package-10", 10.0)]


def test_dies_are_counted_each_unless_they_show_one_counter(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0-die-0", 500.0)
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", 500.0)
    zone(tmp_path, "intel-rapl:2", "package-1-die-0", 500.0)
    zone(tmp_path, "intel-rapl:3", "package-1-die-1", 501.0)
    assert [one.name for one in without_mirrors(zones_in(tmp_path))[0]] == [
        "package-0-die-0",
        "package-1-die-0",
        "package-1-die-1",
    ]


def test_memory_is_no_mirror_of_its_package(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 7.0)
    zone(tmp_path, "intel-rapl:0:0", "dram", 7.0)
    assert len(without_mirrors(zones_in(tmp_path))[0]) == 2


@pytest.mark.parametrize(("text", "range_j"), [(None, RANGE_J), ("0\n", None), ("nonsense", None), ("-5\n", None)])
def test_a_range_that_cannot_be_read_is_none(tmp_path: Path, text: str | None, range_j: float | None) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0")
    if text is not None:
        package.say(text, "max_energy_range_uj")
    assert [one.range_j for one in zones_in(tmp_path)] == [range_j]


@pytest.mark.parametrize("text", ["", "nonsense", "-1"])
def test_a_counter_that_says_nothing_sensible_is_an_error(tmp_path: Path, text: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0").say(text)
    with pytest.raises(ValueError):
        zones_in(tmp_path)[0].counter_j()


def test_a_tree_that_is_not_there_has_no_zones(tmp_path: Path) -> None:
    assert zones_in(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("behind_j", "watts", "names"),
    [
        (0.02, (68.0, 68.0), ["package-0-die-0"]),
        (-0.02, (68.0, 68.0), ["package-0-die-0"]),
        (0.00006, (240.0, 240.0), ["package-0-die-0"]),
        (0.02, (68.0, 61.0), ["package-0-die-0", "package-0-die-1"]),
        (0.9, (68.0, 60.0), ["package-0-die-0", "package-0-die-1"]),
        (0.02, (0.0, 0.0), ["package-0-die-0", "package-0-die-1"]),
    ],
    ids=["behind", "ahead", "a tick", "two dies", "two dies far", "neither moves"],
)
def test_a_die_whose_counter_is_a_tick_behind_is_known_by_how_it_advances(
    tmp_path: Path, behind_j: float, watts: tuple[float, float], names: list[str]
) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0-die-0", 5000.0)
    second = zone(tmp_path, "intel-rapl:1", "package-0-die-1", 5000.0 - behind_j)
    passed_s = [0.0]

    def pause(seconds: float) -> None:
        passed_s[0] += seconds
        first.show(5000.0 + watts[0] * passed_s[0])
        second.show(5000.0 - behind_j + watts[1] * passed_s[0])

    kept, said = without_mirrors(zones_in(tmp_path), pause)
    assert [one.name for one in kept] == names
    assert len(said) == 2 - len(names)


def test_one_look_between_the_updates_of_two_mirrors_makes_no_second_die_of_one(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0-die-0", 5000.0)
    second = zone(tmp_path, "intel-rapl:1", "package-0-die-1", 4999.98)
    looks = [0]

    def pause(seconds: float) -> None:
        looks[0] += 1
        first.show(5000.0 + 3.4 * looks[0])
        second.show(4999.98 + 3.4 * (looks[0] - (looks[0] == 4)))

    assert [one.name for one in without_mirrors(zones_in(tmp_path), pause)[0]] == ["package-0-die-0"]
