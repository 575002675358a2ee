"""What an engine of containers is told: the words that start a job's command in one, and what it gets to see.

Loaded beside each run in a container: the standard library alone. No value of a variable is among the words, which
everybody can read: variables are passed by name, out of the engine's own environment.
"""

from collections.abc import Iterable, Mapping, Sequence

PODMAN, APPTAINER = "podman", "apptainer"
# What describes this machine and the user's account on it, and means nothing in an image or misleads what is in it.
_OF_THE_HOST = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "HOSTNAME", "TMPDIR", "PYTHONPATH", "PYTHONHOME",
    "VIRTUAL_ENV", "DBUS_SESSION_BUS_ADDRESS", "REGISTRY_AUTH_FILE",
})  # fmt: skip
# With these podman would have a service make the container, which then is outside the run's control group.
ELSEWHERE = frozenset({"CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY"})
_OF_THE_HOST_BEGIN = ("LD_", "CONDA_", "XDG_", "CONTAINERS_", "APPTAINER", "SINGULARITY", "PODMAN_")
NO_VALUE = frozenset("=\0")


class ContainerPlan:
    """A container to be made: by which engine, of which image, with which files and devices in it.

    `mounts` are folders that are in it under their own path, `devices` what `--device` of podman takes, `gpus` is the
    maker of the GPUs that apptainer is to show ("" for none), `record` is where the run's records are. `counted` is how
    many GPUs are named by their index (0: by UUID). `has_init` is whether podman can put a process before the command
    that passes signals on: the first process in a container ends on KILL alone, and on signals that it handles.
    """

    engine: str
    program: str
    image: str
    workdir: str
    mounts: Sequence[str]
    devices: Sequence[str]
    gpus: str
    label: str
    record: str
    has_init: bool
    counted: int

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.__dict__.update(fields)


def passed(names: Iterable[str]) -> list[str]:
    """Return those variables that a container gets, by name."""
    return sorted(
        name
        for name in names
        if name
        and name not in _OF_THE_HOST | ELSEWHERE
        and not name.startswith(_OF_THE_HOST_BEGIN)
        and not NO_VALUE & set(name)
    )


def words(plan: ContainerPlan, image: str, names: Iterable[str], command: Sequence[str]) -> list[str]:
    """Return the words that execute a command in a container of `image`, which is the plan's or what that stands for.

    The container stays in the control group of the run, so that it is limited, measured and ended as any other. What it
    prints goes into the run's log alone.
    """
    if plan.engine == PODMAN:
        return _of_podman(plan, image, passed(names), command)
    return _of_apptainer(plan, image, command)


def _of_podman(plan: ContainerPlan, image: str, names: Sequence[str], command: Sequence[str]) -> list[str]:
    told = [plan.program, "run", "--rm", "--cgroups=disabled", "--ipc=host", "--network=host"]
    told += ["--init"] if plan.has_init else []
    told += ["--log-driver=none", "--security-opt=label=disable", f"--label=greenrun.run={plan.label}"]
    told += [f"--cidfile={plan.record}/container", f"--workdir={plan.workdir}"]
    told += [f"--volume={path}:{path}" for path in plan.mounts]
    told += [f"--device={device}" for device in plan.devices]
    told += [f"--env={name}" for name in names]
    return [*told, "--", image, *command]


def _of_apptainer(plan: ContainerPlan, image: str, command: Sequence[str]) -> list[str]:
    told = [plan.program, "exec", "--cleanenv", "--no-home", f"--pwd={plan.workdir}"]
    for path in plan.mounts:
        told += ["--bind", f"{path}:{path}"]
    told += {"nvidia": ["--nv"], "amd": ["--rocm"]}.get(plan.gpus, [])
    return [*told, image, *command]


def environment(plan: ContainerPlan, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the engine, in which it finds what it is to pass on."""
    if plan.engine == PODMAN:  # in it there are the run's own GPUs alone, counted from 0
        own = {name: value for name, value in own.items() if name not in ELSEWHERE}
        return {**own, "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(plan.counted)))} if plan.counted else dict(own)
    prefixes = ("APPTAINERENV_", "SINGULARITYENV_")  # the latter is what it was called before
    return {**own, **{f"{prefix}{name}": own[name] for name in passed(own) for prefix in prefixes}}
