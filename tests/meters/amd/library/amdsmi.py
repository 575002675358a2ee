"""An emulated `amdsmi`: GPUs whose power follows a script, as JSON in the file that FAKE_AMDSMI names.

It is found by PYTHONPATH, or loaded into a test with a clock of its own. Times are in seconds after the script's t0.
"""

import json
import os
from bisect import bisect_right
from enum import IntEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

RESOLUTION_UJ = 15.259
clock = monotonic


class AmdSmiException(Exception):
    """The library's own."""


class AmdSmiTemperatureType(IntEnum):
    """Where there are sensors."""

    EDGE = 0
    HOTSPOT = 1


AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)


def _script():
    path = Path(os.environ["FAKE_AMDSMI"])
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path, _):
    script = json.loads(path.read_text(encoding="utf-8"))
    for gpu in script["gpus"]:
        gpu["starts"], gpu["sums"] = [start for start, _ in gpu["trace"]], [0.0]
        for (start, watts), (end, _) in pairwise(gpu["trace"]):
            gpu["sums"].append(gpu["sums"][-1] + watts * (end - start))
    return script


def _now():
    return clock() - _script()["t0"]


def _gpu(handle, question):
    gpu = _script()["gpus"][handle]
    faults = gpu.get("faults", {}).get(question, gpu.get("faults", {}).get("*"))
    if faults and faults[0] <= _now() < faults[1]:
        raise AmdSmiException("Error code:\n\t30 | AMDSMI_STATUS_BUSY - Device busy")
    return gpu


def _energy_j(gpu, second):
    row = max(0, bisect_right(gpu["starts"], second) - 1)
    start, watts = gpu["trace"][row]
    return gpu["sums"][row] + watts * (second - start)


def amdsmi_init():
    """Open the library."""
    if wrong := _script().get("init_error"):
        raise AmdSmiException(f"Error code:\n\t34 | {wrong}")


def amdsmi_get_processor_handles():
    """Return handles, which are here indices."""
    return list(range(len(_script()["gpus"])))


def amdsmi_get_gpu_driver_info(handle):
    """Tell of the driver."""
    return {"driver_name": "amdgpu", "driver_version": _script().get("driver", "6.10.5"), "driver_date": "N/A"}


def amdsmi_get_gpu_asic_info(handle):
    """Tell of the chip."""
    gpu = _gpu(handle, "asic")
    return {"market_name": gpu.get("name", "AMD Instinct MI300X"), "asic_serial": gpu.get("serial", "N/A")}


def amdsmi_get_gpu_enumeration_info(handle):
    """Tell how programs count and name it."""
    gpu = _gpu(handle, "enumeration")
    return {"hip_id": gpu.get("hip_id", handle), "hip_uuid": gpu.get("hip_uuid", f"GPU-{handle + 1:016x}")}


def amdsmi_get_gpu_device_uuid(handle):
    """Tell the library's own name of it."""
    return f"abff74a1-0000-1000-80f3-{handle:012x}"


def amdsmi_get_gpu_kfd_info(handle):
    """Tell its partition."""
    return {"kfd_id": 1, "node_id": handle + 1, "current_partition_id": _gpu(handle, "kfd").get("partition", 0)}


def amdsmi_get_power_cap_info(handle):
    """Tell its limits, in microwatts, or in watts."""
    gpu = _gpu(handle, "cap")
    limit, unit = gpu.get("limit_w", 750), gpu.get("cap_unit", 10**6)
    return {"power_cap": limit * unit, "max_power_cap": gpu.get("highest_w", limit) * unit, "min_power_cap": 0}


def amdsmi_get_gpu_vram_usage(handle):
    """Tell its memory, in MiB."""
    return {"vram_total": _gpu(handle, "vram").get("vram", 196592), "vram_used": 283}


def amdsmi_get_gpu_process_list(handle):
    """Tell which processes have it open, as dictionaries, or as handles as releases before 6.1 do."""
    gpu = _gpu(handle, "processes")
    if gpu.get("process_handles"):
        return list(range(len(gpu["processes"])))
    return gpu.get("processes", [])


def amdsmi_get_gpu_process_info(handle, process):
    """Tell of a process that was listed by its handle."""
    return _gpu(handle, "processes")["processes"][process]


def amdsmi_get_gpu_activity(handle):
    """Tell how busy it is, in percent."""
    return {"gfx_activity": _gpu(handle, "activity").get("busy", 40), "umc_activity": 0, "mm_activity": "N/A"}


def amdsmi_get_temp_metric(handle, place, metric):
    """Tell a temperature; there is no sensor at the edge."""
    _gpu(handle, "temperature")
    if place is AmdSmiTemperatureType.EDGE:
        raise AmdSmiException("Error code:\n\t2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported")
    return 47


def amdsmi_get_power_info(handle):
    """Tell its power in W, under one of three names."""
    gpu = _gpu(handle, "power")
    watts = gpu["trace"][bisect_right(gpu["starts"], max(0.0, _now())) - 1][1]
    told = dict.fromkeys(("socket_power", "current_socket_power", "average_socket_power"), gpu.get("absent", "N/A"))
    return {**told, gpu.get("power", "socket_power"): 0 if gpu.get("silent") else watts, "power_limit": 0xFFFF}


def amdsmi_get_energy_count(handle):
    """Tell its counter and what one step of it is in microjoules."""
    gpu = _gpu(handle, "energy")
    if gpu.get("energy") == 0:
        raise AmdSmiException("Error code:\n\t2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported")
    second = min(_now(), gpu.get("stuck_at", float("inf")))
    begun = gpu.get("reset_at", float("inf"))
    energy_j = _energy_j(gpu, second) - (_energy_j(gpu, begun) if second >= begun else -gpu.get("base_j", 12345.0))
    steps = 0 if gpu.get("silent") else int(energy_j * 1e6 / RESOLUTION_UJ)
    return {gpu.get("key", "energy_accumulator"): steps, "counter_resolution": RESOLUTION_UJ, "timestamp": 0}
