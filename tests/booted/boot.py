"""Boot systemd as process 1 of namespaces of its own: an overlay of this machine's files, in memory, with two users.

What runs in there sees this machine's programs, its own /dev, /run, /tmp and control groups, and changes nothing of the
host. There are two device files that look like GPUs: opening one that is allowed gives ENXIO, as it has no driver, and
one that is not EPERM.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.patience import HANGS_S, until

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
TOOLS = (
    "unshare",
    "nsenter",
    "mount",
    "umount",
    "setpriv",
    "useradd",
    "dbus-daemon",
    "systemctl",
    "systemd-run",
    "busctl",
)
GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
BOOT_LIMIT_S = 120.0  # of a machine that does nothing else
UP = ("running", "degraded")
NODES = ("/dev/nvidia0", "/dev/nvidia1")
USERS = ("alice", "bob", "carol")

_PREPARE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay -o "lowerdir=/,upperdir=$PLACE/upper,workdir=$PLACE/work" overlay "$PLACE/root"
R=$PLACE/root
for path in $SHOWN; do
    mkdir -p "$R$path"
    if [ "$(stat -c %d "$path")" != "$(stat -c %d /)" ]; then mount --rbind -o ro "$path" "$R$path"; fi
done
for path in $PASSED; do chmod o+x "$R$path"; done
chmod -R o+rX "$R$OPENED"
for kind in tmpfs:run:mode=0755 tmpfs:tmp:mode=1777 tmpfs:dev:mode=0755; do
    IFS=: read -r type name options <<<"$kind"; mkdir -p "$R/$name"; mount -t "$type" -o "$options" tmpfs "$R/$name"
done
for path in $KEPT; do mkdir -p "$R$path"; mount --rbind -o ro "$path" "$R$path"; done
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
cd "$R/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 tty c 5 0
mknod -m 600 console c 5 1
for number in 0 1; do mknod -m 666 "nvidia$number" c 195 "$number"; done
mkdir pts shm
mount -t tmpfs -o mode=1777 tmpfs shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts pts
ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd
ln -s /proc/self/fd/0 stdin; ln -s /proc/self/fd/1 stdout; ln -s /proc/self/fd/2 stderr
units=$R/etc/systemd/system
rm -rf "$units"/*.wants "$units"/*.requires
: >"$R/etc/fstab"
rm -f "$R/etc/nologin" "$R/run/nologin"
for unit in timers.target local-fs.target remote-fs.target network-online.target systemd-udevd.service \
    systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-networkd.service systemd-timesyncd.service \
    systemd-resolved.service getty.target systemd-logind.service systemd-update-utmp.service systemd-firstboot.service \
    systemd-binfmt.service systemd-modules-load.service systemd-sysctl.service systemd-udev-trigger.service; do
    ln -sfn /dev/null "$units/$unit"
done
printf '[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n' >"$units/tests.target"
for user in $USERS; do
    mkdir -p "$R/home/$user"
    chroot "$R" useradd --no-create-home --home-dir "/home/$user" --shell /bin/sh "$user"
    chroot "$R" chown "$user:$user" "/home/$user"
    chmod 0750 "$R/home/$user"
done
mkdir -p "$R/.former"
cd "$R"
pivot_root . .former
umount -l /.former
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=tests.target --log-target=console --show-status=no
"""


