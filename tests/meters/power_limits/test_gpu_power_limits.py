"""Power limits are read, set and read back through real drivers' libraries, by a process of its own."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenrun.core.energy.model import Device, Quality
from greenrun.core.energy.power_limit import LimitChange, LimitFault, LimitFaultKind, LimitReading
from greenrun.meters.emulation.emulated_limits import EmulatedLimits
from greenrun.meters.emulation.power_model import EMULATED, Charge, Counters, Watts, WattsBackend
from greenrun.meters.gpu import nvidia
from greenrun.meters.power_limits.gpu_power_limits import COMMAND, GpuPowerLimits
from greenrun.meters.power_limits.helper import answer
from greenrun.meters.power_limits.limit_exchange import pack_changes, unpack_answers
from greenrun.meters.power_limits.rights import PowerLimitRights
from greenrun.meters.run_folders import RunSpan
from tests.conftest import absent
from tests.meters.nvml.driver import Driver, board, built, constant, uuid
from tests.patience import HANGS_S
from tests.world import T0

ROOT_ONLY = "NVIDIA's driver lets only root, with CAP_SYS_ADMIN, set power limits"
BOARDS = [
    *board(0, constant(), limit=700000, min=200000, max=700000),
    *board(1, constant(), limit=400000, min=100000, max=400000),
]


DEVICES = [Device(id=uuid(index), index=index, model="GPU", source="nvml") for index in (0, 1)]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Two boards of which the helper's processes find the limits that others have set."""
    driver = Driver(built(), tmp_path, t0_s=0.0)
    driver.show(monkeypatch)
    monkeypatch.setenv("FAKE_NVML_STATE", str(tmp_path / "limits"))
    driver.play(*BOARDS)
    return driver


@pytest.fixture
def limits(tmp_path: Path) -> GpuPowerLimits:
    """Without a service."""
    return GpuPowerLimits(state_dir=tmp_path, busy_w=350.0, service=tmp_path / "none", limit_s=HANGS_S)


def nvml(index: int, limit_w: float | None = None, expected_w: float | None = None) -> LimitChange:
    return LimitChange(device=uuid(index), source="nvml", limit_w=limit_w, expected_w=expected_w)


def test_a_limit_is_set_read_back_and_restored_by_one_process_after_another(
    driver: Driver, limits: GpuPowerLimits
) -> None:
    before = LimitReading(limit_w=700.0, least_w=200.0, most_w=700.0, default_w=700.0)
    other = LimitReading(limit_w=400.0, least_w=100.0, most_w=400.0, default_w=400.0)
    assert limits.change([nvml(0), nvml(1)]) == {uuid(0): before, uuid(1): other}
    (lowered,) = limits.change([nvml(0, 490.0, 700.0)]).values()
    assert isinstance(lowered, LimitReading)
    assert (lowered.limit_w, lowered.default_w) == (490.0, 700.0)
    assert limits.change([nvml(0), nvml(1)])[uuid(1)] == other
    assert limits.change([nvml(0, 700.0, 490.0)]) == {uuid(0): before}


def test_what_somebody_else_has_changed_is_not_touched(driver: Driver, limits: GpuPowerLimits) -> None:
    limits.change([nvml(0, 300.0)])
    (found,) = limits.change([nvml(0, 490.0, 700.0)]).values()
    assert isinstance(found, LimitFault)
    assert (found.kind, found.limit_w) == (LimitFaultKind.CHANGED, 300.0)


def test_it_never_leaves_the_bounds_of_a_board(driver: Driver, limits: GpuPowerLimits) -> None:
    found = limits.change([nvml(0, 10.0), nvml(1, 5000.0)])
    assert [row.limit_w for row in found.values()] == [200.0, 400.0]


