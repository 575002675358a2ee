"""What a run's transient unit is told: as whom it runs, what it may open and use, and how it is ended."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from greenrun.core.jobs.job import Job, JobSpec, Run
from greenrun.executors.units import unit_entry
from greenrun.executors.units.account import Account
from greenrun.executors.units.bus import Property

PREFIX = "greenrun-run-"
DESCRIPTION = "greenrun run "  # and the run's label
SLICE = "greenrun.slice"
STOP_MARGIN = timedelta(seconds=30)  # for the shim to end what the command left behind, and to record the end
INSTALL = "/usr/bin/install"
CAP_CHOWN, CAP_FOWNER = 0, 3
NODE_ACCESS = "rw"


def unit_name(token: str) -> str:
    """Return the name of a run's unit: of its token alone, which nobody chooses and no two runs share."""
    if not (token.isascii() and token.isalnum()):
        raise ValueError(f"{token!r} is no token of a run")
    return f"{PREFIX}{token}.service"


def properties(
    run: Run, job: Job, account: Account, nodes: Sequence[str], socket: int, tasks_max: int = 0
) -> list[Property]:
    """Return the properties of a run's unit; `nodes` are the devices it may open, `socket` becomes its standard input.

    `tasks_max` is how many processes and threads it may have, 0 for as many as systemd usually lets a unit have.

    Whatever is here can be read by all users of the machine (`systemctl show`): neither command nor environment is.
    """
    stop = 2 * job.spec.grace + STOP_MARGIN
    told: dict[str, tuple[str, Any]] = {
        "Description": ("s", f"{DESCRIPTION}{run.label}"),
        "Type": ("s", "exec"),
        "ExecStart": ("a(sasb)", [_command(run)]),
        "StandardInputFileDescriptor": ("h", socket),
        "StandardOutput": ("s", "null"),
        "StandardError": ("s", "null"),
        "User": ("s", str(account.uid)),
        "Slice": ("s", SLICE),
        "CollectMode": ("s", "inactive-or-failed"),  # how it ended is in its folder
        "Restart": ("s", "no"),
        "KillMode": ("s", "mixed"),  # TERM to the shim alone, which ends the command in its steps; KILL to all
        "SendSIGKILL": ("b", True),
        "TimeoutStopUSec": ("t", _microseconds(stop)),
        "OOMPolicy": ("s", "continue"),  # the shim sees how its command ended
        "DevicePolicy": ("s", "closed"),
        "DeviceAllow": ("a(ss)", [(node, NODE_ACCESS) for node in nodes]),
        "ProtectProc": ("s", "invisible"),  # other users' command lines and files
        "CPUAccounting": ("b", True),
        "MemoryAccounting": ("b", True),
    }
    told |= _limits(job.spec)
    if tasks_max:
        told["TasksMax"] = ("t", tasks_max)
    if job.spec.time_limit is not None:  # should its shim be stopped by its own user
        told["RuntimeMaxUSec"] = ("t", _microseconds(job.spec.time_limit + stop))
    return list(told.items())


def _limits(spec: JobSpec) -> dict[str, tuple[str, Any]]:
    """Return what keeps a job to the memory, CPUs and disk that it asks for.

    Memory that is swapped out is memory: without any swap the limit is what it says. CPUs are time on any of them
    rather than certain ones, of which somebody would have to say whose they are.
    """
    told: dict[str, tuple[str, Any]] = {}
    if spec.memory_gib is not None:
        told |= {"MemoryMax": ("t", int(spec.memory_gib * 2**30)), "MemorySwapMax": ("t", 0)}
    if spec.cpus is not None:
        told["CPUQuotaPerSecUSec"] = ("t", _microseconds(timedelta(seconds=spec.cpus)))
    if spec.io_weight is not None:
        told |= {"IOAccounting": ("b", True), "IOWeight": ("t", spec.io_weight)}
    return told


def folder_properties(account: Account, path: Path) -> list[Property]:
    """Return the properties of a unit that makes a user's folder: only systemd may give it to the user."""
    words = [INSTALL, "-d", "-m", "0700", "-o", str(account.uid), "-g", str(account.gid), "--", str(path)]
    told: dict[str, tuple[str, Any]] = {
        "Description": ("s", f"The folder of greenrun for the user {account.uid}"),
        "Type": ("s", "oneshot"),
        "ExecStart": ("a(sasb)", [(INSTALL, words, False)]),
        "CollectMode": ("s", "inactive-or-failed"),
        "TimeoutStartUSec": ("t", _microseconds(timedelta(seconds=30))),
        "CapabilityBoundingSet": ("t", (1 << CAP_CHOWN) | (1 << CAP_FOWNER)),
        "NoNewPrivileges": ("b", True),
        "ProtectHome": ("s", "yes"),
        "PrivateNetwork": ("b", True),
        "DevicePolicy": ("s", "closed"),
    }
    return list(told.items())


def _command(run: Run) -> tuple[str, list[str], bool]:
    words = [sys.executable, "-I", "-S", "-X", "utf8", unit_entry.__file__, run.label]
    return sys.executable, words, False


def _microseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1_000_000)
