"""Spawn a shim: its specification, its environment, and the device locks that it inherits."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from signal import Signals
from types import MappingProxyType

from greenrun.core.energy.gpu_parts import driver_name
from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import GpuIds, Job, Run
from greenrun.core.jobs.script_argument import own_files
from greenrun.executors import shim_entry
from greenrun.executors.containers.engines import HELPERS, ContainerEngine, contained
from greenrun.executors.run_folder import PROGRESS, SUPERVISES

NO_GPU = "-1"  # HIP reads this as "none", and an empty string as "not set"
DEFAULT_ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}  # else a log shows what Python printed only pages later
_ROCR_UUID = re.compile(r"GPU-[0-9a-f]{16}")


def shim_spec(
    run: Run,
    job: Job,
    *,
    folder: Path,
    checkpoints: Path,
    log_cap_bytes: int,
    devices: Sequence[Device] = (),
    gpu_ids: GpuIds = GpuIds.UUID,
    limits: Mapping[str, str] = MappingProxyType({}),
    container_engine: ContainerEngine = ContainerEngine.AUTO,
) -> dict[str, object]:
    """Return the shim's specification (`shim.Spec`) except its locks; never store it: it holds the environment.

    `devices` are those of the host, from which the vendor of the run's GPUs follows; `gpu_ids` is the form of their
    names for a job that asks for none, and `limits` are those of a job that states none of its own. Raise ExecutorError
    where no engine can make the container that it asks for.
    """
    command: Sequence[str] = job.spec.command
    if job.spec.container is not None:
        command = contained(
            run, job, container_engine, folder=folder, checkpoints=checkpoints, devices=devices,
            gpu_ids=job.spec.gpu_ids or gpu_ids,
        )  # fmt: skip
    return {
        "token": run.token,
        "job": run.job_id,
        "number": run.number,
        "devices": run.devices,
        "runs_dir": str(folder.parent),
        "folder": str(folder),
        "command": command,
        "helpers": HELPERS if job.spec.container is not None else (),
        "noted_files": _own_notes(job),
        "workdir": job.spec.workdir,
        "default_env": DEFAULT_ENVIRONMENT,
        "env": dict(job.spec.env),
        "env_file": job.spec.env_file,
        "own_env": own_environment(run, job, folder, checkpoints)
        | visible(run.devices, devices, job.spec.gpu_ids or gpu_ids),
        "umask": None if job.spec.umask is None else int(job.spec.umask, 8),
        "limits": {**limits, **job.spec.limits},
        "log": job.spec.log,
        "log_cap_bytes": log_cap_bytes,
        "time_limit_s": None if job.spec.time_limit is None else job.spec.time_limit.total_seconds(),
        "grace_s": job.spec.grace.total_seconds(),
        "checkpoint_signal": signal_number(job.spec.checkpoint_signal),
    }


def _own_notes(job: Job) -> dict[str, str]:
    """Return what was noted of the files that the job's command, as it is now, consists of."""
    own = own_files(job.spec.command, job.spec.workdir)
    return {path: job.spec.noted_files[path] for path in own if path in job.spec.noted_files}


def signal_number(name: str) -> int:
    """Return the number of the signal named as `USR1` or `SIGUSR1`; raise ExecutorError if there is none."""
    try:
        return Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError as exc:
        text = f"there is no signal {name!r} on this machine, so the job is not started; submit it with another one"
        raise ExecutorError(text) from exc