def test_a_user_without_the_right_is_told_so(driver: Driver, limits: GpuPowerLimits, tmp_path: Path) -> None:
    driver.play(*BOARDS, *(f"fault {index} nvmlDeviceSetPowerManagementLimit 0 1e12 4" for index in (0, 1)))
    (refused,) = limits.change([nvml(0, 490.0, 700.0)]).values()
    assert refused == LimitFault(kind=LimitFaultKind.NO_RIGHTS, why=ROOT_ONLY)
    assert PowerLimitRights(limits, lambda: DEVICES).trouble() == ROOT_ONLY


def test_who_has_the_right_is_found_out_without_changing_anything(driver: Driver, limits: GpuPowerLimits) -> None:
    limits.change([nvml(0, 300.0)])
    assert PowerLimitRights(limits, lambda: DEVICES).trouble() is None
    assert [row.limit_w for row in limits.change([nvml(0), nvml(1)]).values()] == [300.0, 400.0]


def test_a_board_that_has_none_or_is_lost_is_told_apart(driver: Driver, limits: GpuPowerLimits) -> None:
    driver.play(*BOARDS, "fault 0 nvmlDeviceGetPowerManagementLimit 0 1e12 3", "fault 1 * 0 1e12 15")
    unable, lost = limits.change([nvml(0, 490.0), nvml(1)]).values()
    assert isinstance(unable, LimitFault)
    assert isinstance(lost, LimitFault)
    assert (unable.kind, lost.kind) == (LimitFaultKind.UNSUPPORTED, LimitFaultKind.UNREACHABLE)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nowhere/python"], "the program that sets power limits cannot be started"),
        (["true"], "the program that sets power limits gave no answer"),
        ([sys.executable, "-c", "print('{}')"], "the program that sets power limits gave no answer"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "the program that sets power limits ended with 3"),
    ],
)
def test_a_program_that_does_not_answer_is_a_fault_of_each_device(command: list[str], why: str, tmp_path: Path) -> None:
    limits = GpuPowerLimits(state_dir=tmp_path, busy_w=1.0, service=tmp_path / "none", command=command, limit_s=HANGS_S)
    for found in limits.change([nvml(0), nvml(1)]).values():
        assert isinstance(found, LimitFault)
        assert found.kind is LimitFaultKind.UNREACHABLE
        assert found.why.startswith(why)


def test_a_driver_that_hangs_is_given_up(tmp_path: Path) -> None:
    limits = GpuPowerLimits(
        state_dir=tmp_path, busy_w=1.0, service=tmp_path / "none", command=["sleep", "1000"], limit_s=0.2
    )
    (found,) = limits.change([nvml(0)]).values()
    assert isinstance(found, LimitFault)
    assert found.why == "the program that sets power limits did not end within 0.2 s and was killed"


@pytest.mark.parametrize("source", ["constant", "none", "external"])
def test_gpus_that_no_driver_answers_for_have_no_limit(source: str, limits: GpuPowerLimits) -> None:
    (found,) = limits.change([LimitChange(device="a", source=source)]).values()
    assert isinstance(found, LimitFault)
    assert found.kind is LimitFaultKind.UNSUPPORTED


# the service, which has the right where the daemon has not


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """A socket that starts the helper for each connection, as systemd does."""
    path, stopped = tmp_path / "service.socket", threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(0.1)
        thread = threading.Thread(target=_serve, args=(listening, stopped))
        thread.start()
        yield path
        stopped.set()
        thread.join(HANGS_S)


