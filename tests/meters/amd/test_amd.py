"""AMD's GPUs: their counters first, power where those lie, and nothing told twice of a card of two dies."""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.energy.model import Quality, Telemetry
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.amd import AmdDriver
from tests.meters.amd.bench import AmdBench, energy_j, gpu, play, uuid
from tests.meters.nvml.driver import Trace, burst, constant, plateau, square

LENGTH_S = 60.5
TRACES = [
    pytest.param(constant(), id="constant"),
    pytest.param(square(130), id="square"),
    pytest.param(burst(130), id="burst"),
    pytest.param(plateau(30.3), id="plateau"),
]
DIES = {"name": "AMD Instinct MI250X"}

Play = Callable[..., AmdBench]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Open the meter on a script."""

    def open_bench(*gpus: dict[str, Any], **more: object) -> AmdBench:
        play(monkeypatch, tmp_path, *gpus, **more)
        return AmdBench(tmp_path)

    return open_bench


def qualities(bench: AmdBench, index: int = 0) -> set[Quality]:
    """Return the grades that there are."""
    return {reading.quality for reading in bench.of(index)}


# --- which there are


def test_a_gpu_is_told_by_the_uuid_that_makes_it_visible_with_model_memory_and_limit(played: Play) -> None:
    first, second = played(gpu(constant()), gpu(constant(), limit_w=500)).backend.devices
    assert (first.id, first.index, first.model) == (uuid(0), 0, "AMD Instinct MI300X")
    assert (first.source, first.vendor, first.emulated) == ("amd", "amd", False)
    assert (first.memory_bytes, first.power_w, second.power_w) == (192 * 2**30 - 16 * 2**20, 750.0, 500.0)


def test_limits_are_told_in_microwatts_or_in_watts(played: Play) -> None:
    (device,) = played(gpu(constant(), limit_w=500, cap_unit=1)).backend.devices
    assert device.power_w == 500.0


def test_a_gpu_whose_limit_was_lowered_is_believed_up_to_the_highest(played: Play) -> None:
    """Another limit may be set while it is metered."""
    bench = played(gpu(constant(700.0), limit_w=300, highest_w=750))
    bench.run(5.5)
    assert bench.used_j() == pytest.approx(700 * 5, rel=0.001)
    assert qualities(bench) == {Quality.MEASURED}


def test_gpus_come_in_the_order_in_which_programs_count_them(played: Play) -> None:
    devices = played(gpu(constant(), hip_id=1), gpu(constant(), hip_id=0)).backend.devices
    assert [(device.id, device.index) for device in devices] == [(uuid(1), 0), (uuid(0), 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"hip_uuid": "GPU-C0FFEE0123456789"}, "GPU-c0ffee0123456789", id="upper case"),
        pytest.param({"hip_uuid": "", "serial": "0x58AEF00BA4"}, "GPU-00000058aef00ba4", id="an older library"),
        pytest.param({"hip_uuid": "GPU-XX"}, "abff74a1-0000-1000-80f3-000000000000", id="neither"),
        pytest.param({"hip_uuid": f"GPU-{0:016x}"}, "abff74a1-0000-1000-80f3-000000000000", id="none but zeros"),
    ],
)
def test_its_name_is_the_best_that_the_library_has(played: Play, options: dict[str, str], expected: str) -> None:
    assert [device.id for device in played(gpu(constant(), **options)).backend.devices] == [expected]


@pytest.mark.parametrize(
    "missing",
    [KeyError("libamd_smi.so"), ModuleNotFoundError("No module named 'amdsmi'"), OSError("no such file")],
    ids=["the wrapper alone", "no package", "no library"],
)
def test_a_machine_without_rocm_is_told_so_and_nothing_is_printed(
    missing: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed would go between a sampler and its parent."""

    def load() -> object:
        print("Unable to find libamd_smi.so library try installing amd-smi-lib from your package manager")
        raise missing

    with pytest.raises(MeterError, match=r"AMD's library cannot be loaded .*; install amd-smi-lib .*another meter\."):
        AmdDriver(load=load).open_driver()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"init_error": "AMDSMI_STATUS_NO_PERM - Permission Denied"}, "add it to the groups render and video"),
        ({"init_error": "AMDSMI_STATUS_DRIVER_NOT_LOADED - no"}, r"driver \(amdgpu\) is not loaded; load it"),
        ({"init_error": "AMDSMI_STATUS_IO - I/O Error"}, "cannot be asked .*AMDSMI_STATUS_IO.*; see what amd-smi says"),
        ({}, "AMD's driver has no GPU; see what amd-smi says, or choose another meter"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_sentence(played: Play, more: dict[str, str], said: str) -> None:
    with pytest.raises(MeterError, match=said) as refused:
        played(**more)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


# --- how exact it is


@pytest.mark.parametrize("trace", TRACES)
def test_a_counter_is_told_to_a_thousandth(played: Play, trace: Trace) -> None:
    bench = played(gpu(trace))
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, LENGTH_S), rel=0.001)
    assert (qualities(bench), bench.troubles()) == ({Quality.MEASURED}, {})


def test_a_counter_is_found_under_the_name_that_it_had_in_older_releases(played: Play) -> None:
    bench = played(gpu(constant(), key="power"))
    bench.run(5.5)
    assert bench.used_j() == pytest.approx(300 * 5, rel=0.001)


