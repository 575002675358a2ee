"""The machine's clock and limits, and what systemd would do with the daemon and its jobs."""

import ctypes
import os
import pwd
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from greenrun.core.formatting import duration_text
from greenrun.doctor.finding import Area, Finding, failed, ok, warning

FEW_DESCRIPTORS, ENOUGH_DESCRIPTORS = 256, 1024
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of <linux/timex.h>
_STATUS_OFFSET, _ERROR_OFFSET, _TIMEX_BYTES = 40, 24, 512  # of struct timex where long has 64 bits; 208 are used
_MOST_ERROR_S = 1.0
UNIT = "greenrun.service"


def check_clock() -> Iterator[Finding]:
    """Ask the kernel whether something keeps the clock right: slots and deadlines are instants of it."""
    found = _kernel_clock()
    remedy = "sudo timedatectl set-ntp true (in a container or a virtual machine: on its host)"
    if found is None:
        yield warning(Area.CLOCK, "the kernel does not say whether the clock is synchronised", remedy)
        return
    is_synchronised, error_s = found
    if not is_synchronised:
        text = "the clock is not synchronised, so hours of the forecast may not be those of the grid"
        yield warning(Area.CLOCK, text, remedy)
    elif error_s > _MOST_ERROR_S:
        yield warning(Area.CLOCK, f"the clock may be off by {duration_text(error_s)}", remedy)
    else:
        yield ok(Area.CLOCK, f"the clock is synchronised, to {1000 * error_s:.0f} ms")


def _kernel_clock() -> tuple[bool, float] | None:
    """Return whether the kernel's clock is synchronised, and how far it may be off in s: adjtimex(2), asked only."""
    if ctypes.sizeof(ctypes.c_long) != 8:
        return None
    answer = ctypes.create_string_buffer(_TIMEX_BYTES)  # its first field, modes, is 0: only asked
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(answer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(answer, _STATUS_OFFSET).value
    error_us = ctypes.c_long.from_buffer(answer, _ERROR_OFFSET).value
    return not status & _UNSYNCHRONISED, error_us / 1e6


def check_descriptors() -> Iterator[Finding]:
    """Look at how many files a daemon that is started from here may open: some for each run, one for each caller."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = hard if hard != resource.RLIM_INFINITY else 1 << 30
    remedy = "ulimit -Hn 65536 as root, nofile in /etc/security/limits.conf, or LimitNOFILE=65536 in the unit"
    if hard < FEW_DESCRIPTORS:
        yield failed(Area.DESCRIPTORS, f"at most {hard} files may be open at once: jobs could not be started", remedy)
    elif hard < ENOUGH_DESCRIPTORS:
        yield warning(
            Area.DESCRIPTORS, f"at most {hard} files may be open at once, which many runs and callers reach", remedy
        )
    else:
        yield ok(Area.DESCRIPTORS, f"{soft} files may be open at once, {hard} at most")


def check_systemd(environ: Mapping[str, str], root: Path = Path("/"), *, is_system: bool = False) -> Iterator[Finding]:
    """Look at the unit, if there is one: whether jobs outlive a restart of the daemon, and the user's logout.

    In system mode (`is_system`) jobs are in units of their own, which that of the daemon does not reach.
    """
    places = [root / "etc/systemd/system" / UNIT] if is_system else _unit_paths(environ, root)
    units = [path for path in places if path.is_file()]
    if not units and is_system:
        text = "the unit of system mode is not installed, so nothing starts the daemon after a boot"
        yield failed(Area.SYSTEMD, text, "sudo greenrun init --system, then sudo systemctl enable --now greenrun")
        return
    if not units:
        yield _without_unit(root)
        return
    unit = units[0]
    said = _stated([unit, *sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))])
    edit = "systemctl --user edit greenrun" if "/user/" in str(unit) else "sudo systemctl edit greenrun"
    yield ok(Area.SYSTEMD, f"the unit is {unit}")
    if said.get("KillMode", "control-group") != "process" and not is_system:
        text = f"KillMode={said.get('KillMode', 'control-group')} ends all jobs when the daemon is stopped or restarted"
        yield failed(Area.SYSTEMD, text, f"{edit}, and write [Service] KillMode=process")
    if said.get("OOMPolicy", "stop") != "continue" and not is_system:
        text = "a job that runs out of memory ends the daemon and all other jobs with it"
        yield warning(Area.SYSTEMD, text, f"{edit}, and write [Service] OOMPolicy=continue")
    if said.get("Restart", "no") == "no":
        yield warning(
            Area.SYSTEMD, "a daemon that fails is not started again", f"{edit}, and write [Service] Restart=on-failure"
        )
    if "/user/" in str(unit):
        yield _lingering(root)


def _without_unit(root: Path) -> Finding:
    """Say what becomes of a daemon that was started from a shell."""
    logind = root / "etc/systemd/logind.conf"
    said = _stated([logind, *sorted(logind.with_name("logind.conf.d").glob("*.conf"))])
    if said.get("KillUserProcesses") in ("yes", "true", "1", "on") and not _lingers(root):
        text = "no unit of greenrun is installed, and systemd ends all of your processes when you log out, jobs too"
        return warning(Area.SYSTEMD, text, f"greenrun init --unit, and loginctl enable-linger {_user()}")
    text = "no unit of greenrun is installed: it runs until somebody ends it, and is not started again after a boot"
    return ok(Area.SYSTEMD, text, "greenrun init --unit, if that is wanted")


def _lingering(root: Path) -> Finding:
    if _lingers(root):
        return ok(Area.SYSTEMD, f"{_user()} lingers: daemon and jobs go on after the logout")
    text = "systemd ends the daemon and all running jobs when you log out"
    return failed(Area.SYSTEMD, text, f"loginctl enable-linger {_user()}")


def _lingers(root: Path) -> bool:
    return (root / "var/lib/systemd/linger" / _user()).exists()


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _unit_paths(environ: Mapping[str, str], root: Path) -> Sequence[Path]:
    own = Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    system = ("etc/systemd/user", "usr/lib/systemd/user", "etc/systemd/system")
    return [folder / UNIT for folder in (own / "systemd/user", *(root / place for place in system))]


def _stated(files: Sequence[Path]) -> Mapping[str, str]:
    """Return what files in systemd's form say, later ones over the former, as those of `systemctl edit` do."""
    said: dict[str, str] = {}
    for line in (line for file in files for line in _lines(file)):
        key, sign, value = line.partition("=")
        if sign and not key.startswith(("#", ";")):
            said[key.strip()] = value.strip()
    return said


def _lines(file: Path) -> Sequence[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