def _serve(listening: socket.socket, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            line, _ = listening.accept()
        except TimeoutError:
            continue
        with line:
            line.setblocking(True)
            subprocess.run([*COMMAND, "--service"], stdin=line.fileno(), stdout=line.fileno(), timeout=HANGS_S)


def test_the_service_sets_limits_for_root_alone(service: Path, driver: Driver, tmp_path: Path) -> None:
    limits = GpuPowerLimits(
        state_dir=tmp_path, busy_w=1.0, service=service, command=["/nowhere/python"], limit_s=HANGS_S
    )
    (found,) = limits.change([nvml(0, 490.0, 700.0)]).values()
    if os.getuid() == 0:
        assert isinstance(found, LimitReading)
        assert found.limit_w == 490.0
    else:
        assert isinstance(found, LimitFault)
        assert found.kind is LimitFaultKind.UNREACHABLE


def test_the_service_touches_no_emulated_gpu_and_no_file_that_a_request_names(tmp_path: Path) -> None:
    request = pack_changes([LimitChange(device="a", source="emulated", limit_w=200.0)], (tmp_path, 350.0))
    (found,) = unpack_answers(answer(request, is_service=True)).values()
    assert isinstance(found, LimitFault)
    assert found.kind is LimitFaultKind.UNSUPPORTED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "request_",
    [b"", b"[]", b"null", b"{}", b'{"changes": 1}', b'{"changes": [{"device": 1, "source": "nvml"}]}', b"[" * 10_000,
     b'{"changes": [{"device": "a", "source": "nvml", "limit_w": "1"}]}',
     b'{"changes": [{"device": "a", "source": "nvml", "limit_w": NaN}]}'],
)  # fmt: skip
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    with pytest.raises(ValueError):
        answer(request_, is_service=True)


# emulated GPUs


def test_an_emulated_gpu_draws_no_more_than_its_limit_from_when_it_was_set(
    limits: GpuPowerLimits, tmp_path: Path
) -> None:
    device = EMULATED.devices("h", 1, Watts(idle=60.0, busy=350.0))[0]
    (found,) = limits.change([LimitChange(device=device.id, source="emulated", limit_w=245.0)]).values()
    assert found == LimitReading(limit_w=245.0, least_w=140.0, most_w=350.0, default_w=350.0)
    ((at, limit_w),) = EmulatedLimits(tmp_path).since()[device.id]
    assert limit_w == 245.0
    times = iter([at, at, *([at.replace(year=at.year + 1)] * 9)])
    backend = WattsBackend(
        [device], Quality.EMULATED, Watts(idle=60.0, busy=350.0), lambda now: {device.id: [RunSpan(T0, None)]},
        lambda: next(times), Counters(name="c", charges={device.id: Charge(at=at, energy_j=0.0)}),
        limits=EmulatedLimits(tmp_path).since,
    )  # fmt: skip
    readings = backend.sample()
    assert readings is not None
    assert backend.telemetry()[device.id].power_w == 245.0


# a real GPU


def test_a_real_gpu_is_lowered_read_back_and_restored(tmp_path: Path) -> None:
    """Where there is one, and the right to: by a tenth of its limit, for a moment."""
    if not Path("/dev/nvidia0").exists():
        pytest.skip("there is no real NVIDIA GPU here: no /dev/nvidia0")
    nvidia.open_driver()
    found = nvidia.board_at(0)
    if found is None:
        absent("the NVIDIA GPU here cannot be read")
    limits = GpuPowerLimits(state_dir=tmp_path, busy_w=1.0, limit_s=HANGS_S)
    ask = LimitChange(device=found.device.id, source="nvml")
    before = limits.change([ask])[found.device.id]
    if isinstance(before, LimitFault):
        absent(f"its power limit cannot be read: {before.why}")
    lower_w = max(before.least_w, 0.9 * before.limit_w)
    lowered = limits.change(
        [LimitChange(device=found.device.id, source="nvml", limit_w=lower_w, expected_w=before.limit_w)]
    )[found.device.id]
    if isinstance(lowered, LimitFault):
        pytest.skip(f"its power limit cannot be set here: {lowered.why}")
    restored = limits.change(
        [LimitChange(device=found.device.id, source="nvml", limit_w=before.limit_w, expected_w=lowered.limit_w)]
    )[found.device.id]
    assert lowered.limit_w == pytest.approx(lower_w, abs=1)
    assert restored == before
