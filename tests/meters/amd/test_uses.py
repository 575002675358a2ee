"""Who uses AMD's GPUs: the library lists all that have one open, so those that compute on it are told apart."""

from pathlib import Path
from typing import Any

import pytest

from greenrun.core.energy.model import GpuProcess
from greenrun.meters.gpu import amd
from tests.meters.amd.bench import AmdBench, gpu, play, uuid
from tests.meters.nvml.driver import constant

GIB = 1 << 30


def process(pid: int, vram: object, mem: object = "N/A") -> dict[str, Any]:
    return {"name": "python", "pid": pid, "mem": mem, "memory_usage": {"gtt_mem": 0, "cpu_mem": 0, "vram_mem": vram}}


def told(patch: pytest.MonkeyPatch, folder: Path, *rows: dict[str, Any], **options: object) -> object:
    play(patch, folder, gpu(constant(), processes=rows, **options))
    return AmdBench(folder).backend.gpu_uses(is_urgent=False)[uuid(0)].processes


@pytest.mark.parametrize("options", [{}, {"process_handles": True}], ids=["rows", "handles"])
def test_processes_are_told_with_their_memory_whatever_the_release(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any]
) -> None:
    rows = [process(42, 8 * GIB), process(43, "N/A", GIB), {"process_info": process(44, GIB)}, process(45, "N/A")]
    assert told(monkeypatch, tmp_path, *rows, **options) == (
        GpuProcess(pid=42, memory_bytes=8 * GIB),
        GpuProcess(pid=43, memory_bytes=GIB),
        GpuProcess(pid=44, memory_bytes=GIB),
        GpuProcess(pid=45),
    )


def test_one_that_has_only_opened_it_uses_none_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert told(monkeypatch, tmp_path, process(42, 0, 0), process(0, GIB)) == ()


def test_one_that_the_kernel_does_not_know_to_compute_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kfd" / "42").mkdir(parents=True)
    monkeypatch.setattr(amd, "KFD_PROCESSES", str(tmp_path / "kfd"))
    assert told(monkeypatch, tmp_path, process(42, GIB), process(43, GIB)) == (
        GpuProcess(pid=42, memory_bytes=GIB),
        GpuProcess(pid=43, memory_bytes=GIB, is_graphics=True),
    )


def test_a_library_that_tells_none_is_believed_to_know_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    play(monkeypatch, tmp_path, gpu(constant(), faults={"processes": [0, 99]}))
    use = AmdBench(tmp_path).backend.gpu_uses(is_urgent=False)[uuid(0)]
    assert (use.processes, use.fault) == (None, None)


def test_a_gpu_of_which_nothing_is_told_any_more_is_lost_until_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(monkeypatch, tmp_path, gpu(constant()), gpu(constant(), faults={"*": [5, 20]}))
    bench = AmdBench(tmp_path)
    faults = []
    for second in (4.0, 12.0, 22.0):
        bench.run(second)
        faults.append(bench.backend.gpu_uses(is_urgent=True)[uuid(1)].fault)
    assert faults == [None, "AMD's driver tells nothing of it any more", None]