def own_environment(run: Run, job: Job, folder: Path, checkpoints: Path) -> dict[str, str]:
    """Return the environment variables that greenrun sets for a run, except its GPUs; they override the job's."""
    variables = {
        "GREENRUN_JOB_ID": str(run.job_id),
        "GREENRUN_RUN": run.label,
        "GREENRUN_ATTEMPT": str(run.number),
        "GREENRUN_RUN_TOKEN": run.token,
        "GREENRUN_CHECKPOINT_DIR": str(checkpoints),
        "GREENRUN_PROGRESS": str(folder / PROGRESS),
    }
    if job.spec.interruptible:
        variables["GREENRUN_CHECKPOINT_SIGNAL"] = job.spec.checkpoint_signal
        variables["GREENRUN_CHECKPOINT_EXIT_CODE"] = str(job.spec.checkpoint_exit_code)
    if job.spec.finish_by is not None:
        variables["GREENRUN_FINISH_BY"] = iso_text(job.spec.finish_by)
    if job.spec.cpus is not None:
        variables["GREENRUN_CPUS"] = f"{job.spec.cpus:g}"
    return variables


def spawn_shim(spec: Mapping[str, object], locks: Sequence[int], label: str) -> tuple[int, int]:
    """Spawn a shim in a session of its own; return its pid and the pipe that closes when its command runs.

    The spec is passed in anonymous memory, so it is complete even if this process dies here. Raise OSError.
    """
    memory = os.memfd_create("greenrun-spec")
    try:
        messages, stderr = os.pipe()
    except OSError:
        os.close(memory)
        raise
    try:
        # Only a duplicate is sure to survive the exec. It may have the number of any that the shim is not to get.
        free = (number for number in count(3) if number not in {memory, stderr, *locks})
        passed = dict(zip(locks, free, strict=False))
        with open(memory, "w", encoding="utf-8", closefd=False) as file:
            json.dump({**spec, "gpu_locks": list(passed.values())}, file)
        os.lseek(memory, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, lock, copy) for lock, copy in passed.items()]
        actions += [(os.POSIX_SPAWN_DUP2, memory, 0), (os.POSIX_SPAWN_DUP2, stderr, 2)]
        return _spawn(actions, label, str(spec["token"])), messages
    except OSError:
        os.close(messages)
        raise
    finally:
        os.close(memory)
        os.close(stderr)


def visible(held: Sequence[str], devices: Iterable[Device], gpu_ids: GpuIds = GpuIds.UUID) -> dict[str, str]:
    """Return the variables that make only those of `devices` visible that are `held` (by id).

    CUDA finds NVIDIA's by UUID, or by index in the order of their PCI addresses, as NVML counts them; a MIG instance
    has no index, so it is always named by its UUID. ROCm's runtime
    filters AMD GPUs first, by UUID or else by index; HIP, which knows only indices, then numbers the
    rest from 0. Without an AMD GPU, its variables are not set.
    """
    there = {device.id: device for device in devices}
    by_driver = {name: driver_name(name) for name in held}  # a slot's is its board's, an instance has its own
    amds = {name: device for name, device in there.items() if device.vendor == "amd"}
    is_counted = gpu_ids is GpuIds.INDEX and not any(name in there and there[name].mig for name in held)
    names = {name: str(there[name].index) for name in held if name in there} if is_counted else by_driver
    if not amds:
        shown = ",".join(names.get(name, name) for name in held)
        return {"CUDA_VISIBLE_DEVICES": shown, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    mine = [amds[name] for name in held if name in amds]
    counted = ",".join(str(number) for number in range(len(mine)))
    others = [names.get(name, name) for name in held if name not in amds]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(others) or counted,  # HIP reads this too
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "ROCR_VISIBLE_DEVICES": ",".join(_rocr_name(device) for device in mine),
        "HIP_VISIBLE_DEVICES": counted or NO_GPU,
    }


def _rocr_name(device: Device) -> str:
    name = driver_name(device.id)
    return name if _ROCR_UUID.fullmatch(name) else str(device.index)


def _spawn(actions: Sequence[tuple[int, int, int]], label: str, token: str) -> int:
    quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    command = [sys.executable, "-I", "-S", "-X", "utf8", shim_entry.__file__, label]
    kept = ("LD_LIBRARY_PATH",)  # where Python itself needs it
    env = {SUPERVISES: token, **{name: os.environ[name] for name in kept if name in os.environ}}
    return os.posix_spawn(sys.executable, command, env, file_actions=[*actions, quiet], setsid=True)