@pytest.mark.parametrize("absent", ["N/A", 0xFFFF, 0])
@pytest.mark.parametrize("power", ["socket_power", "current_socket_power", "average_socket_power"])
def test_power_is_found_under_any_of_its_names(played: Play, power: str, absent: str | int) -> None:
    bench = played(gpu(constant(), energy=0, power=power, absent=absent))
    bench.run(5.5)
    assert bench.used_j() == pytest.approx(300 * 5, rel=0.001)


@pytest.mark.parametrize("trace", TRACES)
def test_without_a_counter_power_is_integrated_to_two_hundredths(played: Play, trace: Trace) -> None:
    bench = played(gpu(trace, energy=0))
    bench.run(120.5)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, 120.5), rel=0.02)
    assert qualities(bench) == {Quality.INTEGRATED}


@pytest.mark.parametrize("trace", TRACES[1:3])
@pytest.mark.parametrize("since_s", [0.0, 20.25], ids=["since the boot", "since then"])
def test_a_counter_that_is_stuck_until_the_next_boot_is_bridged_by_power_ten_times_a_second(
    played: Play, trace: Trace, since_s: float
) -> None:
    """The counters of an MI100. Power is looked at closely only once the counter is known to be stuck."""
    bench = played(gpu(trace, stuck_at=since_s))
    bench.run(120.5)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, 120.5), rel=0.05)
    assert Quality.BRIDGED in qualities(bench)
    assert bench.troubles() == {"stuck": 1}


def test_a_counter_that_goes_back_is_rebased_and_flagged(played: Play) -> None:
    bench = played(gpu(square(130), reset_at=30.5))
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(square(130), 0.5, LENGTH_S), abs=151)
    assert bench.troubles() == {"implausible": 1, "rebased": 1}


def test_a_gpu_that_was_away_loses_nothing(played: Play) -> None:
    bench = played(gpu(constant(), faults={"*": [20, 25]}), gpu(constant(400.0)))
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(300 * 60, rel=0.001)
    assert bench.used_j(1) == pytest.approx(400 * 60, rel=0.001)
    assert bench.troubles() == {"gap": 1, "unreadable": 5}


def test_a_restart_goes_on_where_the_counter_stood_and_after_another_driver_it_does_not(
    played: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = played(gpu(constant()))
    bench.run(10.5)
    bench.second = 15.5
    bench.open()
    bench.run(20.5)
    assert bench.used_j() == pytest.approx(300 * 20, rel=0.001)
    play(monkeypatch, tmp_path, gpu(constant()), driver="6.12")
    bench.open()
    bench.run(21.5)
    assert len({reading.counter for reading in bench.of()}) == 2


# --- cards of two dies, and GPUs in partitions


@pytest.mark.parametrize("second", [{"silent": True}, {"silent": True, "energy": 0}, {"partition": 1}])
def test_a_die_whose_energy_is_in_anothers_is_neither_told_as_0_nor_twice(
    played: Play, second: dict[str, object]
) -> None:
    """It is a GPU that jobs can hold all the same, and says where its energy is."""
    bench = played(gpu(constant(500.0), **DIES), gpu(constant(500.0), **DIES, **second))
    bench.run(20.5)
    assert [device.id for device in bench.backend.devices] == [uuid(0), uuid(1)]
    assert [device.model for device in bench.backend.devices] == [
        "AMD Instinct MI250X",
        f"AMD Instinct MI250X (its energy is in that of {uuid(0)})",
    ]
    assert [device.within for device in bench.backend.devices] == [None, uuid(0)]
    assert bench.of(1) == []
    assert bench.used_j(0) == pytest.approx(500 * 20, rel=0.001)
    assert set(bench.troubles(1)) == {"unreadable"}


def test_all_partitions_of_a_gpu_are_that_of_the_first(played: Play) -> None:
    parts = [gpu(constant(), partition=number) for number in range(4)]
    bench = played(*parts, gpu(constant()))
    bench.run(5.5)
    assert {reading.device for reading in bench.readings} == {uuid(0), uuid(4)}
    assert [device.model.endswith(f"in that of {uuid(0)})") for device in bench.backend.devices] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_a_gpu_that_says_nothing_and_has_no_other_before_it_is_only_unreadable(played: Play) -> None:
    bench = played(gpu(constant(), silent=True), gpu(constant(), name="AMD Radeon PRO W7900"))
    bench.run(3.5)
    assert bench.backend.devices[0].model == "AMD Instinct MI300X"
    assert {reading.device for reading in bench.readings} == {uuid(1)}


# --- beside the energy


def test_telemetry_is_told_in_the_units_of_their_names(played: Play) -> None:
    bench = played(gpu(constant()))
    bench.run(1.5)
    assert bench.backend.telemetry()[uuid(0)] == Telemetry(
        power_w=300.0, power_limit_w=750.0, utilization=0.4, memory_used_bytes=283 * 2**20, temperature_c=47.0
    )


def test_what_is_not_told_is_none_and_never_0(played: Play) -> None:
    bench = played(gpu(constant(), faults={"activity": [0, 99], "temperature": [0, 99], "cap": [0.9, 99]}))
    bench.run(1.5)
    telemetry = bench.backend.telemetry()[uuid(0)]
    assert (telemetry.utilization, telemetry.temperature_c, telemetry.power_limit_w) == (None, None, None)


def test_nothing_is_loaded_before_the_meter_is_opened() -> None:
    assert "amdsmi" not in sys.modules


def test_readings_are_a_second_apart(played: Play) -> None:
    bench = played(gpu(constant()))
    bench.run(5.5)
    pauses = {after.at - before.at for before, after in zip(bench.of(), bench.of()[1:], strict=False)}
    assert pauses == {timedelta(seconds=1)}