class CannotBoot(Exception):
    """This machine does not let systemd be booted, for this reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A systemd that runs: `init` is its process as the host counts."""

    init: int
    log: Path

    def run(self, *command: str, limit_s: float = HANGS_S, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there as root, and return how it ended."""
        inside = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-C"]
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        words = ["env", "-i", f"PATH={path}", "HOME=/root", "LANG=C.UTF-8", *(f"{k}={v}" for k, v in env.items())]
        return subprocess.run(
            [*inside, *words, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )


@contextmanager
def booted(place: Path) -> Iterator[Booted]:
    """Boot, and end all of it after the block. `place` is an empty folder. Raise CannotBoot."""
    group = _group()
    log = place.with_suffix(".log")
    try:
        process = _spawned(place, group, log)
        try:
            yield _ready(process, log)
        finally:
            _kill(process)
    finally:
        _remove(group)


def _group() -> Path:
    """Return a new control group; raise CannotBoot."""
    if os.geteuid() != 0:
        raise CannotBoot("only root can boot systemd in namespaces")
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing or not SYSTEMD.exists():
        raise CannotBoot(
            f"there is no {', '.join(missing) or SYSTEMD} here (packages systemd, dbus, util-linux, passwd)"
        )
    root = next((each for each in GROUPS if (each / "cgroup.procs").exists()), None)
    if root is None:
        raise CannotBoot("there are no control groups of version 2 here")
    group = root / f"greenrun-tests-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as exc:
        raise CannotBoot(f"no control group can be made ({exc})") from exc
    return group


def _spawned(place: Path, group: Path, log: Path) -> subprocess.Popen[bytes]:
    shown = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    variables = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PLACE": str(place),
        "USERS": " ".join(USERS),
        "SHOWN": " ".join(map(str, shown)),
        "PASSED": " ".join(sorted({str(each) for path in shown for each in path.parents if _is_shut(each)})),
        "OPENED": str(ROOT / "greenrun"),
        "KEPT": " ".join(str(path) for path in shown if path.parts[1] in ("tmp", "run", "dev")),
    }
    words = [
        "unshare",
        "--fork",
        "--kill-child",
        "--pid",
        "--mount",
        "--uts",
        "--ipc",
        "--cgroup",
        "bash",
        "-c",
        _PREPARE,
    ]
    joined = f'echo 0 >{group}/cgroup.procs && exec "$@"'
    with log.open("wb") as output:
        return subprocess.Popen(
            ["bash", "-c", joined, "_", *words], env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def _is_shut(path: Path) -> bool:
    return not path.stat().st_mode & stat.S_IXOTH


def _ready(process: subprocess.Popen[bytes], log: Path) -> Booted:
    """Return it once it is up; raise CannotBoot."""

    def found() -> Booted | None:
        if process.poll() is not None:
            raise CannotBoot(f"it ended at once: {_said(log)}")
        for child in _children_or_none(process.pid):
            up = Booted(init=child, log=log)
            if _name(child) == "systemd" and up.run("systemctl", "is-system-running").stdout.strip() in UP:
                return up
        return None

    try:
        up = until(found, limit_s=BOOT_LIMIT_S)
    except AssertionError as exc:
        raise CannotBoot(f"it did not come up: {_said(log)}") from exc
    assert up is not None
    if why := _why_not_confined(up):
        raise CannotBoot(why)
    return up


def _why_not_confined(up: Booted) -> str | None:
    """Say why it could not be told here whether a job is kept from a GPU: without device policies, or within others."""
    cat, closed = ["cat", NODES[0]], ["-p", "DevicePolicy=closed", "-p", "ProtectProc=invisible"]
    looks = {
        "No such device or address": cat,  # as there is no driver
        "Operation not permitted": ["systemd-run", "--quiet", "--wait", "--pipe", *closed, *cat],
    }
    for expected, words in looks.items():
        said = up.run(*words, LC_ALL="C").stderr.strip()
        if expected not in said:
            return f"`{' '.join(words)}` says '{said}' and not '{expected}', so device files cannot be tried here"
    return None


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:].strip() or "without a word"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill process 1 of the namespaces, and with it everything in them."""
    for child in _children_or_none(process.pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.kill()  # unshare, which kills what it has forked meanwhile
    process.wait(HANGS_S)


def _children_or_none(pid: int) -> Sequence[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return ()


def _remove(group: Path) -> None:
    """Remove the control group with those in it, which are empty once all processes are gone."""

    def is_gone() -> bool:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        return not group.exists()

    until(is_gone, "the control group can be removed")
