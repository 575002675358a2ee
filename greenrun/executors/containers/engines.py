"""Which engine of containers is installed, what a run's GPUs are called to it, and which image a run was made of."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from greenrun.core.energy.gpu_parts import driver_name
from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import GpuIds, Job, Run
from greenrun.executors.command_files.programs import DEFAULT_PATH
from greenrun.executors.containers import container_entry
from greenrun.executors.containers.container_command import APPTAINER, PODMAN
from greenrun.executors.run_folder import read_record
from greenrun.executors.units.device_nodes import nodes_of

CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
CDI_NVIDIA = "nvidia.com/gpu"
MOST_CDI_BYTES = 1 << 20
MOST_CHARACTERS = 1000
_PROGRAMS = {PODMAN: ("podman",), APPTAINER: ("apptainer", "singularity")}
HELPERS = (
    "podman",
    "podman pause",
    "conmon",
    "catatonit",
)  # of an engine, which stay when a container has ended: nobody's fault
_INITS = tuple(Path(folder, "catatonit") for folder in ("/usr/libexec/podman", "/usr/lib/podman", "/usr/bin"))
_FOR_LISTS = frozenset(":,")  # what separates the parts of a mount for an engine


class ContainerEngine(StrEnum):
    """The engine that a site wants; AUTO takes what is installed, podman first."""

    AUTO = "auto"
    PODMAN = PODMAN
    APPTAINER = APPTAINER
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEngine:
    """An engine that is installed."""

    name: str
    program: str


def find_engine(wanted: ContainerEngine, image: str, path: str | None = None) -> InstalledEngine:
    """Return the engine for an image; raise ExecutorError saying what to do where there is none.

    A file or a folder is an image of apptainer; anything else is a name, which podman is asked for first.
    """
    if wanted is ContainerEngine.NONE:
        raise ExecutorError('this site runs no containers ([jobs] container_engine = "none"): leave --container out')
    names = [wanted.value]
    if wanted is ContainerEngine.AUTO:
        names = [APPTAINER] if is_file(image) else [PODMAN, APPTAINER]
    search = path if path is not None else os.environ.get("PATH") or DEFAULT_PATH
    for name in names:
        for program in _PROGRAMS[name]:
            if found := shutil.which(program, path=search):
                return InstalledEngine(name=name, program=os.path.realpath(found) if name == PODMAN else found)
    what = f"{' nor '.join(names)} is"
    raise ExecutorError(
        f"{'neither ' if len(names) > 1 else 'no '}{what} installed where greenrun looks ({search}), and a container "
        f"takes one: install {' or '.join(names)}, or leave --container out"
    )


def is_file(image: str) -> bool:
    """Whether an image is named by its path rather than by its name in a registry."""
    return image.startswith(("/", "./", "../")) or image.endswith(".sif")


def why_not_mounted(paths: Sequence[str]) -> str | None:
    """Say which path no engine can mount; None for none."""
    wrong = next((path for path in paths if _FOR_LISTS & set(path)), None)
    return wrong and f"{wrong} has a colon or a comma in its path, which no engine of containers can mount: rename it"


def contained(
    run: Run,
    job: Job,
    wanted: ContainerEngine,
    *,
    folder: Path,
    checkpoints: Path,
    devices: Sequence[Device],
    gpu_ids: GpuIds = GpuIds.UUID,
) -> list[str]:
    """Return the words that execute a job's command in its container; raise ExecutorError."""
    image = job.spec.container or ""
    engine = find_engine(wanted, image)
    there = {device.id: device for device in devices}
    makers = {there[name].vendor for name in run.devices if name in there}
    workdir = job.spec.workdir
    mounts = list(dict.fromkeys([workdir, str(checkpoints), str(folder)]))
    if why := why_not_mounted(mounts):
        raise ExecutorError(why)
    plan = {
        "engine": engine.name,
        "program": engine.program,
        "image": _for(engine.name, image, workdir),
        "workdir": workdir,
        "mounts": mounts,
        "devices": list(podman_devices(run.devices, devices)) if engine.name == PODMAN else [],
        "gpus": "amd" if "amd" in makers else "nvidia" if run.devices else "",
        "label": run.label,
        "record": str(folder),
        "counted": len(run.devices) if gpu_ids is GpuIds.INDEX else 0,
        "has_init": any(path.exists() for path in _INITS),
    }
    return [
        sys.executable, "-I", "-S", "-X", "utf8", container_entry.__file__, json.dumps(plan), *job.spec.command,
    ]  # fmt: skip


def _for(engine: str, image: str, workdir: str) -> str:
    """Return an image as its engine takes it: apptainer takes names of images with where they come from before them."""
    if is_file(image):
        return str(Path(workdir, image))
    return f"docker://{image}" if engine == APPTAINER and "://" not in image else image


def podman_devices(
    held: Sequence[str],
    devices: Sequence[Device],
    folders: Sequence[Path] = CDI_FOLDERS,
    is_there: Callable[[str], bool] = os.path.exists,
) -> Iterator[str]:
    """Yield what `--device` is given for the GPUs that are held, by id: by CDI where it knows them, or their files.

    Raise ExecutorError where it cannot be told which files they are.
    """
    there = {device.id: device for device in devices}
    told = _cdi(folders)
    by_file = []
    for name in held:
        device = there.get(name)
        if device is None or device.vendor == "amd" or not told:
            by_file.append(name)
        else:
            yield f"{CDI_NVIDIA}={_cdi_name(device, told)}"
    for node in nodes_of(by_file, devices):
        if is_there(node):
            yield node


def _cdi_name(device: Device, told: str) -> str:
    """Return what CDI calls a GPU: its UUID where that is told, else its index; that of a MIG instance is `0:1`."""
    name = driver_name(device.id)
    if name in told:
        return name
    return f"{device.index}:{device.part.removeprefix('mig-')}" if device.part and device.mig else str(device.index)


def _cdi(folders: Sequence[Path]) -> str:
    """Return what the specifications of NVIDIA's GPUs say; "" where there are none."""
    found = []
    for folder in folders:
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                if path.suffix in (".yaml", ".yml", ".json"):
                    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
                        found.append(file.read(MOST_CDI_BYTES))
    return "\n".join(text for text in found if CDI_NVIDIA in text)


def image_of(folder: Path) -> str | None:
    """Return which image a run was made of, with its digest where that is known; None where it was in no container."""
    try:
        record = read_record(str(folder), container_entry.IMAGE)
    except OSError:
        return None
    digest, image = (record or {}).get("digest"), (record or {}).get("image")
    if not isinstance(image, str) or not image:
        return None
    told = f"{image}@{digest}" if isinstance(digest, str) and digest and "@" not in image else image
    return told[:MOST_CHARACTERS].encode(errors="replace").decode()
