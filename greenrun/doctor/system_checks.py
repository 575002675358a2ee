"""What the daemon of a whole machine needs: its group, files that all users can read, and what keeps users apart."""

import grp
from collections.abc import Iterator
from pathlib import Path

from greenrun.config.server_mode import ServerSettings
from greenrun.doctor.finding import Area, Finding, failed, ok, warning

POLICY = Path("etc/dbus-1/system.d/greenrun.conf")
CONTROLLERS = Path("sys/fs/cgroup/cgroup.controllers")
_HIDDEN = ("hidepid=invisible", "hidepid=noaccess", "hidepid=ptraceable", "hidepid=1", "hidepid=2", "hidepid=4")


def check_system_mode(settings: ServerSettings, root: Path = Path("/")) -> Iterator[Finding]:
    """Look at what system mode needs; nothing in user mode."""
    if not settings.is_system:
        return
    from greenrun.executors.units.shim_files import why_not_for_all

    yield _group(settings.group)
    if why := why_not_for_all():
        yield failed(Area.SYSTEMD, why, "install greenrun where all users can read it, as in /opt/greenrun")
    if (root / CONTROLLERS).exists():
        yield ok(Area.SYSTEMD, "control groups are of version 2: each run gets one of its own")
    else:
        text = "control groups are of version 1 or mixed, so a job's CPU time and GPUs may not be kept to its own group"
        yield warning(Area.SYSTEMD, text, "boot with systemd.unified_cgroup_hierarchy=1")
    yield _command_lines(root)


def _group(name: str) -> Finding:
    try:
        members = grp.getgrnam(name).gr_mem
    except KeyError:
        text = f"there is no group {name}, so the daemon does not start"
        return failed(Area.PERMISSIONS, text, "sudo systemd-sysusers, with what greenrun init --system wrote")
    if not members:
        text = f"nobody is in the group {name} by its list, so only root may use the daemon"
        return warning(Area.PERMISSIONS, text, f"sudo usermod --append --groups {name} USER")
    return ok(Area.PERMISSIONS, f"{len(members)} in the group {name} may use the daemon")


def _command_lines(root: Path) -> Finding:
    """Say whether users can see the command lines of others' jobs."""
    missing = []
    mounts = (root / "proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    proc = next((line.split()[3] for line in mounts if line.split()[1:3] == ["/proc", "proc"]), "")
    if not any(option in _HIDDEN for option in proc.split(",")):
        missing.append("mount /proc with hidepid=invisible,gid=greenrun-proc")
    if not (root / POLICY).exists():
        missing.append(f"put back /{POLICY} (greenrun init --system) and systemctl reload dbus")
    if missing:
        text = "users can see the command lines of others' jobs (not their environment, log or files)"
        return warning(Area.PERMISSIONS, text, "; ".join(missing))
    return ok(Area.PERMISSIONS, "users cannot see the command lines of others' jobs")
